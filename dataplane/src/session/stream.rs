//! The bytes of a TCP connection: between the stack's buffers and the rings of its cell.
//!
//! ```text
//!   stack's receive buffer  │ read by the program, told below │ in the ring │ not yet in the ring │
//!                           ^rx_head                          ^cell.rx_head ^rx_tail
//! ```
//!
//! What stands in the receive ring is a copy: the stack keeps a byte until the program says that it read it. So the window, the
//! receive buffer's limit and the reset for unread data on close are the stack's own, as if there were no ring.
//! The send ring is emptied into the send buffer; `tx_limit` tells the program how much that one has room for.

use super::socket::Socket;
use crate::builtin::host::Host;
use core::sync::atomic::Ordering::{Acquire, Release};
use flumen_ipc::Arena;
use flumen_stack::socket::{Error, Handle};
use flumen_stack::{FramePool, Probe};

/// The program says of its cursors what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lie;

/// What happened to the rings of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// There is more to read.
    pub readable: bool,
    /// Something moved that a sleeping thread may wait for.
    pub any: bool,
    /// Bytes came into the send buffer, and leave at the end of the turn.
    pub wrote: bool,
    /// There is more to move, in another turn.
    pub again: bool,
    /// Bytes that were copied.
    pub bytes: usize,
    /// Why something failed that nobody waits for.
    pub error: Option<Error>,
}

/// Moves what there is to move. `more`: more comes soon (MSG_MORE).
pub fn pump<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &mut Socket,
    handle: Handle,
    arena: &Arena,
    more: bool,
) -> Result<Moved, Lie> {
    let mut moved = Moved::default();
    receive(host, socket, handle, arena, &mut moved)?;
    // What is written before the connection stands goes with the SYN, or waits in the ring.
    if socket.sends_with_syn || !socket.is_opening(host, handle) {
        send(host, socket, handle, arena, more, &mut moved)?;
    }
    Ok(moved)
}

fn receive<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &mut Socket,
    handle: Handle,
    arena: &Arena,
    moved: &mut Moved,
) -> Result<(), Lie> {
    let cell = arena.cell(socket.home.slot);
    let ring = arena.rx(socket.home.slot);
    let cursors = &mut socket.cursors;
    let head = cell.program.rx_head.load(Acquire);
    let read = head.wrapping_sub(cursors.rx_head);
    if read > cursors.rx_tail - cursors.rx_head {
        return Err(Lie);
    }
    if read > 0 {
        // A handle that is gone has nothing to read either.
        let _gone = host.tcp().tcp_consume(handle, read as usize);
        cursors.rx_head = head;
    }
    let waiting = (cursors.rx_tail - cursors.rx_head) as usize;
    let room = ring.size().saturating_sub(waiting);
    let mut end = cursors.rx_tail;
    let shown = host.tcp().tcp_peek_with(handle, waiting, room, |piece| {
        end += ring.copy_in(end, piece) as u64;
    });
    if shown.is_ok_and(|shown| shown > 0) {
        moved.bytes += (end - cursors.rx_tail) as usize;
        (moved.readable, moved.any) = (true, true);
        cursors.rx_tail = end;
        cell.worker.rx_tail.store(end, Release);
    }
    Ok(())
}

fn send<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &mut Socket,
    handle: Handle,
    arena: &Arena,
    more: bool,
    moved: &mut Moved,
) -> Result<(), Lie> {
    let cell = arena.cell(socket.home.slot);
    let ring = arena.tx(socket.home.slot);
    let cursors = &mut socket.cursors;
    let tail = cell.program.tx_tail.load(Acquire);
    let waiting = tail.wrapping_sub(cursors.tx_head);
    if waiting > ring.size() as u64 {
        return Err(Lie);
    }
    if waiting > 0 {
        let head = cursors.tx_head;
        let sent = host.tcp().tcp_send_with(handle, waiting as usize, more, |to, at| {
            ring.copy_out(head + at as u64, to);
        });
        match sent {
            Ok(count) => {
                moved.bytes += count;
                moved.wrote = count > 0;
                cursors.tx_head += count as u64;
            }
            // This direction is over: what was written goes nowhere.
            Err(error) => {
                moved.error = Some(error);
                cursors.tx_head = tail;
            }
        }
        moved.any = true;
        cell.worker.tx_head.store(cursors.tx_head, Release);
    }
    let limit = cursors.tx_head + host.tcp().tcp_room(handle) as u64;
    if limit != cursors.tx_limit {
        moved.any = true;
        cursors.tx_limit = limit;
        cell.worker.tx_limit.store(limit, Release);
    }
    Ok(())
}
