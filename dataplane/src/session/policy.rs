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

impl Default for LowPorts {
    fn default() -> LowPorts {
        LowPorts::Users(Vec::new())
    }
}

/// Names that only some may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Addresses; `None`: all.
    pub net: Option<IpNet>,
    /// IPPROTO_*; `None`: all.
    pub protocol: Option<i32>,
    /// Port numbers; empty: all.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Who may, beside root.
    pub users: Vec<u32>,
}

impl Reservation {
    /// Whether it is about a name, whatever the address.
    fn is_about(&self, protocol: i32, port: u16) -> bool {
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && (self.ports.is_empty() || self.ports.iter().any(|range| range.contains(&port)))
    }

    /// Whether some of its addresses are among those that an unspecified address stands for.
    fn overlaps(&self, unspecified: IpAddr) -> bool {
        self.net.is_none_or(|net| unspecified.is_ipv6() || net.addr().is_ipv4())
    }

    /// Whether all of its addresses are another's as well.
    fn is_within(&self, other: &Reservation) -> bool {
        match (self.net, other.net) {
            (_, None) => true,
            (Some(net), Some(other)) => other.contains(&net),
            (None, Some(_)) => false,
        }
    }

    fn names(&self, user: &Credentials) -> bool {
        user.is_privileged() || self.users.contains(&user.uid)
    }
}

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Without a rule.
    pub claim: Claim,
    /// Rules, the first that matches decides.
    pub rules: Vec<Rule>,
    /// Who may bind to ports below 1024.
    pub low_ports: LowPorts,
    /// Names that only some may have: the first that is about a name decides, before `low_ports`.
    pub reserved: Vec<Reservation>,
    /// Addresses that the kernel has and we have not.
    pub kernel: Vec<IpAddr>,
}

impl Policy {
    /// True when `user` may bind a socket of a protocol (IPPROTO_*) to an address and a port (0: one that is chosen).
    pub fn may_bind(&self, user: &Credentials, protocol: i32, (address, port): (IpAddr, u16)) -> bool {
        let address = address.to_canonical();
        let mut about = self.reserved.iter().filter(|one| one.is_about(protocol, port));
        if address.is_unspecified() && port != 0 {
            return self.may_bind_all(user, about.filter(|one| one.overlaps(address)), port);
        }
        match about.find(|one| one.net.is_none_or(|net| net.contains(&address))) {
            Some(one) => one.names(user),
            None => self.may_bind_unreserved(user, port),
        }
    }

    /// Who names no address takes what comes for all of them: whatever is reserved of those must be his, and the others free to him.
    /// (A port that is still to be chosen is not one that anybody waits for.)
    fn may_bind_all<'a>(
        &self,
        user: &Credentials,
        reserved: impl Iterator<Item = &'a Reservation> + Clone,
        port: u16,
    ) -> bool {
        // The first that is about an address decides.
        let earlier = |at| reserved.clone().take(at);
        let decides = |at, one: &Reservation| !earlier(at).any(|before| one.is_within(before));
        let mut deciding = reserved.clone().enumerate().filter(|(at, one)| decides(*at, one));
        deciding.all(|(_, one)| one.names(user))
            && (reserved.clone().any(|one| one.net.is_none()) || self.may_bind_unreserved(user, port))
    }

    fn may_bind_unreserved(&self, user: &Credentials, port: u16) -> bool {
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
        let policy = |low_ports| Policy { low_ports, ..Policy::default() };
        let at = |port| (IpAddr::from([10, 0, 0, 1]), port);
        let some = policy(LowPorts::Users(vec![33]));
        for (uid, port, may) in [
            (0, 80, true),
            (33, 80, true),
            (34, 80, false),
            (34, 1023, false),
            (34, 1024, true),
            (34, 0, true),
        ] {
            assert_eq!(some.may_bind(&user(uid), 6, at(port)), may, "user {uid}, port {port}");
        }
        assert!(policy(LowPorts::All).may_bind(&user(34), 6, at(80)));
    }

    fn user(uid: u32) -> Credentials {
        Credentials { uid, ..Credentials::default() }
    }

    #[test]
    fn what_is_reserved_is_for_root_and_for_whom_it_names_and_the_first_that_matches_decides() {
        let one = |net: &str, ports: &[RangeInclusive<u16>], users: &[u32]| Reservation {
            net: net.parse().ok(),
            protocol: Some(6),
            ports: ports.to_vec(),
            users: users.to_vec(),
        };
        let policy = Policy {
            reserved: vec![
                one("10.0.0.1/32", &[80..=80, 8000..=8099], &[33]),
                one("10.0.0.1/32", &[], &[34]),
                one("fd00::/64", &[443..=443], &[]),
                Reservation { net: None, ..one("", &[9000..=9000], &[35]) },
            ],
            ..Policy::default()
        };
        for (who, protocol, address, port, may) in [
            (33, 6, "10.0.0.1", 80, true), // though it is a low port
            (0, 6, "10.0.0.1", 80, true),
            (34, 6, "10.0.0.1", 80, false),
            (34, 6, "10.0.0.1", 8100, true),
            (33, 6, "10.0.0.1", 8100, false),
            (33, 6, "::ffff:10.0.0.1", 8100, false),
            (34, 6, "10.0.0.1", 0, true),
            (33, 6, "10.0.0.1", 0, false),
            (33, 17, "10.0.0.1", 8100, true),
            (33, 6, "10.0.0.2", 8100, true),
            (33, 6, "10.0.0.2", 9000, false),
            (35, 6, "fd00::2", 9000, true),
            (35, 6, "fd00::2", 443, false),
            // Who names no address has that one as well, unless the port is still to be chosen.
            (35, 6, "0.0.0.0", 8000, false),
            (33, 6, "::", 8000, true), // 10.0.0.1 is another's for other ports only
            (34, 6, "0.0.0.0", 8101, true),
            (35, 6, "0.0.0.0", 8101, false),
            (35, 6, "0.0.0.0", 0, true),
            (35, 17, "0.0.0.0", 8101, true),
        ] {
            let at = (address.parse().unwrap_or(IpAddr::from([0; 4])), port);
            assert_eq!(
                policy.may_bind(&user(who), protocol, at),
                may,
                "user {who} at {address}:{port}, {protocol}"
            );
        }
    }

    #[test]
    fn who_names_no_address_needs_all_that_is_reserved_of_them_and_the_others_as_well() {
        let one = |net: &str, users: &[u32]| Reservation {
            net: net.parse().ok(),
            protocol: None,
            ports: vec![80..=80, 8080..=8080],
            users: users.to_vec(),
        };
        let [first, second] = [one("10.0.0.1/32", &[33]), one("10.0.0.2/32", &[34])];
        let (six, all) = (one("fd00::1/128", &[34]), one("", &[33]));
        for (reserved, low_ports, at, port, may) in [
            (vec![first.clone()], vec![], "0.0.0.0", 8080, true),
            (vec![first.clone()], vec![], "0.0.0.0", 80, false), // of the other addresses it is a low port
            (vec![first.clone()], vec![33], "0.0.0.0", 80, true),
            (vec![first.clone(), second.clone()], vec![33], "0.0.0.0", 8080, false),
            (vec![first.clone(), second.clone()], vec![33], "10.0.0.1", 8080, true),
            (vec![six.clone()], vec![], "0.0.0.0", 8080, true), // no address of that family
            (vec![six.clone(), first.clone()], vec![], "::", 8080, false),
            (vec![all.clone()], vec![], "0.0.0.0", 80, true),
            (vec![all.clone(), second.clone()], vec![], "::", 80, true), // the first decides
            (vec![second, all], vec![], "::", 80, false),
        ] {
            let policy = Policy { reserved, low_ports: LowPorts::Users(low_ports), ..Policy::default() };
            let name = (at.parse().unwrap_or(IpAddr::from([1; 4])), port);
            assert_eq!(policy.may_bind(&user(33), 6, name), may, "{at}:{port}, {policy:?}");
        }
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
