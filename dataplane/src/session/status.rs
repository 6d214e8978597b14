//! What holds of a socket now, as its cell says it: the conditions for poll, and the state of a connection.

use super::socket::{Kind, Socket};
use crate::builtin::host::Host;
use flumen_ipc::Flags;
use flumen_stack::socket::{Handle, Ready};
use flumen_stack::tcp::state::State;
use flumen_stack::{FramePool, Probe};

/// States of TCP by Linux's numbers (include/net/tcp_states.h).
const CLOSE: u32 = 7;
const LISTEN: u32 = 10;

impl Socket {
    /// True while a connection is being opened and nothing can be written yet.
    pub fn is_opening<P: FramePool, M: Probe>(&self, host: &mut Host<'_, '_, P, M>, handle: Handle) -> bool {
        host.tcp().tcp_state(handle) == Some(State::SynSent)
    }

    /// The local port number; 0 for none.
    pub fn local_port<P: FramePool, M: Probe>(&self, host: &Host<'_, '_, P, M>) -> u16 {
        let names = match self.kind {
            Kind::Udp(handle) => host.stack.udp_names(handle),
            Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_names(handle),
            Kind::TcpClosed | Kind::Listener(_) | Kind::Tcp(_) => {
                return self.name.map_or(0, |name| name.port());
            }
        };
        names.map_or(0, |(local, _)| local.port())
    }

    /// The conditions that hold now, but for the error that waits. `error`: one waits.
    pub fn conditions<P: FramePool, M: Probe>(
        &self,
        host: &mut Host<'_, '_, P, M>,
        error: bool,
    ) -> (Flags, u32) {
        let (mut flags, state) = match self.kind {
            // Linux: a stream socket that is not connected hangs up, and can be written to (poll says OUT and HUP).
            Kind::TcpClosed => (Flags::HANG_UP | Flags::WRITABLE, CLOSE),
            Kind::Listener(handle) => {
                let waits = host.tcp().tcp_listen_ready(handle).contains(Ready::READABLE);
                (Flags::LISTENING | if waits { Flags::ACCEPTABLE } else { Flags::NONE }, LISTEN)
            }
            Kind::Tcp(handle) => self.conditions_of_connection(host, handle),
            Kind::Udp(handle) => (datagram(host.stack.udp_readiness(handle), self.reports(host) > 0), CLOSE),
            Kind::Raw(handle) | Kind::Ping(handle) => {
                (datagram(host.stack.raw_readiness(handle), self.reports(host) > 0), CLOSE)
            }
        };
        if error {
            flags = flags | Flags::ERROR;
        }
        if self.near {
            flags = flags | Flags::NEAR;
        }
        (flags, state)
    }

    /// Entries that wait in the error queue of a datagram socket.
    pub fn reports<P: FramePool, M: Probe>(&self, host: &Host<'_, '_, P, M>) -> usize {
        match self.kind {
            Kind::Udp(handle) => host.stack.udp_reports(handle),
            Kind::Raw(handle) | Kind::Ping(handle) => host.stack.raw_reports(handle),
            Kind::Tcp(_) | Kind::TcpClosed | Kind::Listener(_) => 0,
        }
    }

    fn conditions_of_connection<P: FramePool, M: Probe>(
        &self,
        host: &mut Host<'_, '_, P, M>,
        handle: Handle,
    ) -> (Flags, u32) {
        let tcp = host.tcp();
        let ready = tcp.tcp_ready(handle);
        let state = tcp.tcp_state(handle);
        let over = state.is_none_or(|state| state == State::Closed);
        let in_ring = (self.cursors.rx_tail - self.cursors.rx_head) as usize;
        let mut flags = Flags::NONE;
        let mut set = |flag: Flags, on: bool| flags = if on { flags | flag } else { flags };
        let read_end = ready.contains(Ready::READ_CLOSED);
        let write_end = tcp.tcp_is_write_closed(handle);
        let all_read = read_end && tcp.tcp_readable(handle) <= in_ring;
        set(Flags::READ_END, all_read);
        set(Flags::PEER_END, all_read && tcp.tcp_has_peer_ended(handle));
        set(Flags::WRITE_END, write_end);
        set(Flags::WRITABLE, ready.contains(Ready::WRITABLE));
        set(Flags::ERROR_QUEUE, ready.contains(Ready::STAMPS));
        set(Flags::PRIORITY, ready.contains(Ready::PRIORITY));
        set(Flags::CONNECTED, self.was_connected);
        set(Flags::CONNECTING, state == Some(State::SynSent));
        set(Flags::DEFERRED, state == Some(State::SynSent) && tcp.tcp_is_deferred(handle));
        set(Flags::HANG_UP, over || read_end && write_end);
        set(Flags::URGENT, tcp.tcp_urgent_ahead(handle).is_some());
        (flags, number(state))
    }
}

fn datagram(ready: Ready, reports: bool) -> Flags {
    let mut flags = Flags::NONE;
    for (one, flag) in [
        (Ready::WRITABLE, Flags::WRITABLE),
        (Ready::READ_CLOSED, Flags::READ_END),
        (Ready::CLOSED, Flags::HANG_UP),
    ] {
        if ready.contains(one) {
            flags = flags | flag;
        }
    }
    if !ready.contains(Ready::WRITABLE) {
        flags = flags | Flags::WRITE_END;
    }
    if reports { flags | Flags::ERROR_QUEUE } else { flags }
}

/// Linux's number of a state.
pub fn number(state: Option<State>) -> u32 {
    match state {
        Some(State::Established) => 1,
        Some(State::SynSent) => 2,
        Some(State::SynReceived(_)) => 3,
        Some(State::FinWait1) => 4,
        Some(State::FinWait2(_)) => 5,
        Some(State::CloseWait) => 8,
        Some(State::LastAck) => 9,
        Some(State::Closing) => 11,
        Some(State::Closed) | None => CLOSE,
    }
}
