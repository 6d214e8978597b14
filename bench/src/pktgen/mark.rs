//! The mark: 16 bytes behind the headers of every frame that is sent, by which the receiving side knows it again.
//!
//! ```text
//!   magic u16 | stream u16 | sequence u32 | nanoseconds u64          network byte order
//! ```
//! *Sequence* counts within a stream, so gaps are losses, and what comes behind a newer one is out of order. The time is
//! CLOCK_MONOTONIC of the machine that sends: a latency is the difference of two readings of one clock, made in
//! software, and needs nothing of the hardware; between two machines it means nothing, and is not shown.
//! 16 bytes are what a UDP datagram in the shortest frame of Ethernet has room for.

use flumen_stack::wire::ethernet::{self, EtherType};
use flumen_stack::wire::ip_protocol::IpProtocol;
use flumen_stack::wire::{icmpv6, ipv4, ipv6, tcp, udp};

/// Bytes of a mark.
pub const LEN: usize = 16;

const MAGIC: u16 = 0xf10e;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Whose sequence it is.
    pub stream: u16,
    /// The low half of the sequence number.
    pub sequence: u32,
    /// When it was made.
    pub nanos: u64,
}

impl Mark {
    /// As it stands in a packet.
    #[inline]
    pub fn to_bytes(self) -> [u8; LEN] {
        let Mark { stream, sequence, nanos } = self;
        let head = u64::from(MAGIC) << 48 | u64::from(stream) << 32 | u64::from(sequence);
        (u128::from(head) << 64 | u128::from(nanos)).to_be_bytes()
    }

    /// The mark at the front of `bytes`, if there is one.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Mark> {
        let all = u128::from_be_bytes(*bytes.first_chunk()?);
        if (all >> 112) as u16 != MAGIC {
            return None;
        }
        Some(Mark { stream: (all >> 96) as u16, sequence: (all >> 64) as u32, nanos: all as u64 })
    }

    /// The mark of a frame that arrived, wherever its headers put it.
    #[inline]
    pub fn find(frame: &[u8]) -> Option<Mark> {
        Mark::read(frame.get(payload(frame)?..)?)
    }
}

/// Where the payload of a frame begins. Fragments behind the first have none, and extension headers are not
/// walked: the generator makes neither.
fn payload(frame: &[u8]) -> Option<usize> {
    let (at, ether_type) = network(frame)?;
    let packet = &frame[at..];
    let (header, protocol) = match ether_type {
        EtherType::IPV4 => {
            let header = ipv4::Header::parse(packet).ok()?.0;
            let len = header.header_len();
            (header.fragment_offset() == 0).then_some((len, header.protocol()))?
        }
        EtherType::IPV6 => (ipv6::HEADER_LEN, ipv6::Header::parse(packet).ok()?.0.next_header()),
        _ => return None,
    };
    let transport = at + header;
    Some(match protocol {
        IpProtocol::UDP => transport + udp::HEADER_LEN,
        IpProtocol::TCP => transport + tcp::Header::parse(frame.get(transport..)?).ok()?.0.header_len(),
        IpProtocol::ICMP | IpProtocol::ICMPV6 => transport + icmpv6::HEADER_LEN,
        _ => transport,
    })
}

/// Where the network header of a frame begins, and what it is; VLAN tags, at most two, are stepped over.
pub fn network(frame: &[u8]) -> Option<(usize, EtherType)> {
    let mut ether_type = ethernet::Header::parse(frame).ok()?.0.ether_type();
    let mut at = ethernet::HEADER_LEN;
    for _ in 0..2 {
        if !matches!(ether_type, EtherType::VLAN | EtherType::SERVICE_VLAN) {
            break;
        }
        let &[_, _, high, low] = frame.get(at..)?.first_chunk()?;
        ether_type = EtherType(u16::from_be_bytes([high, low]));
        at += 4;
    }
    Some((at, ether_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_other_bytes_are_none() {
        let mark = Mark { stream: 7, sequence: u32::MAX, nanos: u64::MAX - 1 };
        assert_eq!(Mark::read(&mark.to_bytes()), Some(mark));
        assert_eq!(Mark::read(&mark.to_bytes()[..15]), None);
        assert_eq!(Mark::read(&[0; 16]), None);
    }

    #[test]
    fn frames_of_any_length_and_content_are_looked_through_safely() {
        let mut random = crate::random::Random::new(5);
        for _ in 0..20_000 {
            let mut frame: Vec<u8> = (0..random.below(120)).map(|_| random.draw() as u8).collect();
            // Half of them look like IP for longer.
            if frame.len() > 20 && random.draw() & 1 == 0 {
                frame[12] = [0x08, 0x86, 0x81][random.below(3)];
                frame[13] = [0x00, 0xdd][random.below(2)];
                frame[14] = [0x45, 0x60, 0x4f][random.below(3)];
            }
            let _ = Mark::find(&frame);
        }
    }
}
