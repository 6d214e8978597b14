//! The addresses that programs are told: the same conversations are had over IPv4 and over IPv6.

use super::Lab;
use std::fmt::{Display, Formatter, Result};

/// A host of the lab by one of its addresses: `{host}` where an address stands alone, `{host:#}` where a port follows, which
/// puts an IPv6 address into brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host(pub &'static str);

impl Display for Host {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        match to.alternate() && self.0.contains(':') {
            true => write!(to, "[{}]", self.0),
            false => to.write_str(self.0),
        }
    }
}

/// Between whom programs talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The router's host, where programs with Flumen's sockets run.
    pub here: Host,
    /// The kernel's host beside it.
    pub there: Host,
    /// The kernel's host behind it.
    pub far: Host,
}

/// The ends over IPv4.
pub const IPV4: Ends = Ends { here: Host("10.0.1.1"), there: Host("10.0.1.2"), far: Host("10.0.2.2") };
/// The same over IPv6.
pub const IPV6: Ends = Ends { here: Host("fd00:1::1"), there: Host("fd00:1::2"), far: Host("fd00:2::2") };

impl Ends {
    /// A word for IPv4, or the one for IPv6: where a program wants to be told.
    pub fn word<'a>(&self, four: &'a str, six: &'a str) -> &'a str {
        if *self == IPV4 { four } else { six }
    }
}

/// Has a conversation over each family, in one lab with sockets for programs.
pub fn over_each_family(talk: impl Fn(&Lab, Ends)) {
    let lab = Lab::plan().programs("").up();
    for ends in [IPV4, IPV6] {
        talk(&lab, ends);
    }
}
