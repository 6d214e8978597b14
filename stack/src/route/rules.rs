//! Policy rules: which tables a packet may ask, and in which order (row O3; Linux's `ip rule`).
//!
//! A route is chosen by destination alone. Rules let the source, the port that a packet came in by, its protocol,
//! ports and type of service have a say: they are tried in order of priority, and the first that fits and whose
//! table has a route decides. The main table is asked last.
//!
//! ```text
//!   packet ─> ours? (main table: local, broadcast) ── yes ─────────────────────────────────> local
//!               │ no
//!               ├─ rule 100: from 10.0.1.0/24        ─> table isp2 ── no route there ─┐
//!               ├─ rule 200: udp, port 53, tos 0x10  ─> table quick ── a route ───────┼──> its next hop
//!               ├─ rule 300: in by guest             ─> prohibit ──> refused          │
//!               └─ (last) main table <────────────────────────────────────────────────┘
//! ```
//!
//! What rules ask of a packet beyond its addresses and its port of arrival are its [`Traits`]. Each different set of
//! them that a rule asks for is one bit of a *class*; the class is in the key of the route cache, so what the rules
//! said is remembered, and a packet is looked into only when some rule asks for it. Without rules nothing of this
//! costs anything.
//!
//! As in Linux, fragments have no ports: they fit no rule that asks for one. Rules about traits have no say in the
//! way back of the reverse-path filter, which asks for the source alone.

use crate::limits::{MAX_RULE_TRAITS, MAX_RULES};
use crate::port::PortId;
use crate::route::table_id::TableId;
use crate::wire::ipv6::Header as Ipv6Header;
use crate::wire::ipv6_extension::Chain;
use core::net::IpAddr;
use ipnet::IpNet;

/// The priority of the main table: rules come before it.
pub const MAIN_PRIORITY: u32 = 32_766;

/// The bits of a type of service or traffic class that are not congestion notification (RFC 3168, RFC 2474).
const DSCP: u8 = 0xfc;

/// Ports from the first to the second, both included.
pub type Ports = (u16, u16);

/// What a rule may ask of a packet itself; `None`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Type of service (IPv4) or traffic class (IPv6), without the bits of congestion notification.
    pub tos: Option<u8>,
    /// Protocol.
    pub protocol: Option<u8>,
    /// Source port.
    pub source_ports: Option<Ports>,
    /// Destination port.
    pub ports: Option<Ports>,
}

/// What a rule does with what fits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    /// Asks this table; when it has no route, the next rule is tried.
    Table(TableId),
    /// Silence.
    Blackhole,
    /// The sender hears that the destination is unreachable.
    Unreachable,
    /// The sender hears that communication is prohibited.
    Prohibit,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Lower is tried sooner; below [`MAIN_PRIORITY`].
    pub priority: u32,
    /// The sources that it is for.
    pub from: Option<IpNet>,
    /// The destinations that it is for.
    pub to: Option<IpNet>,
    /// The port that the packet came in by. Packets of our own came in by none.
    pub in_port: Option<PortId>,
    /// What it asks of the packet itself.
    pub wanted: Wanted,
    /// What it does.
    pub action: RuleAction,
}

/// Why rules were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There are too many.
    #[error("there may be {MAX_RULES} policy rules, not {0}")]
    TooMany(usize),
    /// They ask for too many different things.
    #[error(
        "policy rules may ask for {MAX_RULE_TRAITS} different sets of protocol, ports and type of service"
    )]
    TooManyTraits,
    /// A rule cannot come behind the main table.
    #[error("the priority of a policy rule is below {MAIN_PRIORITY}, not {0}")]
    BehindMain(u32),
}

/// What rules may ask of a packet itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// Type of service or traffic class.
    pub tos: u8,
    /// Protocol.
    pub protocol: u8,
    /// Source and destination port; `None`: it has none, or it is a fragment.
    pub ports: Option<(u16, u16)>,
}

impl Traits {
    /// Those of an IPv4 packet, from its IP header on.
    pub fn of4(packet: &[u8]) -> Traits {
        let Some(header) = packet.first_chunk::<20>() else { return Traits::default() };
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
        let at = usize::from(header[0] & 0x0f) * 4;
        let ports = if fragment { None } else { ports_at(packet, header[9], at) };
        Traits { tos: header[1], protocol: header[9], ports }
    }

    /// Those of an IPv6 packet, from its IP header on. Behind extension headers that are broken there is nothing.
    pub fn of6(packet: &[u8]) -> Traits {
        let Some(first) = packet.first_chunk::<40>() else { return Traits::default() };
        let tos = first[0] << 4 | first[1] >> 4;
        if has_ports(first[6]) {
            return Traits { tos, protocol: first[6], ports: ports_at(packet, first[6], 40) };
        }
        let Ok((header, _)) = Ipv6Header::parse(packet) else { return Traits { tos, ..Traits::default() } };
        match Chain::walk(header, packet) {
            Ok(chain) => {
                let protocol = chain.upper.0;
                let whole = chain.fragment.is_none();
                let ports = if whole { ports_at(packet, protocol, chain.upper_offset) } else { None };
                Traits { tos, protocol, ports }
            }
            Err(_) => Traits { tos, protocol: first[6], ports: None },
        }
    }
}

/// Protocols whose first four bytes are ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

fn ports_at(packet: &[u8], protocol: u8, at: usize) -> Option<(u16, u16)> {
    let &[a, b, c, d] = packet.get(at..)?.first_chunk::<4>().filter(|_| has_ports(protocol))?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

impl Wanted {
    fn fits(&self, traits: Traits) -> bool {
        let within = |range: Option<Ports>, pick: fn((u16, u16)) -> u16| {
            range.is_none_or(|(first, last)| {
                traits.ports.is_some_and(|ports| (first..=last).contains(&pick(ports)))
            })
        };
        self.tos.is_none_or(|tos| tos & DSCP == traits.tos & DSCP)
            && self.protocol.is_none_or(|protocol| protocol == traits.protocol)
            && within(self.source_ports, |ports| ports.0)
            && within(self.ports, |ports| ports.1)
    }
}

/// What is asked of the rules about one packet.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Its source; `None`: not chosen yet.
    pub source: Option<IpAddr>,
    /// Its destination.
    pub destination: IpAddr,
    /// The port it came in by; `None`: it is ours.
    pub port: Option<u16>,
    /// Which traits that rules ask for it has: see [`Rules::classify`].
    pub class: u16,
}

/// All rules, in the order in which they are tried. They stay as they are while the data plane runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<(Rule, u16)>,
    /// The different sets of traits that rules ask for: one bit of a class each.
    wanted: Vec<Wanted>,
}

impl Rules {
    /// `rules` by priority; of those with the same one the first first.
    ///
    /// # Errors
    /// Too many rules, or too many different traits.
    pub fn new(mut rules: Vec<Rule>) -> Result<Rules, RuleError> {
        if rules.len() > MAX_RULES {
            return Err(RuleError::TooMany(rules.len()));
        }
        rules.sort_by_key(|rule| rule.priority);
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut listed = Vec::with_capacity(rules.len());
        for rule in rules {
            if rule.priority >= MAIN_PRIORITY {
                return Err(RuleError::BehindMain(rule.priority));
            }
            let bit = if rule.wanted == Wanted::default() {
                0
            } else {
                let place = wanted.iter().position(|one| *one == rule.wanted).unwrap_or(wanted.len());
                if place == MAX_RULE_TRAITS {
                    return Err(RuleError::TooManyTraits);
                }
                if place == wanted.len() {
                    wanted.push(rule.wanted);
                }
                1 << place
            };
            listed.push((rule, bit));
        }
        Ok(Rules { rules: listed, wanted })
    }

    /// True when there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True when some rule asks for traits, so that packets must be looked into.
    #[inline]
    pub fn ask_for_traits(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Which of the traits that rules ask for a packet has: two packets with the same class, addresses and port fit
    /// the same rules.
    pub fn classify(&self, traits: Traits) -> u16 {
        let fitting = self.wanted.iter().enumerate().filter(|(_, wanted)| wanted.fits(traits));
        fitting.fold(0, |class, (place, _)| class | 1 << place)
    }

    /// What the rules that fit say, in order.
    pub fn of(&self, question: Question) -> impl Iterator<Item = RuleAction> + '_ {
        self.rules.iter().filter(move |(rule, bit)| rule.fits(&question, *bit)).map(|(rule, _)| rule.action)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|(rule, _)| rule)
    }
}

impl Rule {
    fn fits(&self, question: &Question, bit: u16) -> bool {
        question.class & bit == bit
            && self.to.is_none_or(|to| to.contains(&question.destination))
            && self.from.is_none_or(|from| question.source.is_some_and(|source| from.contains(&source)))
            && self.in_port.is_none_or(|port| question.port.map(usize::from) == Some(port.index()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(priority: u32, action: RuleAction) -> Rule {
        Rule { priority, from: None, to: None, in_port: None, wanted: Wanted::default(), action }
    }

    fn question(source: &str, destination: &str) -> Question {
        let source = Some(source.parse().unwrap());
        Question { source, destination: destination.parse().unwrap(), port: Some(1), class: 0 }
    }

    fn said(rules: &Rules, question: Question) -> Vec<RuleAction> {
        rules.of(question).collect()
    }

    #[test]
    fn rules_are_tried_by_priority_and_only_those_that_fit() {
        let table = |index| RuleAction::Table(TableId::policy(index).unwrap());
        let rules = Rules::new(vec![
            Rule { to: Some("192.0.2.0/24".parse().unwrap()), ..rule(200, table(1)) },
            Rule { from: Some("10.0.1.0/24".parse().unwrap()), ..rule(100, table(0)) },
            Rule { in_port: PortId::new(1), ..rule(300, RuleAction::Prohibit) },
        ])
        .unwrap();
        let all = said(&rules, question("10.0.1.9", "192.0.2.1"));
        assert_eq!(all, [table(0), table(1), RuleAction::Prohibit]);
        assert_eq!(said(&rules, question("10.0.2.9", "192.0.2.1")), [table(1), RuleAction::Prohibit]);
        let ours = Question { port: None, source: None, ..question("10.0.1.9", "198.51.100.1") };
        assert_eq!(said(&rules, ours), [], "ours came in by no port, and its source is not chosen yet");
        assert_eq!(said(&rules, question("2001:db8::1", "2001:db8::2")), [RuleAction::Prohibit]);
    }

    fn packet4(protocol: u8, tos: u8, fragment: u16, ports: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 24, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet.extend(ports);
        packet
    }

    #[test]
    fn a_fragment_fits_no_rule_that_asks_for_a_port() {
        let wanted = Wanted { protocol: Some(17), ports: Some((53, 53)), ..Wanted::default() };
        let rules = Rules::new(vec![Rule { wanted, ..rule(1, RuleAction::Blackhole) }]).unwrap();
        let class = |packet: &[u8]| rules.classify(Traits::of4(packet));
        assert_eq!(class(&packet4(17, 0, 0, [9, 9, 0, 53])), 1);
        assert_eq!(class(&packet4(17, 0, 0, [0, 53, 9, 9])), 0);
        assert_eq!(class(&packet4(6, 0, 0, [9, 9, 0, 53])), 0);
        assert_eq!(
            class(&packet4(17, 0, 0x2000, [9, 9, 0, 53])),
            0,
            "the first fragment has ports, and no say"
        );
        assert_eq!(class(&packet4(17, 0, 0, [9, 9, 0, 53])[..21]), 0, "cut short");
    }

    #[test]
    fn congestion_marks_are_no_part_of_the_type_of_service() {
        let wanted = Wanted { tos: Some(0x10), ..Wanted::default() };
        let rules = Rules::new(vec![Rule { wanted, ..rule(1, RuleAction::Blackhole) }]).unwrap();
        let class = |tos| rules.classify(Traits::of4(&packet4(17, tos, 0, [0; 4])));
        assert_eq!((class(0x10), class(0x13), class(0x20)), (1, 1, 0));
    }

    #[test]
    fn ports_behind_ipv6_options_are_found_and_those_of_fragments_are_not() {
        let packet = |next: u8, rest: &[u8]| {
            let mut packet = vec![0x61, 0x00, 0, 0, 0, rest.len() as u8, next, 64];
            packet.extend([0x20; 16]);
            packet.extend([0x21; 16]);
            packet.extend_from_slice(rest);
            Traits::of6(&packet)
        };
        let udp = [0, 7, 0, 53, 0, 8, 0, 0];
        let plain = Traits { tos: 0x10, protocol: 17, ports: Some((7, 53)) };
        assert_eq!(packet(17, &udp), plain);
        let options = [[17, 0, 1, 4, 0, 0, 0, 0], udp].concat();
        assert_eq!(packet(60, &options), plain);
        let fragment = [[17, 0, 0, 1, 0, 0, 0, 9], udp].concat();
        assert_eq!(packet(44, &fragment).ports, None);
    }

    #[test]
    fn rules_and_their_traits_are_bounded() {
        let many = |count: usize| Rules::new(vec![rule(1, RuleAction::Prohibit); count]).map(|all| all.len());
        assert_eq!(many(MAX_RULES), Ok(MAX_RULES));
        assert_eq!(many(MAX_RULES + 1), Err(RuleError::TooMany(MAX_RULES + 1)));
        let different = |count: u8| {
            let wanted = |protocol| Wanted { protocol: Some(protocol), ..Wanted::default() };
            let one = |protocol| Rule { wanted: wanted(protocol), ..rule(1, RuleAction::Prohibit) };
            Rules::new((0..count).map(one).collect()).map(|all| all.len())
        };
        assert_eq!(different(MAX_RULE_TRAITS as u8), Ok(MAX_RULE_TRAITS));
        assert_eq!(different(MAX_RULE_TRAITS as u8 + 1), Err(RuleError::TooManyTraits));
        let behind = Rules::new(vec![rule(MAIN_PRIORITY, RuleAction::Prohibit)]);
        assert_eq!(behind, Err(RuleError::BehindMain(MAIN_PRIORITY)));
    }

    proptest! {
        #[test]
        fn looking_into_any_bytes_finds_at_most_what_is_there(
            bytes in proptest::collection::vec(any::<u8>(), 0..120), first in 0u8..10, next: u8
        ) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.first_mut() {
                *byte = 0x60 | first;
            }
            if let Some(byte) = bytes.get_mut(6) {
                *byte = [0, 43, 44, 60, 17, next][usize::from(first) % 6];
            }
            for traits in [Traits::of4(&bytes), Traits::of6(&bytes)] {
                if let Some((source, destination)) = traits.ports {
                    let found = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                    prop_assert!(bytes.windows(4).any(|four| four == found));
                }
            }
        }

        #[test]
        fn packets_of_one_class_fit_the_same_rules(
            asked in proptest::collection::vec((0u8..3, 0u8..3, 0u16..4, 0u16..4), 1..12),
            packets in proptest::collection::vec((0u8..3, 0u8..3, 0u16..4, 0u16..4), 2..20),
        ) {
            let some = |value: u16| value.checked_sub(1);
            let wanted = |(tos, protocol, from, to): (u8, u8, u16, u16)| Wanted {
                tos: some(u16::from(tos)).map(|tos| tos as u8 * 4),
                protocol: some(u16::from(protocol)).map(|one| [6, 17][usize::from(one) % 2]),
                source_ports: some(from).map(|port| (port, port + 1)),
                ports: some(to).map(|port| (0, port)),
            };
            let list: Vec<Rule> = asked.iter().enumerate().map(|(at, one)| Rule {
                wanted: wanted(*one), ..rule(at as u32, RuleAction::Prohibit)
            }).collect();
            let rules = Rules::new(list.clone()).unwrap();
            for (tos, protocol, from, to) in packets {
                let protocol = [6, 17, 1][usize::from(protocol)];
                let ports = (protocol != 1).then_some((from, to));
                let traits = Traits { tos: tos * 4, protocol, ports };
                let question = Question { class: rules.classify(traits), ..question("10.0.0.1", "10.0.0.2") };
                let naive = list.iter().filter(|rule| rule.wanted.fits(traits)).count();
                prop_assert_eq!(said(&rules, question).len(), naive);
            }
        }
    }
}
