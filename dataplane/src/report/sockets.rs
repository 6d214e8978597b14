//! The sockets of a worker in a report: those of its stack, with the programs that have them.

use super::push_within;
use crate::session::{self, Sessions};
use crate::worker::Worker;
use core::net::SocketAddr;
use flumen_stack::socket::Owner;
use flumen_stack::tcp::sockets::TcpRow;

/// A socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketReport {
    /// "tcp", "udp", "udplite", "raw" or "ping".
    pub protocol: &'static str,
    /// The state of a connection, as RFC 9293 names it, in lower case; empty for others.
    pub state: &'static str,
    /// Our end.
    pub local: SocketAddr,
    /// The peer.
    pub remote: Option<SocketAddr>,
    /// Bytes that wait to be read; of a listener connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes that are not acknowledged; of a listener the most that may wait.
    pub send_queue: u32,
    /// The process that has it, and its user; `None`: a built-in service.
    pub program: Option<(i32, u32)>,
}

/// A program, as a worker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramReport {
    /// Its place: the same on every worker.
    pub place: u16,
    /// The process that attached.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its sockets on this worker, those included that it shares.
    pub sockets: u32,
    /// Of the sockets of all on this worker, those whose memory is this program's.
    pub homes: u32,
    /// The process is gone, and others use its memory.
    pub gone: bool,
    /// Workers do not wake it themselves.
    pub woken_aside: bool,
}

/// Connections that are looked at in one step of the walk.
const STEP: usize = 256;

/// Puts in what there is room for; true when there was more.
pub(super) fn fill(
    worker: &Worker,
    programs: &mut Vec<ProgramReport>,
    sockets: &mut Vec<SocketReport>,
) -> bool {
    let sessions = worker.sessions.as_deref();
    let mut more = false;
    for program in sessions.iter().flat_map(|sessions| sessions.reports()) {
        more |= !push_within(programs, program);
    }
    let mut put = |row: SocketReport| more |= !push_within(sockets, row);
    let stack = &worker.stack;
    stack.tcp.listener_rows().for_each(|row| put(of_tcp(&row, sessions)));
    for row in stack.udp_rows().chain(stack.raw_rows()) {
        put(SocketReport {
            protocol: row.protocol,
            state: "",
            local: row.local,
            remote: row.remote,
            receive_queue: row.receive_queue as u32,
            send_queue: 0,
            program: program_of(row.owner, sessions),
        });
    }
    let mut from = Some(0);
    // A form that is full ends the walk: over a hundred thousand connections it would keep packets waiting for milliseconds.
    while let Some(place) = from.filter(|_| !more) {
        from = stack.tcp.rows(place, STEP, |row| more |= !push_within(sockets, of_tcp(&row, sessions)));
    }
    more
}

fn of_tcp(row: &TcpRow, sessions: Option<&Sessions>) -> SocketReport {
    SocketReport {
        protocol: "tcp",
        state: row.state,
        local: row.local,
        remote: row.remote,
        receive_queue: row.receive_queue,
        send_queue: row.send_queue,
        program: program_of(row.owner, sessions),
    }
}

fn program_of(owner: Owner, sessions: Option<&Sessions>) -> Option<(i32, u32)> {
    let user = sessions.filter(|_| session::is_owner(owner))?.user_of(owner)?;
    Some((user.pid, user.uid))
}
