//! Options: getsockopt, setsockopt and the ioctls of sockets, from the bytes that programs pass to what the stack calls them.
//!
//! ```text
//!   bytes ── table: which row? ──> rules (length, bounds, rights) ──> State: what getsockopt gives back
//!                                                                └──> Effect: what the stack is told ── perform
//! ```
//!
//! [`table`] has each option once, with everything about it; `docs/socket-options.md` is written from it. An option of a TCP
//! socket that is nothing in the stack yet is kept in [`State`], and told by [`apply`] once it is. What fails in the stack
//! was not set.

pub mod asked;
pub mod document;
pub mod effect;
pub mod figures;
pub mod groups;
pub mod info;
pub mod ioctl;
pub mod keys;
pub mod kind;
pub mod limits;
pub mod live;
pub mod state;
pub mod table;

pub use state::{Field, State};

use super::Errno;
use super::links::Links;
use super::socket::{Kind, Socket};
use crate::builtin::host::Host;
use asked::{Answer, Asked, number};
use effect::Effect;
use flumen_ipc::Cell;
use flumen_ipc::limits::CALL_DATA;
use flumen_stack::tcp::signature::KeyTable;
use flumen_stack::{FramePool, Probe};
use kind::{Facts, Stage};
use table::{Get, Set};

/// What an option may need to know beside the socket.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The ports under the names that programs know.
    pub links: &'a Links,
    /// The socket's words: conditions that an option changes (SO_RCVLOWAT) are told there by whoever called.
    pub cell: &'a Cell,
}

/// setsockopt.
///
/// # Errors
/// Linux's.
pub fn set<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &mut Socket,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let facts = live::facts(host, socket);
    let before = socket.options.clone();
    let effect = decide(&mut socket.options, &facts, about.links, (level, name), value)?;
    let done = effect::perform(host, about, socket, &facts, effect);
    if done.is_err() {
        socket.options = before;
    }
    done
}

/// What setsockopt comes to, without the stack: the state has the value, and the effect is to be performed.
fn decide(
    state: &mut State,
    facts: &Facts,
    links: &Links,
    (level, name): (i32, i32),
    value: &[u8],
) -> Result<Effect, Errno> {
    let mut asked = Asked { state, facts, links };
    let row = table::find(level, name, facts.kinds);
    // A row may take less than its level asks for (strings do), or more.
    let least = row.map_or(table::least_of(level, facts), |row| row.least);
    if value.len() < least {
        return Err(Errno::INVAL);
    }
    let Some(row) = row else { return Err(table::unknown(level, facts, true)) };
    let number = number(level, value);
    match row.set {
        Set::Refused(errno) => Err(errno),
        Set::Flag(field) => Ok(asked.store(field, i32::from(number != 0))),
        Set::Range(field, lowest, highest) if (lowest..=highest).contains(&number) => {
            Ok(asked.store(field, number))
        }
        Set::Range(..) => Err(Errno::INVAL),
        Set::Int(set) => set(&mut asked, number),
        Set::Bytes(set) => set(&mut asked, value),
    }
}

/// getsockopt: bytes of the value in `out`. `longest`: what the caller takes; `given`: what it passed in.
///
/// # Errors
/// Linux's.
pub fn get<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &mut Socket,
    (level, name): (i32, i32),
    longest: usize,
    given: &[u8],
    out: &mut [u8; CALL_DATA],
) -> Result<usize, Errno> {
    let facts = live::facts(host, socket);
    let Some(row) = table::find(level, name, facts.kinds) else {
        return Err(table::unknown(level, &facts, false));
    };
    let mut answer = Answer::new(out, longest, given);
    let asked = Asked { state: &mut socket.options, facts: &facts, links: about.links };
    match row.get {
        Get::Refused(errno) => return Err(errno),
        Get::Int(field) => answer.int(level, asked.value(field)),
        Get::Value(value) => answer.int(level, value(&asked)?),
        Get::Bytes(bytes) => bytes(&asked, &mut answer)?,
        Get::Live(live) => live::answer(host, about, socket, &facts, level, live, &mut answer)?,
    }
    Ok(answer.len())
}

/// ioctl: bytes of the answer in `out`.
///
/// # Errors
/// Linux's; ENOTTY for a request that is not about what waits.
pub fn ioctl<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &mut Socket,
    request: u32,
    out: &mut [u8; CALL_DATA],
) -> Result<usize, Errno> {
    ioctl::answer(host, about, socket, request, out)
}

/// A socket that was [`Kind::TcpClosed`] has its handle in the stack, as connection or listener, since a moment, and nothing
/// was sent yet: everything that was set before is told to the stack now. Also for an accepted connection, whose options are
/// a copy of its listener's (what Linux inherits; what it does not, begins anew).
///
/// # Errors
/// Linux's.
pub fn apply<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &mut Socket,
) -> Result<(), Errno> {
    let facts = live::facts(host, socket);
    match socket.kind {
        Kind::Listener(handle) => {
            effect::tell_listener(host, socket, &facts)?;
            let keys = socket.options.more().map(|more| more.keys.clone()).unwrap_or_default();
            for key in keys {
                let md5 = flumen_stack::tcp::sockets::PeerKey::Md5(key.key);
                host.tcp().tcp_listen_key(handle, key.prefix, Some(md5)).map_err(super::errno)?;
            }
            Ok(())
        }
        Kind::Tcp(handle) => {
            if facts.stage != Stage::Connecting {
                inherit(&mut socket.options);
            }
            for option in effect::of_all(&socket.options, &facts).collect::<Vec<_>>() {
                effect::perform(host, about, socket, &facts, Effect::Tcp(option))?;
            }
            sign(host, socket, handle, &facts)
        }
        Kind::TcpClosed | Kind::Udp(_) | Kind::Raw(_) | Kind::Ping(_) => Ok(()),
    }
}

/// What an accepted connection does not take over from its listener (Linux: `inet_csk_clone_lock`, `tcp_create_openreq_child`).
fn inherit(state: &mut State) {
    for field in [Field::DeferAccept, Field::FastOpen, Field::FastOpenNoCookie, Field::MaxSegment] {
        state.forget(field);
    }
    if state.more().is_some_and(|more| !more.keys.is_empty()) {
        state.more_mut().keys.clear();
    }
}

/// Signs a connection that is about to be opened.
fn sign<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    handle: flumen_stack::socket::Handle,
    facts: &Facts,
) -> Result<(), Errno> {
    let Some(more) = socket.options.more() else { return Ok(()) };
    if facts.stage != Stage::Connecting || more.keys.is_empty() {
        return Ok(());
    }
    let mut table = KeyTable::new();
    for key in &more.keys {
        table.set_md5(key.prefix, key.key.clone()).map_err(|_full| Errno::NOMEM)?;
    }
    host.tcp().tcp_sign(handle, table).map_err(super::errno)
}
