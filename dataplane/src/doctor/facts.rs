//! What is known of a machine. `None` is "could not be learned".

use crate::config::host::Interface;
use std::collections::{BTreeMap, BTreeSet};

/// A machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// Whether the kernel was built with AF_XDP.
    pub has_af_xdp: Option<bool>,
    /// `net.core.bpf_jit_enable`: 0 is off.
    pub bpf_jit: Option<u64>,
    /// Effective capabilities of this process, one bit each.
    pub capabilities: Option<u64>,
    /// The most memory in bytes that this process may lock; `u64::MAX` is no limit.
    pub memlock: Option<u64>,
    /// The processors that are online, by number.
    pub cpus: BTreeMap<usize, Cpu>,
    /// The clock that the kernel reads, such as `tsc`.
    pub clock_source: Option<String>,
    /// Flags of the processors, such as `constant_tsc`.
    pub cpu_flags: Option<BTreeSet<String>>,
    /// Bytes of memory that could be had.
    pub memory_available: Option<u64>,
    /// Free huge pages of 2 MiB.
    pub huge_pages_free: Option<u64>,
    /// All huge pages of 2 MiB.
    pub huge_pages: Option<u64>,
    /// The network interfaces that the configuration names, by name.
    pub interfaces: BTreeMap<String, Nic>,
}

/// A processor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// We may run on it.
    pub allowed: bool,
    /// The scheduler puts nothing on it by itself (`isolcpus`).
    pub isolated: bool,
    /// The processors on the same core, itself included; empty when unknown.
    pub siblings: Vec<usize>,
    /// How its frequency is chosen; `None` also where nobody chooses (most virtual machines).
    pub governor: Option<String>,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Nic {
    /// What the configuration's check knows of it.
    pub basics: Interface,
    /// Empty polls before its interrupt is enabled again.
    pub napi_defer_hard_irqs: Option<u64>,
    /// Nanoseconds that packets gather.
    pub gro_flush_timeout: Option<u64>,
    /// The XDP program on it: `None` when nobody knows.
    pub xdp: Option<Xdp>,
    /// Offloads by ethtool's names; `None` without ethtool.
    pub offloads: Option<BTreeMap<String, bool>>,
}

/// Whether there is an XDP program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Xdp {
    /// None.
    Free,
    /// The program with this number.
    Program(u64),
}

impl Facts {
    /// The first two numbers of the kernel's release.
    pub fn kernel(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// True when the kernel is at least that new; `None` when its release makes no sense.
    pub fn is_at_least(&self, major: u32, minor: u32) -> Option<bool> {
        self.kernel().map(|kernel| kernel >= (major, minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_two_numbers() {
        let facts = |release: &str| Facts { release: release.to_owned(), ..Facts::default() };
        assert_eq!(facts("6.18.44-fc-v669").kernel(), Some((6, 18)));
        assert_eq!(facts("5.9-rc1").kernel(), Some((5, 9)));
        assert_eq!(facts("").kernel(), None);
        assert_eq!(facts("six.one").kernel(), None);
        let new = facts("6.1.0");
        assert_eq!(
            [new.is_at_least(6, 1), new.is_at_least(5, 20), new.is_at_least(6, 2)],
            [Some(true), Some(true), Some(false)]
        );
    }
}
