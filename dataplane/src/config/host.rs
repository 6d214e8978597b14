//! The facts of a machine that a configuration is held against: processors and network interfaces.

use flumen_stack::MacAddr;
use ipnet::IpNet;
use std::collections::BTreeMap;

/// A machine, as far as a layout depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Host {
    /// Processors that this process may run on, as the kernel counts them.
    pub cpus: Vec<usize>,
    /// The network interfaces of our namespace by name.
    pub interfaces: BTreeMap<String, Interface>,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    /// Its driver, as ethtool names it (`veth` and the like, which have no device, by their kind); `None`: unknown.
    pub driver: Option<String>,
    /// Its receive queues.
    pub rx_queues: u16,
    /// Its transmit queues.
    pub tx_queues: u16,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its link-layer address; `None` when it has none that a station can have.
    pub mac: Option<MacAddr>,
    /// Whether it is administratively up and has a carrier.
    pub up: bool,
    /// Addresses that the kernel has on it, with their prefix lengths.
    pub addresses: Vec<IpNet>,
}
