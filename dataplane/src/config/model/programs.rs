//! `[programs]`: sockets for programs, as configured.

use super::PacketRule;
use crate::config::problem::At;
use std::path::PathBuf;

/// `[programs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The path of the socket that programs attach at.
    pub socket: PathBuf,
    /// Its permission bits: who may write to it may have sockets here.
    pub mode: u32,
    /// Its owner; `None`: who started the service.
    pub user: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
    /// Programs at a time.
    pub programs: usize,
    /// Of one user.
    pub programs_per_user: usize,
    /// Sockets of one program: a multiple of 64.
    pub sockets: usize,
    /// Bytes of the ring that a socket receives in: a power of two.
    pub receive_ring: usize,
    /// Bytes of the ring that a socket sends from.
    pub send_ring: usize,
    /// Which sockets are the data plane's.
    pub claim: Claimed,
    /// Those that are not, whatever `claim` says.
    pub never: Vec<PacketRule>,
    /// Who may bind to ports below 1024.
    pub low_ports: LowPorts,
    /// Names that only some may have; the first that matches decides, before `low_ports`.
    pub reserve: Vec<Reservation>,
    /// Where the table stands.
    pub at: At,
}

/// Which sockets are the data plane's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Those at its addresses, and to where its routes lead.
    Owned,
    /// All, loopback too.
    All,
    /// Those to or at these.
    Rules(Vec<PacketRule>),
}

/// Who may bind to ports below 1024.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowPorts {
    /// Everybody.
    All,
    /// Root, and these users.
    Users(Vec<u32>),
}

/// Names that only some may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Which: addresses and ports to bind to.
    pub names: PacketRule,
    /// Who may bind to them, beside root.
    pub users: Vec<u32>,
}

impl Programs {
    /// The defaults.
    pub fn new(at: At) -> Programs {
        Programs {
            socket: PathBuf::from("/run/flumen/programs.sock"),
            mode: 0o666,
            user: None,
            group: None,
            programs: 1024,
            programs_per_user: 1024,
            sockets: 4096,
            receive_ring: 262_144,
            send_ring: 262_144,
            claim: Claimed::Owned,
            never: Vec::new(),
            low_ports: LowPorts::Users(Vec::new()),
            reserve: Vec::new(),
            at,
        }
    }
}
