//! ARP for IPv4 on Ethernet (RFC 826): who has this protocol address?
//!
//! ```text
//!    0               1               2               3
//!   | hardware type = 1             | protocol type = 0x0800        |  0
//!   | hw length = 6 | pr length = 4 | operation                     |  4
//!   | sender hardware address (6 bytes)             | sender        |  8
//!   |   protocol address (4 bytes)  | target hardware address (6)   | 16
//!   |                               | target protocol address (4)   | 24 .. 28
//! ```
//!
//! RFC 5227 adds the probe (sender 0.0.0.0) and the announcement (sender asks for itself). Link padding behind
//! the 28 bytes is ignored.

use super::BufferTooSmall;
use super::ethernet::EtherType;
use crate::{DropReason, MacAddr};
use core::net::Ipv4Addr;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a packet.
pub const PACKET_LEN: usize = 28;
/// Hardware type Ethernet.
pub const HARDWARE_ETHERNET: u16 = 1;
/// Operation field of a request.
pub const REQUEST: u16 = 1;
/// Operation field of a reply.
pub const REPLY: u16 = 2;

/// What is wrong with an ARP packet: always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than a packet.
    Truncated,
    /// Not for IPv4 on Ethernet, or with other address lengths.
    NotEthernetIpv4,
    /// Neither a request nor a reply.
    UnknownOperation,
    /// The sender's hardware address is a group's or zero, which nobody has.
    BadSender,
}

impl From<Error> for DropReason {
    fn from(_: Error) -> DropReason {
        DropReason::ArpMalformed
    }
}

/// What the sender wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To know the target's hardware address.
    Request,
    /// To tell its own.
    Reply,
}

/// An ARP packet for IPv4 on Ethernet, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Packet {
    /// [`HARDWARE_ETHERNET`], once parsed.
    pub hardware_type: U16,
    /// [`EtherType::IPV4`], once parsed.
    pub protocol_type: U16,
    /// 6, once parsed.
    pub hardware_length: u8,
    /// 4, once parsed.
    pub protocol_length: u8,
    /// [`REQUEST`] or [`REPLY`], once parsed; see [`Packet::operation`].
    pub operation: U16,
    /// The sender's Ethernet address.
    pub sender_hardware: [u8; 6],
    /// The sender's IPv4 address.
    pub sender_protocol: [u8; 4],
    /// The target's Ethernet address; without meaning in a request.
    pub target_hardware: [u8; 6],
    /// The target's IPv4 address.
    pub target_protocol: [u8; 4],
}

impl Packet {
    /// The packet at the front of `bytes` and what is behind it, after every check that needs no state.
    pub fn parse(bytes: &[u8]) -> Result<(&Packet, &[u8]), Error> {
        let (packet, rest) = Packet::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        if packet.hardware_type.get() != HARDWARE_ETHERNET
            || packet.protocol_type.get() != EtherType::IPV4.0
            || packet.hardware_length != 6
            || packet.protocol_length != 4
        {
            return Err(Error::NotEthernetIpv4);
        }
        if !matches!(packet.operation.get(), REQUEST | REPLY) {
            return Err(Error::UnknownOperation);
        }
        if !packet.sender_mac().is_station() {
            return Err(Error::BadSender);
        }
        Ok((packet, rest))
    }

    /// "Who has `target`? Tell `sender`": a probe when `sender` is unspecified, an announcement when both are
    /// the same.
    pub const fn request(sender_mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
        Packet::new(REQUEST, (sender_mac, sender), (MacAddr::ZERO, target))
    }

    /// The answer to `self`, a request, by the owner of the address that it asks for.
    pub const fn reply(&self, mac: MacAddr) -> Packet {
        Packet::new(REPLY, (mac, self.target_ip()), (self.sender_mac(), self.sender_ip()))
    }

    const fn new(operation: u16, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Packet {
        Packet {
            hardware_type: U16::new(HARDWARE_ETHERNET),
            protocol_type: U16::new(EtherType::IPV4.0),
            hardware_length: 6,
            protocol_length: 4,
            operation: U16::new(operation),
            sender_hardware: sender.0.0,
            sender_protocol: sender.1.octets(),
            target_hardware: target.0.0,
            target_protocol: target.1.octets(),
        }
    }

    /// Writes the packet at the front of `bytes` and gives the bytes behind it.
    pub fn emit(self, bytes: &mut [u8]) -> Result<&mut [u8], BufferTooSmall> {
        let (packet, rest) = Packet::mut_from_prefix(bytes).map_err(|_| BufferTooSmall)?;
        *packet = self;
        Ok(rest)
    }

    /// What the sender wants.
    pub const fn operation(&self) -> Operation {
        if self.operation.get() == REPLY { Operation::Reply } else { Operation::Request }
    }

    /// The sender's Ethernet address: a station's, once parsed.
    pub const fn sender_mac(&self) -> MacAddr {
        MacAddr(self.sender_hardware)
    }

    /// The sender's IPv4 address.
    pub const fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.sender_protocol)
    }

    /// The target's Ethernet address; without meaning in a request.
    pub const fn target_mac(&self) -> MacAddr {
        MacAddr(self.target_hardware)
    }

    /// The target's IPv4 address.
    pub const fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.target_protocol)
    }

    /// True for an address conflict probe (RFC 5227 section 2.1.1): its sender has no address yet, and none
    /// may be learnt from it.
    pub const fn is_probe(&self) -> bool {
        self.sender_ip().to_bits() == 0
    }

    /// True when the sender announces its own address (gratuitous ARP, RFC 5227 section 2.3).
    pub const fn is_announcement(&self) -> bool {
        !self.is_probe() && self.sender_ip().to_bits() == self.target_ip().to_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const CAPTURE: [u8; 30] = [
        0, 1, 8, 0, 6, 4, 0, 1,
        0x02, 0x42, 0xac, 0x11, 0x00, 0x02, 172, 17, 0, 2,
        0, 0, 0, 0, 0, 0, 172, 17, 0, 1,
        0xaa, 0xbb,
    ];
    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_captured_request_is_read_field_by_field_and_answered() {
        let (packet, rest) = Packet::parse(&CAPTURE).unwrap();
        assert_eq!(packet.operation(), Operation::Request);
        assert_eq!(packet.sender_mac(), MacAddr([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]));
        assert_eq!(packet.sender_ip(), Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(packet.target_mac(), MacAddr::ZERO);
        assert_eq!(packet.target_ip(), Ipv4Addr::new(172, 17, 0, 1));
        assert!(!packet.is_probe() && !packet.is_announcement());
        assert_eq!(rest, [0xaa, 0xbb]);

        let mut bytes = [0; PACKET_LEN];
        packet.reply(OURS).emit(&mut bytes).unwrap();
        let (reply, _) = Packet::parse(&bytes).unwrap();
        assert_eq!(reply.operation(), Operation::Reply);
        assert_eq!((reply.sender_mac(), reply.sender_ip()), (OURS, packet.target_ip()));
        assert_eq!((reply.target_mac(), reply.target_ip()), (packet.sender_mac(), packet.sender_ip()));
    }

    #[test]
    fn what_is_emitted_is_the_capture() {
        let packet = Packet::request(
            MacAddr([2, 0x42, 0xac, 0x11, 0, 2]),
            [172, 17, 0, 2].into(),
            [172, 17, 0, 1].into(),
        );
        let mut bytes = [0; PACKET_LEN];
        assert!(packet.emit(&mut bytes).unwrap().is_empty());
        assert_eq!(bytes, CAPTURE[..28]);
        for length in 0..PACKET_LEN {
            assert_eq!(packet.emit(&mut vec![0; length]).unwrap_err(), BufferTooSmall);
            assert_eq!(Packet::parse(&CAPTURE[..length]).unwrap_err(), Error::Truncated);
        }
    }

    #[test]
    fn each_wrong_field_is_found() {
        for (at, value, error) in [
            (1, 6, Error::NotEthernetIpv4),
            (2, 0x86, Error::NotEthernetIpv4),
            (4, 8, Error::NotEthernetIpv4),
            (5, 16, Error::NotEthernetIpv4),
            (7, 0, Error::UnknownOperation),
            (7, 3, Error::UnknownOperation),
            (8, 0x03, Error::BadSender),
        ] {
            let mut bytes = CAPTURE;
            bytes[at] = value;
            assert_eq!(Packet::parse(&bytes).unwrap_err(), error, "byte {at} = {value}");
        }
        let mut bytes = CAPTURE;
        bytes[8..14].fill(0);
        assert_eq!(Packet::parse(&bytes).unwrap_err(), Error::BadSender);
    }

    #[test]
    fn probes_and_announcements_are_told_apart() {
        let ip = Ipv4Addr::new(10, 0, 0, 1);
        let probe = Packet::request(OURS, Ipv4Addr::UNSPECIFIED, ip);
        assert!(probe.is_probe() && !probe.is_announcement());
        let announcement = Packet::request(OURS, ip, ip);
        assert!(announcement.is_announcement() && !announcement.is_probe());
        assert!(!Packet::request(OURS, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED).is_announcement());
    }
}
