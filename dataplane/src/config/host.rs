//! The facts of a machine that a configuration is held against: processors and network interfaces.
//!
//! Where they come from: the processors from our affinity mask, the interfaces from `/sys/class/net` (which
//! shows the network namespace that `/sys` was mounted in: `ip netns exec` mounts it anew), the addresses
//! from getifaddrs(3). Nothing here is needed after start.

use flumen_stack::MacAddr;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

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

impl Host {
    /// The machine that we are on. An error says which fact could not be read.
    pub fn here() -> io::Result<Host> {
        let mut interfaces = interfaces_in(Path::new("/sys/class/net"))?;
        for entry in nix::ifaddrs::getifaddrs()? {
            let Some(interface) = interfaces.get_mut(&entry.interface_name) else { continue };
            let (Some(address), Some(mask)) = (entry.address, entry.netmask) else { continue };
            if let (Some(address), Some(mask)) = (ip_of(&address), ip_of(&mask))
                && let Ok(net) = IpNet::with_netmask(address, mask)
            {
                interface.addresses.push(net);
            }
        }
        Ok(Host { cpus: cpus(), interfaces })
    }
}

/// Processors that we may run on. Empty when the kernel does not say.
fn cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
}

fn ip_of(storage: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}

/// The interfaces described in `folder`, which looks like `/sys/class/net`. One that goes away meanwhile is
/// left out.
pub fn interfaces_in(folder: &Path) -> io::Result<BTreeMap<String, Interface>> {
    let mut interfaces = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if let Some(interface) = interface_in(&entry.path()) {
            interfaces.insert(name, interface);
        }
    }
    Ok(interfaces)
}

/// The interface described in `folder`; `None` when it is none (files such as `bonding_masters` are not).
fn interface_in(folder: &Path) -> Option<Interface> {
    let text = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| text.trim().to_owned());
    let mtu = text("mtu")?.parse().ok()?;
    let mac = text("address").and_then(|text| text.parse().ok()).filter(|mac: &MacAddr| mac.is_station());
    // `carrier` follows at once; `operstate` a moment later, and is "unknown" where the driver reports none.
    let flags = text("flags").and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    let admin_up = flags.is_some_and(|flags| flags & 1 != 0);
    let carrier = match text("carrier").as_deref() {
        Some(carrier) => carrier == "1",
        None => !matches!(text("operstate").as_deref(), Some("down" | "lowerlayerdown" | "notpresent")),
    };
    let up = admin_up && carrier;
    let device = fs::read_link(folder.join("device/driver")).ok();
    let driver = device
        .and_then(|link| Some(link.file_name()?.to_str()?.to_owned()))
        .or_else(|| virtual_kind(folder, &text("uevent").unwrap_or_default()));
    let (rx_queues, tx_queues) = queues_in(&folder.join("queues"));
    Some(Interface { driver, rx_queues, tx_queues, mtu, mac, up, addresses: Vec::new() })
}

/// The kind of an interface without a device. The kernel does not say "veth" in sysfs, but of all virtual
/// Ethernet interfaces without a DEVTYPE only veth is linked to another one (`iflink` is not `ifindex`) or has a
/// speed. Both are asked, because the other end, in another namespace, may have the same number, and because
/// an interface that is down has no speed.
fn virtual_kind(folder: &Path, uevent: &str) -> Option<String> {
    if folder.join("tun_flags").exists() {
        return Some("tun".to_owned());
    }
    if let Some(devtype) = uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        return Some(devtype.to_owned());
    }
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<i64>().ok();
    let is_linked = number("iflink") != number("ifindex");
    let has_speed = number("speed").is_some_and(|speed| speed > 0);
    (is_linked || has_speed).then(|| "veth".to_owned())
}

/// Receive and transmit queues: one folder for each.
fn queues_in(folder: &Path) -> (u16, u16) {
    let Ok(entries) = fs::read_dir(folder) else { return (0, 0) };
    let (mut rx, mut tx) = (0u16, 0u16);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("rx-") {
            rx = rx.saturating_add(1);
        } else if name.starts_with("tx-") {
            tx = tx.saturating_add(1);
        }
    }
    (rx, tx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, text: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn interfaces_are_read_from_a_folder_like_sys_class_net() {
        let folder = tempfile::tempdir().unwrap();
        let veth = folder.path().join("veth0");
        write(&veth, "mtu", "1500\n");
        write(&veth, "address", "02:00:00:00:00:07\n");
        write(&veth, "flags", "0x1003\n");
        write(&veth, "operstate", "up\n");
        write(&veth, "ifindex", "7\n");
        write(&veth, "iflink", "6\n");
        write(&veth, "uevent", "INTERFACE=veth0\nIFINDEX=7\n");
        for queue in ["rx-0", "rx-1", "tx-0"] {
            fs::create_dir_all(veth.join("queues").join(queue)).unwrap();
        }
        let card = folder.path().join("eth9");
        write(&card, "mtu", "9000");
        write(&card, "address", "00:00:00:00:00:00");
        write(&card, "flags", "0x1002");
        fs::create_dir_all(card.join("device")).unwrap();
        std::os::unix::fs::symlink("../../bus/drivers/ice", card.join("device/driver")).unwrap();
        for name in ["dummy0", "same"] {
            for (file, text) in [("mtu", "1500"), ("ifindex", "3"), ("iflink", "3"), ("uevent", "IFINDEX=3")]
            {
                write(&folder.path().join(name), file, text);
            }
        }
        write(&folder.path().join("same"), "speed", "10000");
        write(folder.path(), "bonding_masters", "");

        let found = interfaces_in(folder.path()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["dummy0", "eth9", "same", "veth0"]);
        let veth = &found["veth0"];
        assert_eq!((veth.driver.as_deref(), veth.rx_queues, veth.tx_queues), (Some("veth"), 2, 1));
        assert_eq!((veth.mtu, veth.mac, veth.up), (1500, "02:00:00:00:00:07".parse().ok(), true));
        assert_eq!(found["dummy0"].driver, None);
        assert_eq!(found["same"].driver.as_deref(), Some("veth"), "the other end has the same number");
        let card = &found["eth9"];
        assert_eq!((card.driver.as_deref(), card.mtu, card.mac, card.up), (Some("ice"), 9000, None, false));
    }

    #[test]
    fn this_machine_has_a_processor_and_a_loopback_interface() {
        let host = Host::here().unwrap();
        assert!(!host.cpus.is_empty());
        let loopback = &host.interfaces["lo"];
        assert!(loopback.rx_queues > 0 && loopback.mtu > 0);
    }
}
