//! sendfile(2) and splice(2) with sockets of ours. There is nothing to be spared by them, the bytes are copied once as always;
//! so they are a read and a send, or a look and a write, done with care for what the other side did not take.

use crate::errno::{Errno, Result, from_libc};
use crate::memory::{self, Vectors};
use crate::socket::{Part, SocketRef};
use crate::stream::Stamps;
use crate::wait::{self, Patience};
use crate::{real, stream};
use core::ffi::{c_int, c_uint, c_void};
use flumen_ipc::Flags;
use libc::off_t;

/// Bytes that are moved at a time: on the stack.
const CHUNK: usize = 32 << 10;

/// sendfile(2) into a connection. `offset` moves; without it the file's own position does.
///
/// # Errors
/// Those of sendfile(2); EINVAL for sockets of datagrams.
pub fn send_file(
    fd: c_int,
    socket: &SocketRef,
    file: c_int,
    offset: Option<&mut off_t>,
    count: usize,
) -> Result<usize> {
    let part = socket.part().ok_or(Errno(libc::EBADF))?;
    if !socket.is_stream() {
        return Err(Errno(libc::EINVAL));
    }
    let own_position = offset.is_none();
    let mut start = match &offset {
        Some(offset) => **offset,
        // SAFETY: asks where a file stands.
        None => {
            // SAFETY: by the caller.
            from_libc(unsafe { libc::lseek(file, 0, libc::SEEK_CUR) }).map_err(|_| Errno(libc::EINVAL))?
        }
    };
    if start < 0 {
        return Err(Errno(libc::EINVAL));
    }
    let first = start;
    let result = send_from(fd, &part, file, &mut start, count.min(memory::MAX_COUNT));
    if let Some(offset) = offset {
        *offset = start;
    }
    if own_position && start != first {
        // SAFETY: moves a file's position.
        unsafe { libc::lseek(file, start, libc::SEEK_SET) };
    }
    match result {
        Err(error) if start == first => Err(error),
        _ => Ok((start - first) as usize),
    }
}

fn send_from(fd: c_int, part: &Part<'_>, file: c_int, at: &mut off_t, count: usize) -> Result<()> {
    let mut left = count;
    let mut chunk = [0u8; CHUNK];
    while left > 0 {
        let len = left.min(CHUNK);
        // SAFETY: the chunk is live.
        let read = unsafe { libc::pread(file, chunk.as_mut_ptr().cast(), len, *at) };
        let read = from_libc(read)
            .map_err(|error| if error.0 == libc::ESPIPE { Errno(libc::EINVAL) } else { error })?;
        if read == 0 {
            return Ok(());
        }
        let read = read as usize;
        let list = memory::one(chunk.as_ptr().cast(), read);
        let sent = stream::send(part, fd, &Vectors::of(&list)?, 0, Stamps::asked(part, None))?;
        *at += sent as off_t;
        left -= sent;
        if sent < read {
            return Ok(());
        }
    }
    Ok(())
}

/// splice(2) from a pipe into a connection.
///
/// # Errors
/// Those of splice(2).
pub fn splice_in(fd: c_int, socket: &SocketRef, pipe: c_int, len: usize, flags: c_uint) -> Result<usize> {
    let part = socket.part().ok_or(Errno(libc::EBADF))?;
    if !socket.is_stream() {
        return Err(Errno(libc::EINVAL));
    }
    is_pipe(pipe)?;
    if len == 0 {
        return Ok(0);
    }
    let patience =
        if flags & libc::SPLICE_F_NONBLOCK != 0 { Patience::None } else { Patience::to_send(&part, 0) };
    // What is read from the pipe must find room: so room first.
    wait::until(&part, fd, libc::EPOLLOUT as u32, patience, || {
        part.cell.room(part.tx().size()) > 0
            || part.cell.flags().intersects(Flags::WRITE_END)
            || !part.cell.flags().intersects(Flags::CONNECTED | Flags::CONNECTING)
            || part.has_error()
    })?;
    let mut chunk = [0u8; CHUNK];
    let room = (part.cell.room(part.tx().size()) as usize).max(1);
    if flags & libc::SPLICE_F_NONBLOCK != 0 {
        ready(pipe, libc::POLLIN)?;
    }
    // SAFETY: the chunk is live.
    let read = unsafe { real::read(pipe, chunk.as_mut_ptr().cast(), len.min(CHUNK).min(room)) };
    let read = from_libc(read)? as usize;
    if read == 0 {
        return Ok(0);
    }
    let list = memory::one(chunk.as_ptr().cast(), read);
    let more = if flags & libc::SPLICE_F_MORE != 0 { libc::MSG_MORE } else { 0 };
    stream::send(&part, fd, &Vectors::of(&list)?, more, Stamps::asked(&part, None))
}

/// splice(2) from a socket into a pipe: what the pipe does not take stays in the socket.
///
/// # Errors
/// Those of splice(2).
pub fn splice_out(fd: c_int, socket: &SocketRef, pipe: c_int, len: usize, flags: c_uint) -> Result<usize> {
    let part = socket.part().ok_or(Errno(libc::EBADF))?;
    if !socket.is_stream() {
        return Err(Errno(libc::EINVAL));
    }
    is_pipe(pipe)?;
    if len == 0 {
        return Ok(0);
    }
    let mut chunk = [0u8; CHUNK];
    let list = memory::one(chunk.as_mut_ptr().cast::<c_void>(), len.min(CHUNK));
    let dont_wait = if flags & libc::SPLICE_F_NONBLOCK != 0 { libc::MSG_DONTWAIT } else { 0 };
    // Where only the urgent byte is left there is nothing to splice, and nothing to wait for (tcp_splice_read of Linux).
    if part.cell.readable() == 0
        && stream::is_at_mark(&part)
        && !part.cell.flags().intersects(Flags::READ_END)
    {
        return Ok(0);
    }
    let got = stream::receive_behind(&part, fd, &Vectors::of(&list)?, libc::MSG_PEEK | dont_wait, 0)?.len;
    if got == 0 {
        return Ok(0);
    }
    if dont_wait != 0 {
        ready(pipe, libc::POLLOUT)?;
    }
    // SAFETY: the chunk is live and holds as many bytes.
    let written = from_libc(unsafe { real::write(pipe, chunk.as_ptr().cast(), got) })? as usize;
    let list = memory::one(chunk.as_mut_ptr().cast::<c_void>(), written);
    stream::receive(&part, fd, &Vectors::of(&list)?, libc::MSG_TRUNC | libc::MSG_DONTWAIT)?;
    Ok(written)
}

fn is_pipe(fd: c_int) -> Result<()> {
    let mut status = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills it, or fails.
    let status = unsafe {
        from_libc(libc::fstat(fd, status.as_mut_ptr()))?;
        status.assume_init()
    };
    if status.st_mode & libc::S_IFMT == libc::S_IFIFO { Ok(()) } else { Err(Errno(libc::EINVAL)) }
}

/// EAGAIN unless the pipe is ready now.
fn ready(pipe: c_int, events: i16) -> Result<()> {
    // SAFETY: the pipe is open for as long as the call.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(pipe) };
    let events = rustix::event::PollFlags::from_bits_truncate(events as u16);
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, events)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now))? {
        0 => Err(Errno(libc::EAGAIN)),
        _ => Ok(()),
    }
}
