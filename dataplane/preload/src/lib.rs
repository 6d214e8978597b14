//! # libflumen_preload.so: sockets for unmodified programs
//!
//! Loaded by LD_PRELOAD in front of libc, this library exports libc's socket calls. A call on a descriptor that is none of
//! ours goes to libc at the price of one look-up; one on a socket that Flumen serves is answered here, out of memory shared
//! with the data plane ([`flumen_ipc`]).
//!
//! ```text
//!   calls/*     the exported C functions: look the descriptor up, go to libc or to what is below
//!   stream, datagram      send and receive;  control: control messages;  options, names, ioctl: what their names say
//!   decide      whose an address is; what happens when a socket becomes Flumen's
//!   wait        sleeping until a socket's cell changes, a time is over or a signal comes
//!   socket      one socket: states, readiness;  pool: its memory;  table: descriptor → socket
//!   epoll, poll, select      waiting for many;  watcher: where threads sleep that do
//!   fork, exec, spawn        other processes with the same sockets;  rights, adopt: sockets that come from others
//!   home        the arenas that sockets live in;  hold: what calls hold, so that it is not given up
//!   spare       descriptors of closed connections for the next ones;  sandbox: programs that give up system calls
//!   signals     SIGIO and SIGURG
//!   attach      the connection to the service: arena, calls, kicks, news;  complaints: what is told on standard error
//!   real        libc's own functions
//! ```
//!
//! ## The descriptor is real
//! Behind every socket stands one of the kernel's with the same number, domain, type and protocol. It is the socket, until
//! the first bind or connect shows that Flumen owns the address; it answers what Flumen need not know; and it is what the
//! program holds when the socket turns out to be the kernel's.
//!
//! ## What may happen where
//! A signal handler may interrupt any call and call in again; so may any thread, and libc itself before it is initialised.
//! Locks of the slow paths keep signals out ([`lock`]); the fast paths take the two locks in the socket's cell, and neither
//! allocate nor make a system call.

pub mod accept;
pub mod address;
pub mod adopt;
pub mod attach;
pub mod calls;
pub mod complaints;
pub mod control;
pub mod datagram;
pub mod decide;
pub mod descriptor;
pub mod epoll;
pub mod errno;
pub mod exec;
pub mod fork;
pub mod hold;
pub mod home;
pub mod ioctl;
pub mod limits;
pub mod lock;
pub mod mapped;
pub mod memory;
pub mod options;
pub mod own;
pub mod poll;
pub mod pool;
pub mod real;
pub mod rights;
pub mod routes;
pub mod sandbox;
pub mod select;
pub mod signals;
pub mod socket;
pub mod spare;
pub mod spawn;
pub mod stream;
pub mod table;
#[cfg(test)]
mod testing;
pub mod transfer;
pub mod wait;
pub mod watcher;
pub mod zero_copy;

/// What the dynamic linker calls when the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    hold::begin();
    fork::begin();
    adopt::adopt_inherited();
}
