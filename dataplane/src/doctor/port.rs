//! A port and its interface.

use super::drivers::{Expectation, expectation, has_local_peer};
use super::facts::{Facts, Nic, Xdp};
use super::{Finding, Level};
use crate::config::layout::PortLayout;
use crate::config::model::{AfXdp, ChecksumPolicy, Port, PortKind, XdpMode};
use crate::port::tap::{DEVICE, may_open_device};

/// Judges one port.
pub fn examine(port: &Port, planned: &PortLayout, facts: &Facts, findings: &mut Vec<Finding>) {
    let about = format!("port {}", port.name);
    if let PortKind::Tap(tap) = &port.kind {
        findings.push(examine_tap(about, &tap.interface, facts));
        return;
    }
    let PortKind::AfXdp(af_xdp) = &port.kind else {
        findings.push(Finding::ok(about, format!("{}: needs nothing of the machine", port.kind.name())));
        return;
    };
    let Some(nic) = facts.interfaces.get(&af_xdp.interface) else {
        findings.push(
            Finding::error(about, format!("no interface {}", af_xdp.interface), "the port cannot be opened")
                .command("ip link"),
        );
        return;
    };
    let port = Examined { about, name: &af_xdp.interface, af_xdp, planned, nic };
    findings.extend(port.link());
    findings.push(port.mode(facts));
    findings.push(port.program());
    findings.extend(port.queues());
    findings.extend(port.offloads());
    findings.push(port.checksums());
    findings.extend(port.napi());
}

/// A TAP needs the device node, and the interface or the right to make it.
fn examine_tap(about: String, interface: &str, facts: &Facts) -> Finding {
    const CANNOT: &str = "a port of kind tap cannot be opened";
    if let Err(error) = may_open_device() {
        let (found, command) = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                (format!("may not open {DEVICE}"), format!("chmod 0666 {DEVICE}"))
            }
            _ => (format!("cannot open {DEVICE}: {error}"), "modprobe tun".to_owned()),
        };
        return Finding::error(about, found, CANNOT).command(command);
    }
    match facts.interfaces.get(interface) {
        Some(_) => Finding::ok(about, format!("tap: {interface} is there")),
        None => Finding::ok(about, format!("tap: {interface} is made at start, which needs CAP_NET_ADMIN")),
    }
}

struct Examined<'a> {
    about: String,
    /// Of the interface.
    name: &'a str,
    af_xdp: &'a AfXdp,
    planned: &'a PortLayout,
    nic: &'a Nic,
}

impl Examined<'_> {
    fn ok(&self, found: impl Into<String>) -> Finding {
        Finding::ok(&self.about, found)
    }

    fn warning(&self, found: impl Into<String>, means: impl Into<String>) -> Finding {
        Finding::warning(&self.about, found, means)
    }

    fn driver(&self) -> &str {
        self.nic.basics.driver.as_deref().unwrap_or("unknown")
    }

    fn link(&self) -> Vec<Finding> {
        let basics = &self.nic.basics;
        let found = format!("{}: driver {}, MTU {}", self.name, self.driver(), basics.mtu);
        let mut findings = vec![if basics.up {
            self.ok(found)
        } else {
            self.warning(format!("{found}, down"), "no packet comes or goes until it is up and has a carrier")
                .command(format!("ip link set dev {} up", self.name))
        }];
        // More than the interface has is an error of the layout: it does not come this far.
        if u32::from(self.planned.mtu) < basics.mtu {
            findings.push(
                self.warning(
                    format!("MTU {} on the interface, {} here", basics.mtu, self.planned.mtu),
                    "longer packets come in than go out; neighbours on the link should agree about its MTU",
                )
                .command(format!("ip link set dev {} mtu {}", self.name, self.planned.mtu)),
            );
        }
        findings
    }

    fn mode(&self, facts: &Facts) -> Finding {
        let expected = expectation(self.driver());
        let zero_copy = match expected {
            Expectation::ZeroCopy(major, minor) => facts.is_at_least(major, minor),
            Expectation::Native => Some(false),
            Expectation::Unknown => None,
        };
        let driver = self.driver();
        let asked = self.af_xdp.mode;
        match (asked, zero_copy) {
            (XdpMode::Auto | XdpMode::ZeroCopy, Some(true)) => self.ok(format!("zero-copy can be expected of {driver}")),
            (XdpMode::ZeroCopy, Some(false)) => {
                let means = "`mode = \"zero-copy\"` will be refused: say \"auto\" or \"native\"";
                Finding { level: Level::Error, ..self.warning(format!("{driver} has no zero-copy on this kernel"), means) }
            }
            (XdpMode::Auto, Some(false)) => self.ok(format!("native mode, with a copy in the kernel, is the best of {driver}")),
            (XdpMode::Native, Some(true)) => {
                self.warning(format!("{driver} could do zero-copy"), "`mode = \"native\"` copies every packet: say \"auto\"")
            }
            (XdpMode::Native, Some(false)) => self.ok(format!("native mode is the best of {driver}")),
            (XdpMode::Generic, _) if expected != Expectation::Unknown => {
                self.warning("generic mode is asked for", format!("{driver} can do better: say `mode = \"auto\"`"))
            }
            (XdpMode::Generic, _) => self.ok("generic mode works with every driver"),
            (_, None) => self.warning(
                format!("which modes {driver} has is unknown"),
                "`flumen show port` says what it got; a demanded mode that is not granted is an error at start",
            ),
        }
    }

    fn program(&self) -> Finding {
        match self.nic.xdp {
            Some(Xdp::Free) => self.ok("no XDP program in the way"),
            Some(Xdp::Program(id)) => Finding::error(
                &self.about,
                format!("XDP program {id} is on {} already", self.name),
                "a flumen that runs, or another program, has the interface: ours cannot be attached",
            )
            .command(format!(
                "ip link set dev {} xdp off   # if its owner is gone; else stop the owner",
                self.name
            )),
            None => self.warning(
                "whether an XDP program is on it is unknown (no `ip`)",
                "if there is one, ours cannot be attached",
            ),
        }
    }

    fn queues(&self) -> Option<Finding> {
        let (has, ours) = (self.nic.basics.rx_queues, self.planned.queues.len());
        let has = usize::from(has);
        if ours >= has {
            return Some(self.ok(format!("all of its {has} receive queues are polled")));
        }
        let first = self.planned.queues.iter().enumerate().all(|(index, queue)| index == usize::from(*queue));
        let command = match first {
            true => format!("ethtool -L {} combined {ours}", self.name),
            false => format!("ethtool -X {} weight …   # 0 for the queues that are not polled", self.name),
        };
        let means = "packets that the card puts on the others stay with the kernel and never reach us";
        Some(self.warning(format!("{ours} of its {has} receive queues are polled"), means).command(command))
    }

    fn offloads(&self) -> Vec<Finding> {
        let Some(offloads) = &self.nic.offloads else {
            return vec![
                self.warning("offloads: unknown (no `ethtool`)", "LRO, GRO and VLAN offload can hurt"),
            ];
        };
        let is_on = |name: &str| offloads.get(name).copied().unwrap_or(false);
        let generic = self.af_xdp.mode == XdpMode::Generic;
        let wrong = [
            (
                is_on("large-receive-offload"),
                "lro",
                "the card merges packets, which drivers refuse together with XDP",
            ),
            (
                is_on("rx-gro-hw"),
                "rx-gro-hw",
                "the card merges packets, which drivers refuse together with XDP",
            ),
            (
                generic && is_on("generic-receive-offload"),
                "gro",
                "in generic mode packets are merged before we see them, and are then too long to be forwarded",
            ),
            (
                is_on("rx-vlan-offload") && !has_local_peer(self.nic.basics.driver.as_deref()),
                "rxvlan",
                "the card takes VLAN tags away before we see the packets, which then look untagged",
            ),
        ];
        let mut findings: Vec<Finding> = wrong
            .into_iter()
            .filter(|(is_wrong, ..)| *is_wrong)
            .map(|(_, name, means)| {
                self.warning(format!("{name} is on"), means)
                    .command(format!("ethtool -K {} {name} off", self.name))
            })
            .collect();
        if findings.is_empty() {
            findings.push(self.ok("no offload in the way"));
        }
        findings
    }

    fn checksums(&self) -> Finding {
        let driver = self.driver();
        let policy = self.planned.checksum;
        match (has_local_peer(self.nic.basics.driver.as_deref()), policy) {
            (true, ChecksumPolicy::Verify | ChecksumPolicy::Trust) => self
                .warning(
                    format!("the peer of a {driver} may be a local kernel, which leaves transport checksums unfinished"),
                    "such packets leave as they are, and whoever receives them drops them: say `checksum = \"repair\"`, \
                     or have the peer finish them",
                )
                .command("ethtool -K PEER tx off   # PEER: the interface at the other end"),
            (true, _) => self.ok("checksums that a local peer leaves unfinished are repaired"),
            (false, ChecksumPolicy::Trust) => self.warning(
                "transport checksums are trusted",
                "damaged packets for us are believed; `checksum = \"verify\"` costs little",
            ),
            (false, _) => self.ok("transport checksums are checked"),
        }
    }

    fn napi(&self) -> Vec<Finding> {
        let now = self.nic.napi_defer_hard_irqs.zip(self.nic.gro_flush_timeout);
        let mut findings = Vec::new();
        match (&self.af_xdp.napi_defer, now) {
            (Some(_), None) => findings.push(Finding::error(
                &self.about,
                "no napi_defer_hard_irqs and gro_flush_timeout on this interface",
                "`napi_defer` cannot be set: take it out",
            )),
            (Some(wanted), Some((irqs, timeout))) => findings.push(self.ok(format!(
                "NAPI deferral: {irqs} and {timeout} ns now, {} and {} ns while we run",
                wanted.hard_irqs,
                wanted.gro_flush_timeout.as_nanos()
            ))),
            (None, Some((irqs, timeout))) => {
                findings
                    .push(self.ok(format!("NAPI deferral: {irqs} and {timeout} ns, which stay as they are")));
                if self.af_xdp.busy_poll.is_some() && irqs == 0 {
                    findings.push(self.warning(
                        "busy polling without NAPI deferral",
                        "the interrupt is never masked for long, so polling only adds system calls: set `napi_defer`",
                    ));
                }
            }
            (None, None) => {}
        }
        findings
    }
}
