//! The table of options: each once, with its number, its kinds of sockets, its rules and what it does here.
//!
//! ```text
//!   (level, number, kind of socket) ──> Row ──> Set: how bytes become a value, and within which bounds
//!                                           └─> Get: where the value comes from
//! ```
//!
//! `docs/socket-options.md` is written from this table, and a test walks it beside the running kernel. A pair of level and
//! number that has no row for a kind of socket is unknown there: [`unknown`] says which error that is.

mod ip;
mod ipv6;
mod raw;
mod socket;
mod tcp;
mod udp;

pub(super) use tcp::seconds_of;

use super::asked::{Answer, Asked};
use super::effect::Effect;
use super::kind::{Facts, Kinds};
use super::live::Live;
use super::state::Field;
use crate::session::Errno;

/// SOL_SOCKET.
pub const SOCKET: i32 = 1;
/// IPPROTO_IP.
pub const IP: i32 = 0;
/// IPPROTO_TCP.
pub const TCP: i32 = 6;
/// IPPROTO_UDP.
pub const UDP: i32 = 17;
/// IPPROTO_UDPLITE: another name of IPPROTO_UDP's options.
pub const UDP_LITE: i32 = 136;
/// IPPROTO_IPV6.
pub const IPV6: i32 = 41;
/// IPPROTO_ICMPV6.
pub const ICMPV6: i32 = 58;
/// SOL_RAW.
pub const RAW: i32 = 255;

/// How an option is set.
#[derive(Debug, Clone, Copy)]
pub enum Set {
    /// It is not.
    Refused(Errno),
    /// A number that is 0 or becomes 1.
    Flag(Field),
    /// A number within bounds, else EINVAL.
    Range(Field, i32, i32),
    /// A number with rules of its own.
    Int(fn(&mut Asked<'_>, i32) -> Result<Effect, Errno>),
    /// Bytes with rules of their own, also about their length.
    Bytes(fn(&mut Asked<'_>, &[u8]) -> Result<Effect, Errno>),
}

/// How an option is read.
#[derive(Debug, Clone, Copy)]
pub enum Get {
    /// It is not.
    Refused(Errno),
    /// A number that was set, or its default.
    Int(Field),
    /// A number with rules of its own.
    Value(fn(&Asked<'_>) -> Result<i32, Errno>),
    /// Bytes with rules of their own.
    Bytes(fn(&Asked<'_>, &mut Answer<'_>) -> Result<(), Errno>),
    /// The stack knows.
    Live(Live),
}

/// What became of an option here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does what it does on Linux.
    Works,
    /// It is kept for whoever receives and sends on behalf of the program: control messages, waiting, peeking.
    Library,
    /// Linux does no more with it, for sockets as ours are, than to keep it.
    Kept,
    /// The error is that of Linux for a kernel, or a process, without what it needs.
    Refused,
}

impl Standing {
    /// The word in the documentation.
    pub const fn word(self) -> &'static str {
        match self {
            Standing::Works => "works",
            Standing::Library => "works (library)",
            Standing::Kept => "kept",
            Standing::Refused => "refused",
        }
    }
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its level.
    pub level: i32,
    /// Its number.
    pub number: i32,
    /// Its name.
    pub name: &'static str,
    /// For which sockets it exists.
    pub kinds: Kinds,
    /// The type of its value.
    pub value: &'static str,
    /// How it is set.
    pub set: Set,
    /// How it is read.
    pub get: Get,
    /// The fewest bytes that setsockopt takes; shorter is EINVAL.
    pub least: usize,
    /// What became of it.
    pub standing: Standing,
    /// What there is to say about it.
    pub note: &'static str,
    /// In what it differs from Linux, and why; empty when it does not.
    pub differs: &'static str,
}

const fn row(level: i32, number: i32, name: &'static str, kinds: Kinds) -> Row {
    Row {
        level,
        number,
        name,
        kinds,
        value: "int",
        set: Set::Refused(Errno::NOPROTOOPT),
        get: Get::Refused(Errno::NOPROTOOPT),
        least: if level == IP || level == ICMPV6 { 0 } else { 4 },
        standing: Standing::Works,
        note: "",
        differs: "",
    }
}

impl Row {
    const fn flag(self, field: Field) -> Row {
        Row { value: "bool", set: Set::Flag(field), get: Get::Int(field), ..self }
    }

    const fn range(self, field: Field, least: i32, most: i32) -> Row {
        Row { set: Set::Range(field, least, most), get: Get::Int(field), ..self }
    }

    const fn int(self, field: Field, set: fn(&mut Asked<'_>, i32) -> Result<Effect, Errno>) -> Row {
        Row { set: Set::Int(set), get: Get::Int(field), ..self }
    }

    const fn set(self, set: Set) -> Row {
        Row { set, ..self }
    }

    const fn get(self, get: Get) -> Row {
        Row { get, ..self }
    }

    const fn live(self, live: Live) -> Row {
        Row { get: Get::Live(live), ..self }
    }

    const fn refused(self, set: Errno, get: Errno) -> Row {
        Row { set: Set::Refused(set), get: Get::Refused(get), standing: Standing::Refused, ..self }
    }

    const fn value(self, value: &'static str) -> Row {
        Row { value, ..self }
    }

    const fn least(self, least: usize) -> Row {
        Row { least, ..self }
    }

    const fn stands(self, standing: Standing) -> Row {
        Row { standing, ..self }
    }

    const fn note(self, note: &'static str) -> Row {
        Row { note, ..self }
    }

    const fn differs(self, differs: &'static str) -> Row {
        Row { differs, ..self }
    }
}

/// The whole table, level by level.
pub const TABLE: [(&str, &[Row]); 6] = [
    ("SOL_SOCKET", socket::ROWS),
    ("IPPROTO_TCP", tcp::ROWS),
    ("IPPROTO_UDP and IPPROTO_UDPLITE", udp::ROWS),
    ("IPPROTO_IP", ip::ROWS),
    ("IPPROTO_IPV6", ipv6::ROWS),
    ("SOL_RAW and IPPROTO_ICMPV6", raw::ROWS),
];

/// The row of an option for a kind of socket.
pub fn find(level: i32, number: i32, kinds: Kinds) -> Option<&'static Row> {
    let level = if level == UDP_LITE { UDP } else { level };
    let rows = match level {
        SOCKET => socket::ROWS,
        TCP => tcp::ROWS,
        UDP => udp::ROWS,
        IP => ip::ROWS,
        IPV6 => ipv6::ROWS,
        RAW | ICMPV6 => raw::ROWS,
        _ => return None,
    };
    rows.iter().find(|row| row.level == level && row.number == number && row.kinds.meets(kinds))
}

/// The fewest bytes that a level asks of setsockopt before it looks at the number.
pub fn least_of(level: i32, facts: &Facts) -> usize {
    match level {
        SOCKET => 4,
        TCP if facts.is_tcp() => 4,
        UDP | UDP_LITE if facts.kinds.meets(Kinds::UDP) => 4,
        RAW if facts.kinds.meets(Kinds::RAW6) => 4,
        _ => 0,
    }
}

/// What Linux says of an option that a kind of socket does not have.
pub fn unknown(level: i32, facts: &Facts, setting: bool) -> Errno {
    let own = match level {
        SOCKET => true,
        TCP => facts.is_tcp(),
        UDP | UDP_LITE => facts.kinds.meets(Kinds::UDP),
        IP => facts.kinds.meets(Kinds::IP),
        _ => false,
    };
    match level {
        // A filter of another protocol's socket (raw(7)).
        ICMPV6 if facts.kinds == Kinds::RAW6 && facts.protocol != super::kind::ICMPV6 => Errno::OPNOTSUPP,
        RAW if facts.kinds == Kinds::RAW4 => Errno::NOPROTOOPT,
        // Levels that IPv4 does not know are not supported; IPv6 has no such option.
        _ if !own && !setting && !facts.is_v6() => Errno::OPNOTSUPP,
        _ => Errno::NOPROTOOPT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_one_row_for_each_kind_of_socket() {
        for (_, rows) in TABLE {
            for (place, row) in rows.iter().enumerate() {
                let twin = rows[..place].iter().find(|other| {
                    (other.level, other.number) == (row.level, row.number) && other.kinds.meets(row.kinds)
                });
                assert!(twin.is_none(), "{} is there twice", row.name);
                assert!(row.kinds.0 != 0 && !row.name.is_empty());
                assert!(
                    row.standing != Standing::Refused || !row.note.is_empty() || !row.differs.is_empty(),
                    "{} is refused without a reason",
                    row.name
                );
                let found = find(row.level, row.number, row.kinds).map(|found| found.name);
                assert_eq!(found, Some(row.name));
            }
        }
    }
}
