//! Which sockets are ours, and who may name which ports: what the configuration says of programs.
//!
//! An address that the data plane has is ours, and what its routes lead to; an unspecified one is of both, the kernel's and ours;
//! all else is the kernel's. Rules of the configuration come first, in their order.

use crate::builtin::host::Host;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;
use flumen_ipc::call::Whose;
use flumen_stack::{FramePool, Probe};
use ipnet::IpNet;

use super::limits::FIRST_UNPRIVILEGED_PORT;
use super::socket::Credentials;

/// What sockets are ours without a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Claim {
    /// Those at our addresses, and to where our routes lead.
    #[default]
    Owned,
    /// Every one: loopback as well, and unspecified addresses alone.
    All,
    /// Those that a rule says.
    Rules,
}

/// Decides about what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Addresses; `None`: all.
    pub net: Option<IpNet>,
    /// IPPROTO_*; `None`: all.
    pub protocol: Option<i32>,
    /// Port numbers; empty: all.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Ours.
    pub ours: bool,
}

impl Rule {
    fn matches(&self, protocol: i32, address: IpAddr, port: u16) -> bool {
        self.net.is_none_or(|net| net.contains(&address))
            && self.protocol.is_none_or(|wanted| wanted == protocol)
            && (self.ports.is_empty() || self.ports.iter().any(|range| range.contains(&port)))
    }
}

/// Who may bind to ports below 1024.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowPorts {
    /// Everybody.
    All,
    /// Root and these users.
    Users(Vec<u32>),
}

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Without a rule.
    pub claim: Claim,
    /// Rules, the first that matches decides.
    pub rules: Vec<Rule>,
    /// Who may bind to ports below 1024.
    pub low_ports: LowPorts,
    /// Addresses that the kernel has and we have not.
    pub kernel: Vec<IpAddr>,
}

impl Policy {
    /// True when `user` may bind to a port.
    pub fn may_bind(&self, user: &Credentials, port: u16) -> bool {
        let low = port != 0 && port < FIRST_UNPRIVILEGED_PORT;
        match &self.low_ports {
            LowPorts::All => true,
            LowPorts::Users(users) => !low || user.is_privileged() || users.contains(&user.uid),
        }
    }

    /// Where something goes that is sent to an address: to an unspecified one, as in Linux, it goes to ourselves.
    pub fn destination(&self, to: IpAddr) -> IpAddr {
        match to.to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() && self.claim == Claim::All => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() && self.claim == Claim::All => Ipv6Addr::LOCALHOST.into(),
            other => other,
        }
    }

    /// Whose a socket is that binds to an address, or sends there.
    pub fn whose<P: FramePool, M: Probe>(
        &self,
        host: &mut Host<'_, '_, P, M>,
        protocol: i32,
        (address, port): (IpAddr, u16),
        sends: bool,
    ) -> Whose {
        let address = address.to_canonical();
        if let Some(rule) = self.rules.iter().find(|rule| rule.matches(protocol, address, port)) {
            return match (rule.ours, address.is_unspecified() && !sends) {
                (true, false) => Whose::Flumen,
                (true, true) => Whose::Both,
                (false, _) => Whose::Kernel,
            };
        }
        match self.claim {
            Claim::All => return Whose::Flumen,
            Claim::Rules => return Whose::Kernel,
            Claim::Owned => {}
        }
        let ours = match sends {
            false if address.is_unspecified() => return Whose::Both,
            false => host.stack.owns(address) || address.is_multicast(),
            true if address.is_unspecified() || address.is_loopback() => false,
            true if self.kernel.contains(&address) => host.stack.owns(address),
            true => host.stack.reaches(host.turn.now, address),
        };
        if ours { Whose::Flumen } else { Whose::Kernel }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ports_are_for_root_and_for_whom_the_configuration_names() {
        let policy =
            |low_ports| Policy { claim: Claim::Owned, rules: Vec::new(), low_ports, kernel: Vec::new() };
        let user = |uid| Credentials { uid, ..Credentials::default() };
        let some = policy(LowPorts::Users(vec![33]));
        for (uid, port, may) in [
            (0, 80, true),
            (33, 80, true),
            (34, 80, false),
            (34, 1023, false),
            (34, 1024, true),
            (34, 0, true),
        ] {
            assert_eq!(some.may_bind(&user(uid), port), may, "user {uid}, port {port}");
        }
        assert!(policy(LowPorts::All).may_bind(&user(34), 80));
    }

    #[test]
    fn a_rule_matches_what_it_names() {
        let rule = Rule {
            net: Some("10.0.0.0/8".parse().unwrap_or_default()),
            protocol: Some(6),
            ports: vec![80..=81],
            ours: true,
        };
        let ten = "10.1.1.1".parse().unwrap_or(IpAddr::from([0; 4]));
        assert!(rule.matches(6, ten, 81));
        assert!(!rule.matches(17, ten, 81) && !rule.matches(6, ten, 82));
        assert!(!rule.matches(6, IpAddr::from([11, 0, 0, 1]), 80));
    }
}
