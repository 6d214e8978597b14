//! What there is to know about an interface, and the two settings of it that we change.
//!
//! Everything is read through ioctls, which follow the thread's network namespace; files under `/sys/class/net` follow
//! the mount instead, and only the settings that exist nowhere else are read there.

use crate::sys;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

pub mod deferral;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NicError {
    /// There is none of that name.
    #[error("there is no interface `{0}` in this network namespace: `ip link` lists them")]
    Missing(String),
    /// A name that no interface can have.
    #[error("`{0}` is not an interface name: 1 to 15 bytes without `/` or spaces")]
    Name(String),
    /// Something else.
    #[error("cannot {doing} of {interface}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An interface as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in this namespace.
    pub index: u32,
    /// Its MTU in bytes, without the link header.
    pub mtu: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its driver; `unknown` when it does not say.
    pub driver: String,
}

/// Offloads that are switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Checksums of transmitted packets are left to the device (and, on a veth pair, to nobody).
    pub tx_checksum: bool,
    /// Checksums of received packets are checked by the device.
    pub rx_checksum: bool,
    /// TCP packets longer than the MTU are handed to the device.
    pub tso: bool,
    /// The stack builds packets longer than the MTU until they leave.
    pub gso: bool,
    /// Received packets are merged.
    pub gro: bool,
}

impl Interface {
    /// Looks at the interface `name` in this thread's network namespace.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(name: &str) -> Result<Interface, NicError> {
        let system =
            |doing| move |source: io::Error| NicError::System { doing, interface: name.to_owned(), source };
        let c_name = checked_name(name)?;
        let index = sys::interface_index(&c_name).map_err(|source| match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => NicError::Missing(name.to_owned()),
            _ => system("find the index")(source),
        })?;
        let fd = control().map_err(system("open a control socket"))?;
        let mut request = request_for(&c_name);
        ioctl(&fd, libc::SIOCGIFMTU, &mut request).map_err(system("read the MTU"))?;
        // SAFETY: the ioctl succeeded and filled this member.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu } as u32;
        ioctl(&fd, libc::SIOCGIFHWADDR, &mut request).map_err(system("read the hardware address"))?;
        // SAFETY: as above.
        let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(hardware.sa_data) {
            *to = from as u8;
        }
        let driver = driver(&fd, &c_name).unwrap_or_else(|| "unknown".to_owned());
        Ok(Interface { name: name.to_owned(), index, mtu, mac, driver })
    }

    /// True when the interface is up and has a carrier.
    ///
    /// # Errors
    /// When it is gone.
    pub fn is_up(&self) -> Result<bool, NicError> {
        let flags = control()
            .and_then(|fd| flags_of(&fd, self.index))
            .map_err(|source| self.system("read the flags", source))?;
        Ok(flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0)
    }

    /// The MTU as it is now.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn current_mtu(&self) -> Result<u32, NicError> {
        Interface::open(&self.name).map(|now| now.mtu)
    }

    /// Queues: the largest number that receives or transmits.
    ///
    /// # Errors
    /// When neither ethtool nor sysfs says.
    pub fn queues(&self) -> Result<u32, NicError> {
        let c_name = checked_name(&self.name)?;
        let channels = control().ok().and_then(|fd| channels(&fd, &c_name));
        match channels {
            Some(count) if count > 0 => Ok(count),
            _ => self.queues_in_sysfs(),
        }
    }

    /// The offloads that are switched on.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn features(&self) -> Result<Features, NicError> {
        let c_name = checked_name(&self.name)?;
        let fd = control().map_err(|source| self.system("open a control socket", source))?;
        let on = |command| {
            let mut value = EthtoolValue { command, data: 0 };
            ethtool(&fd, &c_name, &mut value).is_ok() && value.data != 0
        };
        Ok(Features {
            rx_checksum: on(0x14),
            tx_checksum: on(0x16),
            tso: on(0x1e),
            gso: on(0x23),
            gro: on(0x2b),
        })
    }

    fn queues_in_sysfs(&self) -> Result<u32, NicError> {
        let entries = std::fs::read_dir(format!("/sys/class/net/{}/queues", self.name))
            .map_err(|source| self.system("list the queues", source))?;
        let (mut rx, mut tx) = (0, 0);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            rx += u32::from(name.starts_with("rx-"));
            tx += u32::from(name.starts_with("tx-"));
        }
        Ok(rx.max(tx))
    }

    fn system(&self, doing: &'static str, source: io::Error) -> NicError {
        NicError::System { doing, interface: self.name.clone(), source }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    command: u32,
    max: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_drvinfo`: the command, the driver's name, and what we do not read.
#[repr(C)]
struct EthtoolDriver {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// The interface's flags (IFF_UP and so on), by index.
pub(crate) fn flags_of(fd: &impl AsRawFd, index: u32) -> io::Result<i32> {
    // SAFETY: all zero bits are a value of this structure of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = index as i32;
    ioctl(fd, libc::SIOCGIFNAME, &mut request)?;
    ioctl(fd, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the ioctl succeeded and filled this member.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }))
}

fn checked_name(name: &str) -> Result<CString, NicError> {
    let bad = name.is_empty() || name.len() > 15 || name.contains(['/', ' ', '\t', '\n']);
    match CString::new(name) {
        Ok(c_name) if !bad => Ok(c_name),
        _ => Err(NicError::Name(name.to_owned())),
    }
}

/// A socket to ask about interfaces, in this thread's network namespace.
pub(crate) fn control() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

fn request_for(name: &CStr) -> libc::ifreq {
    // SAFETY: all zero bits are a value of this structure of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request
}

fn ioctl(fd: &impl AsRawFd, command: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the commands used here read and write one `ifreq`.
    sys::check(unsafe { libc::ioctl(fd.as_raw_fd(), command as _, std::ptr::from_mut(request)) })?;
    Ok(())
}

/// Runs an ethtool command on a structure that starts with the command's number.
fn ethtool<T>(fd: &OwnedFd, name: &CStr, value: &mut T) -> io::Result<()> {
    let mut request = request_for(name);
    request.ifr_ifru.ifru_data = std::ptr::from_mut(value).cast();
    // `ioctl` passes the request; the kernel writes at most the structure that belongs to the command, which each
    // caller passes.
    ioctl(fd, SIOCETHTOOL, &mut request)
}

fn driver(fd: &OwnedFd, name: &CStr) -> Option<String> {
    let mut info = EthtoolDriver { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ethtool(fd, name, &mut info).ok()?;
    let _ = (info.command, info.rest);
    let text = CStr::from_bytes_until_nul(&info.driver).ok()?.to_str().ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn channels(fd: &OwnedFd, name: &CStr) -> Option<u32> {
    let mut channels = EthtoolChannels { command: ETHTOOL_GCHANNELS, ..Default::default() };
    ethtool(fd, name, &mut channels).ok()?;
    let _ = (channels.command, channels.max, channels.other);
    Some(channels.combined + channels.rx.max(channels.tx))
}
