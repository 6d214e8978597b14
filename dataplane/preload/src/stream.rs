//! Bytes of TCP: what recv and send do, as tcp_recvmsg and tcp_sendmsg of Linux do it.

use crate::decide;
use crate::errno::{Errno, Result};
use crate::lock::Turn;
use crate::memory::Vectors;
use crate::options::stamping;
use crate::socket::{Part, TCP_CLOSE, open};
use crate::wait::{self, Patience};
use crate::zero_copy;
use core::ffi::c_int;
use core::sync::atomic::Ordering::*;
use flumen_ipc::call::{SEND_MORE, SEND_RECORD, STAMPS_AS_SET};
use flumen_ipc::{Flags, Op};

/// What recv found out beside the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Bytes.
    pub len: usize,
    /// Flags for msg_flags.
    pub flags: c_int,
}

/// Receives bytes; peeks go on where the last one ended, if the program wants it (SO_PEEK_OFF).
///
/// # Errors
/// Those of recv(2).
pub fn receive(part: &Part<'_>, fd: c_int, to: &Vectors<'_>, flags: c_int) -> Result<Received> {
    let peeked = flags & libc::MSG_PEEK != 0;
    let ahead = if peeked { part.peek_offset().max(0) as u64 } else { 0 };
    let got = receive_behind(part, fd, to, flags, ahead)?;
    if got.flags & libc::MSG_OOB == 0 {
        part.move_peek_offset(if peeked { got.len as i64 } else { -(got.len as i64) });
    }
    Ok(got)
}

/// Receives bytes; those who peek pass over `ahead` bytes.
///
/// # Errors
/// Those of recv(2).
pub fn receive_behind(
    part: &Part<'_>,
    fd: c_int,
    to: &Vectors<'_>,
    flags: c_int,
    ahead: u64,
) -> Result<Received> {
    let now = part.cell.flags();
    if now.intersects(Flags::LISTENING) {
        return Err(Errno(libc::ENOTCONN));
    }
    let patience = Patience::to_receive(part, flags);
    if flags & libc::MSG_OOB != 0 {
        return urgent(part, to, flags);
    }
    let whole = flags & libc::MSG_WAITALL != 0;
    let target = if whole { to.len() as u64 } else { part.low_mark().min(to.len() as u64) };
    // No more than the ring holds can be waited for: what is peeked at stays in it.
    let peeked = flags & libc::MSG_PEEK != 0;
    let size = (part.rx().size() as u64).saturating_sub(ahead);
    let target = if peeked { target.min(size) } else { target }.max(1);
    let waiting = || part.cell.readable().saturating_sub(ahead);
    let mut done = 0;
    loop {
        let seen = part.cell.flags();
        let at_mark = take(part, to, &mut done, flags, ahead)?;
        if done as u64 >= target || to.len() == done && (done > 0 || waiting() > 0) || at_mark && done > 0 {
            break;
        }
        let over = seen.intersects(Flags::READ_END) || part.has_error() || part.is_over();
        if done > 0 {
            if over || patience.is_none() {
                break;
            }
        } else if let Some(end) = nothing(part, seen, ahead)? {
            return Ok(Received { len: end, flags: 0 });
        }
        let wanted = if peeked { target } else { 1 };
        let waited = wait::until(part, fd, libc::EPOLLIN as u32, patience, || {
            waiting() >= wanted || part.cell.flags().intersects(Flags::READ_END) || part.has_error()
        });
        if peeked && waited.is_ok() {
            done = 0;
        }
        match waited {
            Ok(()) => {}
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Received { len: done, flags: 0 })
}

/// Takes what is there; says whether reading stopped at the urgent mark.
fn take(part: &Part<'_>, to: &Vectors<'_>, done: &mut usize, flags: c_int, ahead: u64) -> Result<bool> {
    let turn = wait::turn_to_read(part)?;
    let cell = part.cell;
    let head = cell.program.rx_head.load(Relaxed) + ahead;
    let peeked = flags & libc::MSG_PEEK != 0;
    let ring = part.rx();
    let waiting = cell.readable().min(ring.size() as u64).saturating_sub(ahead);
    let mut count = waiting.min((to.len() - *done) as u64) as usize;
    let mut at_mark = false;
    if cell.flags().intersects(Flags::URGENT) && part.open_flags() & open::OOB_INLINE == 0 {
        let mark = cell.worker.urgent.load(Acquire).wrapping_sub(head);
        if mark > 0 && mark <= count as u64 {
            count = mark as usize;
            at_mark = true;
        }
    }
    if count == 0 {
        return Ok(at_mark);
    }
    if flags & libc::MSG_TRUNC == 0 {
        to.from_ring(*done, count, ring, head);
    }
    if !turn.is_mine() {
        return Ok(false);
    }
    *done += count;
    if !peeked {
        cell.program.rx_head.store(head + count as u64, Release);
        part.kick();
    }
    Ok(at_mark)
}

/// Nothing was there: the end (0), an error, or nothing yet.
fn nothing(part: &Part<'_>, seen: Flags, ahead: u64) -> Result<Option<usize>> {
    // An error that came behind the peer's FIN is for who writes, or asks for it (SOCK_DONE of Linux).
    if seen.intersects(Flags::PEER_END) && part.cell.readable() <= ahead {
        return Ok(Some(0));
    }
    let error = part.cell.take_error();
    if error != 0 {
        return Err(Errno(error as c_int));
    }
    if part.cell.readable() > ahead {
        return Ok(None);
    }
    if part.is_over() {
        return Err(Errno(libc::ECONNRESET));
    }
    if seen.intersects(Flags::READ_END) {
        return Ok(Some(0));
    }
    // One that was connected says READ_END when all is read: until then more is on its way to the ring.
    if part.cell.worker.state.load(Acquire) == TCP_CLOSE && !seen.intersects(Flags::CONNECTED) {
        return Err(Errno(libc::ENOTCONN));
    }
    Ok(None)
}

/// True when reading stands at the urgent mark. The worker no longer says that there is one when it passed over the byte
/// itself; the position stays.
pub fn is_at_mark(part: &Part<'_>) -> bool {
    let at = part.cell.worker.urgent.load(Acquire);
    let announced = at != 0 || part.cell.flags().intersects(Flags::URGENT);
    announced && at == part.cell.program.rx_head.load(Relaxed)
}

/// MSG_OOB.
fn urgent(part: &Part<'_>, to: &Vectors<'_>, flags: c_int) -> Result<Received> {
    let peek = u64::from(flags & libc::MSG_PEEK != 0);
    let byte = part.call(Op::ReceiveUrgent, [peek, 0, 0, 0], &[])? as u8;
    if to.is_empty() {
        return Ok(Received { len: 0, flags: libc::MSG_OOB | libc::MSG_TRUNC });
    }
    if flags & libc::MSG_TRUNC == 0 {
        to.fill(&[byte]);
    }
    Ok(Received { len: 1, flags: libc::MSG_OOB })
}

/// The stamps that a write asks for of its last byte (SO_TIMESTAMPING).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps(u64);

impl Stamps {
    /// Those that a control message names, else those that the socket's option does.
    pub fn asked(part: &Part<'_>, named: Option<c_int>) -> Stamps {
        Stamps(match named {
            Some(kinds) => (kinds & stamping::TX) as u64,
            None if part.open_flags() & open::STAMPS_SENT != 0 => STAMPS_AS_SET,
            None => 0,
        })
    }

    /// Asks for them of the byte in front of `end`: before it is written, so that it cannot leave first.
    fn ask(self, part: &Part<'_>, end: u64) {
        if self.0 != 0 {
            // A connection that is over has none; the write says so.
            part.attachment().call(part.worker, Op::Stamp, part.slot, [end, self.0, 0, 0], &[]);
        }
    }
}

/// Sends bytes.
///
/// # Errors
/// Those of send(2); EPIPE without the signal, which is the caller's to send.
pub fn send(part: &Part<'_>, fd: c_int, from: &Vectors<'_>, flags: c_int, stamps: Stamps) -> Result<usize> {
    let patience = Patience::to_send(part, flags);
    let mut done = 0;
    let sent = push(part, fd, from, flags, patience, stamps, &mut done);
    if done > 0 {
        zero_copy::sent(part, flags);
    }
    match sent {
        Err(_) if done > 0 => Ok(done),
        Err(error) => Err(error),
        Ok(()) => Ok(done),
    }
}

fn push(
    part: &Part<'_>,
    fd: c_int,
    from: &Vectors<'_>,
    flags: c_int,
    patience: Patience,
    stamps: Stamps,
    done: &mut usize,
) -> Result<()> {
    if part.cell.flags().intersects(Flags::DEFERRED) {
        let count = open_with(part, fd, from, patience)?;
        *done = count;
        if patience.is_none() || *done == from.len() {
            return Ok(());
        }
    }
    connected(part, fd, patience)?;
    let urgent = flags & libc::MSG_OOB != 0 && !from.is_empty();
    let plain = from.len() - usize::from(urgent);
    loop {
        may_send(part)?;
        let turn = wait::turn_to_write(part)?;
        let room = part.cell.room(part.tx().size()) as usize;
        let count = room.min(plain - *done);
        if count > 0 {
            // What is not waited for ends with what there is room for.
            let is_last = *done + count == plain || patience.is_none() && stamps != Stamps(0);
            let of_last = if is_last && !urgent { stamps } else { Stamps(0) };
            put(part, from, done, count, (flags, of_last), turn);
            if is_last && *done < plain {
                return Err(Errno(libc::EAGAIN));
            }
        } else {
            drop(turn);
        }
        if *done == plain && !urgent {
            return Ok(());
        }
        if *done == plain && room > count {
            let byte = from.last().unwrap_or_default();
            part.call(Op::SendUrgent, [byte.into(), stamps.0, 0, 0], &[])?;
            *done += 1;
            return Ok(());
        }
        let waited = wait::until(part, fd, libc::EPOLLOUT as u32, patience, || {
            part.cell.room(part.tx().size()) > 0
                || part.cell.flags().intersects(Flags::WRITE_END)
                || part.has_error()
        });
        if waited.is_err() && *done > 0 {
            // It ended early: with the byte that was written last, if that one is still here.
            stamps.ask(part, part.cell.program.tx_tail.load(Relaxed));
        }
        waited?;
    }
}

/// The first write of a connection that waits for it (TCP_FASTOPEN_CONNECT): what finds room goes with the SYN, or later.
fn open_with(part: &Part<'_>, fd: c_int, from: &Vectors<'_>, patience: Patience) -> Result<usize> {
    let (count, end) = {
        let turn = wait::turn_to_write(part)?;
        let tail = part.cell.program.tx_tail.load(Relaxed);
        let count = from.len().min(part.cell.room(part.tx().size()) as usize);
        from.into_ring(0, count, part.tx(), tail);
        if !turn.is_mine() {
            return Err(Errno(libc::EINTR));
        }
        part.cell.program.tx_tail.store(tail + count as u64, SeqCst);
        (count, tail + count as u64)
    };
    part.call(Op::Send, [end, 0, 0, 0], &[])?;
    part.set_open(open::OPENING, true);
    match decide::await_connection_for(part, fd, libc::EINPROGRESS, patience) {
        // Taken, if it was something.
        Err(Errno(libc::EINPROGRESS)) if count > 0 => Ok(count),
        opened => opened.map(|()| count),
    }
}

/// Writes `count` bytes behind what stands in the ring.
fn put(
    part: &Part<'_>,
    from: &Vectors<'_>,
    done: &mut usize,
    count: usize,
    (flags, stamps): (c_int, Stamps),
    turn: Turn<'_>,
) {
    let tail = part.cell.program.tx_tail.load(Relaxed);
    if !turn.is_mine() {
        return;
    }
    from.into_ring(*done, count, part.tx(), tail);
    let end = tail + count as u64;
    stamps.ask(part, end);
    if !turn.is_mine() {
        return;
    }
    part.cell.program.tx_tail.store(end, SeqCst);
    *done += count;
    drop(turn);
    let said = |flag, word| if flags & flag != 0 { word } else { 0 };
    let how = said(libc::MSG_MORE, SEND_MORE) | said(libc::MSG_EOR, SEND_RECORD);
    if how != 0 && *done == from.len() {
        // What went wrong is found out by the next call.
        part.attachment().call(part.worker, Op::Send, part.slot, [end, how, 0, 0], &[]);
    } else {
        part.kick();
    }
    part.be_heard();
}

/// Waits for a connection that is being opened (sk_stream_wait_connect).
fn connected(part: &Part<'_>, fd: c_int, patience: Patience) -> Result<()> {
    loop {
        let flags = part.cell.flags();
        // (A dead service leaves the flags as they were; what follows says that nothing can be sent.)
        if flags.intersects(Flags::CONNECTED) || !flags.intersects(Flags::CONNECTING) || part.is_over() {
            return Ok(());
        }
        wait::until(part, fd, libc::EPOLLOUT as u32, patience, || {
            !part.cell.flags().intersects(Flags::CONNECTING)
        })?;
    }
}

/// EPIPE, or the error that waits, when nothing can be sent any more.
fn may_send(part: &Part<'_>) -> Result<()> {
    let flags = part.cell.flags();
    let open = flags.intersects(Flags::CONNECTED) && !flags.intersects(Flags::WRITE_END);
    if open && !part.has_error() && !part.is_over() {
        return Ok(());
    }
    match part.cell.take_error() {
        0 => Err(Errno(libc::EPIPE)),
        error => Err(Errno(error as c_int)),
    }
}
