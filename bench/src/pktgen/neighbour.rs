//! ARP (RFC 826) and neighbour discovery (RFC 4861), as much as a generator needs: it answers for its own addresses, so
//! that routers can send to it, and asks for the Ethernet address of the next hop before it starts.
//!
//! It remembers nothing and verifies nobody: an address that was found stays for the run.

use super::mark;
use flumen_stack::MacAddr;
use flumen_stack::wire::address::{ipv6_group_mac, link_local_from_mac, solicited_node};
use flumen_stack::wire::arp::{self, Operation};
use flumen_stack::wire::ethernet::{self, EtherType};
use flumen_stack::wire::ip_protocol::IpProtocol;
use flumen_stack::wire::ndp::{self, AdvertisementFlags};
use flumen_stack::wire::{icmpv6, ipv6};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for the longest answer: Ethernet, a VLAN tag, IPv6, an advertisement with one option.
const ROOM: usize = 14 + 4 + 40 + ndp::MAX_EMITTED;

/// A frame of ours: answers and questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    bytes: [u8; ROOM],
    len: usize,
}

impl Message {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What a frame that arrived was to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Neither ARP nor neighbour discovery.
    Nothing,
    /// Some, and no answer is due.
    Talk,
    /// A question for an address of ours.
    Answer(Message),
    /// Somebody says where he is.
    Learnt(IpAddr, MacAddr),
}

/// Who a port is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Addresses that it answers for.
    pub addresses: Vec<IpNet>,
    /// The VLAN of what it sends: questions go there too.
    pub vlan: Option<u16>,
}

impl Identity {
    /// What a frame means to this port.
    pub fn hear(&self, frame: &[u8]) -> Heard {
        let Some((at, ether_type)) = mark::network(frame) else { return Heard::Nothing };
        let packet = frame.get(at..).unwrap_or_default();
        match ether_type {
            EtherType::ARP => self.arp(frame, at, packet),
            EtherType::IPV6 => self.discovery(frame, at, packet),
            _ => Heard::Nothing,
        }
    }

    fn is_ours(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.contains(&address))
    }

    fn arp(&self, frame: &[u8], at: usize, packet: &[u8]) -> Heard {
        let Ok((packet, _)) = arp::Packet::parse(packet) else { return Heard::Talk };
        match packet.operation() {
            Operation::Request if self.is_ours(packet.target_ip().into()) => {
                let reply = packet.reply(self.mac);
                let mut message = self.link(tag(frame, at), packet.sender_mac(), EtherType::ARP);
                message.push(arp::PACKET_LEN, |bytes| reply.emit(bytes).is_ok());
                Heard::Answer(message)
            }
            Operation::Request => Heard::Talk,
            Operation::Reply => Heard::Learnt(packet.sender_ip().into(), packet.sender_mac()),
        }
    }

    fn discovery(&self, frame: &[u8], at: usize, packet: &[u8]) -> Heard {
        let Ok((ip, _)) = ipv6::Header::parse(packet) else { return Heard::Nothing };
        if ip.next_header() != IpProtocol::ICMPV6 {
            return Heard::Nothing;
        }
        let message = packet.get(ipv6::HEADER_LEN..ip.packet_len().min(packet.len())).unwrap_or_default();
        let kinds = icmpv6::kind::ROUTER_SOLICITATION..=icmpv6::kind::REDIRECT;
        if !message.first().is_some_and(|kind| kinds.contains(kind)) {
            return Heard::Nothing;
        }
        let source = ip.source();
        match ndp::receive(ip, message) {
            Ok(ndp::Message::NeighbourSolicitation { target, options })
                if self.is_ours(target.into()) && !source.is_unspecified() =>
            {
                let Ok((link, _)) = ethernet::Header::parse(frame) else { return Heard::Talk };
                let to = options.source_link_address().unwrap_or(link.source());
                let flags = AdvertisementFlags { router: false, solicited: true, override_: true };
                let mut message = self.link(tag(frame, at), to, EtherType::IPV6);
                message.ipv6(target, source, |bytes| {
                    ndp::emit_neighbour_advertisement(bytes, &target, &source, &target, flags, self.mac).ok()
                });
                Heard::Answer(message)
            }
            Ok(ndp::Message::NeighbourAdvertisement { target, options, .. }) => {
                match options.target_link_address() {
                    Some(mac) => Heard::Learnt(target.into(), mac),
                    None => Heard::Talk,
                }
            }
            _ => Heard::Talk,
        }
    }

    /// "Who has `target`?", asked from the first address of its family, or from none (an ARP probe; link-local in
    /// IPv6).
    pub fn question(&self, target: IpAddr) -> Message {
        match target {
            IpAddr::V4(target) => {
                let own = self.addresses.iter().find_map(|net| match net.addr() {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                });
                let request = arp::Packet::request(self.mac, own.unwrap_or(Ipv4Addr::UNSPECIFIED), target);
                let mut message = self.link(self.vlan, MacAddr::BROADCAST, EtherType::ARP);
                message.push(arp::PACKET_LEN, |bytes| request.emit(bytes).is_ok());
                message
            }
            IpAddr::V6(target) => {
                let own = self.addresses.iter().find_map(|net| match net.addr() {
                    IpAddr::V6(address) => Some(address),
                    IpAddr::V4(_) => None,
                });
                let own = own.unwrap_or_else(|| link_local_from_mac(self.mac));
                let group = solicited_node(&target);
                let to = ipv6_group_mac(&group).unwrap_or(MacAddr::BROADCAST);
                let mut message = self.link(self.vlan, to, EtherType::IPV6);
                message.ipv6(own, group, |bytes| {
                    ndp::emit_neighbour_solicitation(bytes, &own, &group, &target, Some(self.mac), None).ok()
                });
                message
            }
        }
    }

    /// The link header, in the VLAN that a question came in.
    fn link(&self, tag: Option<u16>, to: MacAddr, ether_type: EtherType) -> Message {
        let mut message = Message { bytes: [0; ROOM], len: 0 };
        let outer = if tag.is_some() { EtherType::VLAN } else { ether_type };
        let header = ethernet::Header::new(to, self.mac, outer);
        message.push(ethernet::HEADER_LEN, |bytes| header.emit(bytes).is_ok());
        if let Some(tag) = tag {
            message.push(4, |bytes| {
                bytes[..2].copy_from_slice(&tag.to_be_bytes());
                bytes[2..4].copy_from_slice(&ether_type.0.to_be_bytes());
                true
            });
        }
        message
    }
}

/// The VLAN tag of a frame whose network header is at `at`.
fn tag(frame: &[u8], at: usize) -> Option<u16> {
    let bytes = frame.get(ethernet::HEADER_LEN..at)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

impl Message {
    fn push(&mut self, count: usize, write: impl FnOnce(&mut [u8]) -> bool) {
        // ROOM is the sum of all that is ever pushed.
        if write(&mut self.bytes[self.len..]) {
            self.len += count;
        }
    }

    fn ipv6(&mut self, from: Ipv6Addr, to: Ipv6Addr, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let at = self.len + ipv6::HEADER_LEN;
        let Some(len) = write(&mut self.bytes[at..]) else { return };
        let header = ipv6::Header::new(from, to, IpProtocol::ICMPV6, ndp::HOP_LIMIT, len);
        self.push(ipv6::HEADER_LEN + len, |bytes| header.is_some_and(|header| header.emit(bytes).is_ok()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: u8, vlan: Option<u16>) -> Identity {
        let addresses = [format!("10.0.0.{number}/32"), format!("fd00::{number}/128")];
        Identity {
            mac: MacAddr([2, 0, 0, 0, 0, number]),
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            vlan,
        }
    }

    #[test]
    fn a_question_is_answered_and_the_answer_is_learnt_in_both_families_and_in_a_vlan() {
        for vlan in [None, Some(7)] {
            let (asker, owner) = (identity(1, vlan), identity(2, None));
            for target in ["10.0.0.2", "fd00::2"] {
                let target: IpAddr = target.parse().unwrap();
                let Heard::Answer(answer) = owner.hear(asker.question(target).bytes()) else {
                    panic!("{target} is not answered");
                };
                assert_eq!(asker.hear(answer.bytes()), Heard::Learnt(target, owner.mac));
                let to = ethernet::Header::parse(answer.bytes()).unwrap().0.destination();
                assert_eq!(to, asker.mac);
            }
        }
    }

    #[test]
    fn questions_for_others_and_traffic_are_not_answered() {
        let (asker, owner) = (identity(1, None), identity(2, None));
        assert_eq!(owner.hear(asker.question("10.0.0.3".parse().unwrap()).bytes()), Heard::Talk);
        assert_eq!(owner.hear(asker.question("fd00::3".parse().unwrap()).bytes()), Heard::Talk);
        assert_eq!(owner.hear(&crate::traffic::udp4(Ipv4Addr::new(10, 0, 0, 2))), Heard::Nothing);
        assert_eq!(owner.hear(&[]), Heard::Nothing);
    }

    #[test]
    fn a_prefix_is_answered_for_all_its_hosts() {
        let mut owner = identity(2, None);
        owner.addresses.push("198.18.0.0/15".parse().unwrap());
        let question = identity(1, None).question("198.19.7.7".parse().unwrap());
        assert!(matches!(owner.hear(question.bytes()), Heard::Answer(_)));
    }
}
