//! Keys for signed segments: `struct tcp_md5sig` (RFC 2385).
//!
//! ```text
//!   0 peer, sockaddr_storage   128 flags   129 prefix length   130 key length (u16)   132 interface (u32)   136 key (80)
//! ```

use super::asked::Asked;
use super::effect::Effect;
use super::groups::{STORAGE, ipv4};
use super::kind::Stage;
use super::limits::MAX_KEYS;
use crate::session::Errno;
use flumen_stack::socket::Family;
use flumen_stack::tcp::signature::{Md5Key, Prefix};
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of `struct tcp_md5sig`.
const LEN: usize = STORAGE + 8 + 80;
/// TCP_MD5SIG_FLAG_PREFIX: the prefix length counts.
const FLAG_PREFIX: u8 = 1;
/// TCP_MD5SIG_FLAG_IFINDEX: only on one interface.
const FLAG_INTERFACE: u8 = 2;

/// What the table says of it.
pub(super) const NOTE: &str = "before connect and for listeners; EINVAL on a connection, and for keys of one interface (TCP_MD5SIG_FLAG_IFINDEX)";

/// A key for some peers.
#[derive(Debug, Clone)]
pub struct Key {
    /// Whose.
    pub prefix: Prefix,
    /// It.
    pub key: Md5Key,
}

pub(super) fn set_md5(asked: &mut Asked<'_>, value: &[u8], extended: bool) -> Result<Effect, Errno> {
    if value.len() < LEN {
        return Err(Errno::INVAL);
    }
    let flags = if extended { value[STORAGE] } else { 0 };
    let peer = peer(asked, value).ok_or(Errno::INVAL)?;
    let all = if peer.is_ipv4() { 32 } else { 128 };
    let len = if flags & FLAG_PREFIX == 0 { all } else { value[STORAGE + 1] };
    let key_len = usize::from(u16::from_ne_bytes([value[STORAGE + 2], value[STORAGE + 3]]));
    if flags & FLAG_INTERFACE != 0 || key_len > 80 || len > all {
        return Err(Errno::INVAL);
    }
    let prefix = Prefix::new(peer, len).ok_or(Errno::INVAL)?;
    let key = Md5Key::new(&value[STORAGE + 8..STORAGE + 8 + key_len]).filter(|_| key_len > 0);
    if !matches!(asked.facts.stage, Stage::Fresh | Stage::Listening) {
        return Err(Errno::INVAL);
    }
    let keys = &mut asked.state.more_mut().keys;
    let before = keys.len();
    keys.retain(|other| other.prefix != prefix);
    match &key {
        None if keys.len() == before => return Err(Errno::NOENT),
        Some(_) if keys.len() >= MAX_KEYS => return Err(Errno::NOMEM),
        Some(key) => keys.push(Key { prefix, key: key.clone() }),
        None => {}
    }
    Ok(Effect::Key(prefix, key))
}

/// The peer's address; a mapped one is IPv4's.
fn peer(asked: &Asked<'_>, value: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes([value[0], value[1]]);
    match (asked.facts.family, family) {
        (Family::Ipv4, 2) => ipv4(&value[4..8]).map(IpAddr::V4),
        (Family::Ipv6, 10) => {
            value[8..24].first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).to_canonical())
        }
        _ => None,
    }
}
