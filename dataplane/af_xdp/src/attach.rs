//! The program on its interface, and the map from queues to sockets.
//!
//! The program is attached by a BPF link whose descriptor this process holds, and only so: when the process ends, however
//! it ends, link, program and map go with it, and the interface is the kernel's again. An attachment is shared by
//! the workers whose sockets are on the interface's queues.

use crate::bpf::{self, LoadError, asm::TooLong};
use crate::mode::Mode;
use crate::nic::{Interface, NicError};
use crate::program::{self, Rules};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// Queues of one interface at most: slots of the map. The largest NICs have a queue for each of 256 cores.
pub const MAX_QUEUES: u32 = 256;

/// How long to wait for a link of another process to end: milliseconds, a quarter of a second in all.
const BUSY_PAUSES: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Where on the way of a packet the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In the driver, before the kernel has made an skb.
    Native,
    /// In the kernel's generic path.
    Generic,
}

/// What to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachOptions {
    /// The mode wished for or demanded.
    pub mode: Mode,
    /// Which packets come to us.
    pub rules: Rules,
    /// Take packets of several chunks; needed for an MTU that does not fit one.
    pub multi_buffer: bool,
}

/// Why a program could not be attached, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such interface, or it cannot be read.
    #[error(transparent)]
    Interface(#[from] NicError),
    /// The rules are impossible.
    #[error(transparent)]
    Rules(#[from] program::RuleError),
    /// The program does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The verifier did not like the program: a defect of this crate, or a kernel that is too old.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A capability is missing.
    #[error("not permitted to load XDP programs: run as root, or with CAP_NET_ADMIN and CAP_BPF")]
    Permission,
    /// Another program is there.
    #[error(
        "{interface} is in use: another XDP program is on it. `ip link show {interface}` names it. `ip link set dev {interface} xdp off` \
         takes it away, unless it hangs on a BPF link, which only the process that made it can end (`bpftool link`)"
    )]
    Busy {
        /// The interface.
        interface: String,
    },
    /// The interface's MTU is too large for this mode.
    #[error(
        "the MTU of {interface}, {mtu}, is too large for a native XDP program without multi-buffer: switch multi-buffer on, \
         lower the MTU, or use generic mode"
    )]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
    },
    /// A veth's peer has more queues than this side.
    #[error(
        "{interface} has fewer receive queues than its peer has transmit queues: make them the same with \
         `ethtool -L {interface} rx N tx N`"
    )]
    TooFewQueues {
        /// The interface.
        interface: String,
    },
    /// The interface or driver cannot do it.
    #[error("{interface} (driver {driver}) does not take an XDP program in {mode} mode: {source}")]
    Refused {
        /// The interface.
        interface: String,
        /// Its driver.
        driver: String,
        /// The mode that was tried.
        mode: Mode,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interface went away.
    #[error("interface {interface} has disappeared")]
    Gone {
        /// The interface.
        interface: String,
    },
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The map from queue to socket.
#[derive(Debug)]
pub struct XskMap(OwnedFd);

impl XskMap {
    /// An empty map of [`MAX_QUEUES`] slots.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn new() -> io::Result<XskMap> {
        bpf::create_xsk_map(MAX_QUEUES).map(XskMap)
    }

    /// Sends the packets of `queue` to the AF_XDP socket `fd`.
    ///
    /// # Errors
    /// What bpf(2) says: E2BIG for a queue beyond the map.
    pub fn insert(&self, queue: u32, fd: RawFd) -> io::Result<()> {
        bpf::map_insert(self.0.as_raw_fd(), queue, fd)
    }

    /// Passes the packets of `queue` to the kernel again.
    ///
    /// # Errors
    /// What bpf(2) says: EINVAL or ENOENT when the slot was empty.
    pub fn remove(&self, queue: u32) -> io::Result<()> {
        bpf::map_remove(self.0.as_raw_fd(), queue)
    }
}

impl AsRawFd for XskMap {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The program on an interface. Dropping it takes the program off.
#[derive(Debug)]
pub struct Attachment {
    interface: Interface,
    requested: Mode,
    side: Side,
    refused: Vec<(Mode, String)>,
    multi_buffer: bool,
    map: Arc<XskMap>,
    link: OwnedFd,
}

impl Attachment {
    /// Assembles the program for the rules, loads it and attaches it to `interface` (in this thread's network
    /// namespace). No packet comes to us before a socket is opened on it.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(interface: &str, options: &AttachOptions) -> Result<Attachment, AttachError> {
        let interface = Interface::open(interface)?;
        let map = XskMap::new().map_err(|source| match source.raw_os_error() {
            Some(libc::EPERM) => AttachError::Permission,
            _ => AttachError::System { doing: "make the map of sockets", source },
        })?;
        let program = load(&options.rules, &map, options.multi_buffer)?;
        let (wanted, generic_too): (Mode, bool) = match options.mode {
            Mode::Generic => (Mode::Generic, false),
            Mode::Auto => (Mode::NativeCopy, true),
            demanded => (demanded, false),
        };
        let mut refused = Vec::new();
        let mut side = if wanted == Mode::Generic { Side::Generic } else { Side::Native };
        let link = match link(&program, &interface, wanted, side) {
            Err(error) if generic_too && can_fall_back(&error) => {
                refused.push((Mode::ZeroCopy, error.to_string()));
                refused.push((Mode::NativeCopy, error.to_string()));
                side = Side::Generic;
                self::link(&program, &interface, Mode::Generic, side)?
            }
            result => result?,
        };
        Ok(Attachment {
            interface,
            requested: options.mode,
            side,
            refused,
            multi_buffer: options.multi_buffer,
            map: Arc::new(map),
            link,
        })
    }

    /// Puts the program for other rules in the place of the present one, between two packets.
    ///
    /// # Errors
    /// As [`Attachment::attach`]; then the present rules stay.
    pub fn replace_rules(&self, rules: &Rules) -> Result<(), AttachError> {
        let program = load(rules, &self.map, self.multi_buffer)?;
        bpf::update_link(&self.link, &program).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOLINK | libc::ENODEV) => {
                AttachError::Gone { interface: self.interface.name.clone() }
            }
            _ => AttachError::System { doing: "replace the XDP program", source },
        })
    }

    /// The interface, as it was when the program was attached.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The mode that was asked for.
    pub fn requested(&self) -> Mode {
        self.requested
    }

    /// Where the program runs.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Modes that were refused on the way, and why.
    pub fn refused(&self) -> &[(Mode, String)] {
        &self.refused
    }

    /// Whether packets of several chunks are taken.
    pub fn multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// The map from queues to sockets.
    pub fn map(&self) -> &Arc<XskMap> {
        &self.map
    }
}

fn load(rules: &Rules, map: &XskMap, multi_buffer: bool) -> Result<OwnedFd, AttachError> {
    let program = program::assemble(rules, map.as_raw_fd())?;
    bpf::load(&program, bpf::Kind::Xdp { multi_buffer }).map_err(|error| match error.source.raw_os_error() {
        Some(libc::EPERM) => AttachError::Permission,
        _ => AttachError::Load(error),
    })
}

fn link(program: &OwnedFd, interface: &Interface, mode: Mode, side: Side) -> Result<OwnedFd, AttachError> {
    let flags = match side {
        Side::Native => bpf::DRIVER_MODE,
        Side::Generic => bpf::SKB_MODE,
    };
    let Interface { name, mtu, driver, .. } = interface;
    link_patiently(program, interface.index, flags).map_err(|source| match source.raw_os_error() {
        Some(libc::EPERM) => AttachError::Permission,
        // EEXIST: a program in the other mode.
        Some(libc::EBUSY | libc::EEXIST) => AttachError::Busy { interface: name.clone() },
        Some(libc::ENODEV) => AttachError::Gone { interface: name.clone() },
        Some(libc::ERANGE) => AttachError::Mtu { interface: name.clone(), mtu: *mtu },
        Some(libc::ENOSPC) => AttachError::TooFewQueues { interface: name.clone() },
        _ => AttachError::Refused { interface: name.clone(), driver: driver.clone(), mode, source },
    })
}

/// Links, waiting a little for a program whose process is just ending, or whose link a child process still has
/// between fork and exec.
fn link_patiently(program: &OwnedFd, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    for pause in BUSY_PAUSES {
        match bpf::link(program, interface, flags) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            result => return result,
        }
    }
    bpf::link(program, interface, flags)
}

/// Whether generic mode may work where native did not: not when somebody else has the interface, or it is gone.
fn can_fall_back(error: &AttachError) -> bool {
    matches!(error, AttachError::Mtu { .. } | AttachError::TooFewQueues { .. } | AttachError::Refused { .. })
}
