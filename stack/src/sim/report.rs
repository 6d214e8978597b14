//! What a router on the way would say about a packet: ICMP and ICMPv6 errors, made from the frame that caused them.
//!
//! A wire has no router, so the error seems to come from an address of the same network that nobody has; hosts take
//! errors from anywhere, and judge them by what they quote (RFC 5927 section 4.1).

use crate::checksum;
use core::net::Ipv6Addr;

/// Bytes of the link header.
const LINK: usize = 14;

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Longer than the next link's MTU.
    TooBig(u16),
    /// Its host cannot be reached: an error that may pass.
    HostUnreachable,
    /// Nobody listens: one that does not.
    PortUnreachable,
    /// It went through too many routers.
    TimeExceeded,
}

/// The frame that says `report` about `frame`, to its sender; `None` for what is no whole IP packet, or is ICMP.
pub fn about(frame: &[u8], report: Report) -> Option<Vec<u8>> {
    let packet = frame.get(LINK..)?;
    match frame.get(12..LINK)? {
        [0x08, 0x00] => about_ipv4(frame, packet, report),
        [0x86, 0xdd] => about_ipv6(frame, packet, report),
        _ => None,
    }
}

/// True when an IPv4 packet must not be cut (its sender finds the path's MTU by that), or for IPv6.
pub fn must_not_be_cut(frame: &[u8]) -> bool {
    match frame.get(12..LINK) {
        Some([0x08, 0x00]) => frame.get(LINK + 6).is_some_and(|flags| flags & 0x40 != 0),
        _ => true,
    }
}

/// The link header of the answer.
fn back(frame: &[u8]) -> Option<Vec<u8>> {
    let (to, rest) = frame.split_first_chunk::<6>()?;
    let (from, rest) = rest.split_first_chunk::<6>()?;
    Some([from, to, rest.first_chunk::<2>()?.as_slice()].concat())
}

fn about_ipv4(frame: &[u8], packet: &[u8], report: Report) -> Option<Vec<u8>> {
    let header = packet.first_chunk::<20>()?;
    if header[9] == 1 {
        return None;
    }
    let (kind, code, mtu) = match report {
        Report::TooBig(mtu) => (3, 4, mtu),
        Report::HostUnreachable => (3, 1, 0),
        Report::PortUnreachable => (3, 3, 0),
        Report::TimeExceeded => (11, 0, 0),
    };
    let quoted = &packet[..packet.len().min(548)];
    let [high, low] = mtu.to_be_bytes();
    let mut message = vec![kind, code, 0, 0, 0, 0, high, low];
    message.extend(quoted);
    let sum = checksum::sum(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 0, 0, 0, 254, 0, 0, 0, 0];
    ip[2..4].copy_from_slice(&(20 + message.len() as u16).to_be_bytes());
    ip[12..15].copy_from_slice(&header[16..19]);
    ip[16..20].copy_from_slice(&header[12..16]);
    let sum = checksum::sum(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    Some([back(frame)?, ip.to_vec(), message].concat())
}

fn about_ipv6(frame: &[u8], packet: &[u8], report: Report) -> Option<Vec<u8>> {
    let header = packet.first_chunk::<40>()?;
    if header[6] == 58 {
        return None;
    }
    let (kind, code, word) = match report {
        Report::TooBig(mtu) => (2, 0, u32::from(mtu)),
        Report::HostUnreachable => (1, 3, 0),
        Report::PortUnreachable => (1, 4, 0),
        Report::TimeExceeded => (3, 0, 0),
    };
    let quoted = &packet[..packet.len().min(1232)];
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quoted);
    let mut source: [u8; 16] = header[24..].first_chunk().copied()?;
    source[14..].copy_from_slice(&[0xff, 0xfe]);
    let destination: [u8; 16] = header[8..].first_chunk().copied()?;
    let [from, to] = [source, destination].map(Ipv6Addr::from);
    let pseudo = checksum::pseudo_ipv6(&from, &to, 58, message.len() as u32);
    let sum = pseudo.plus(checksum::sum(&message)).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend((message.len() as u16).to_be_bytes());
    ip.extend([58, 64]);
    ip.extend(source);
    ip.extend(destination);
    Some([back(frame)?, ip, message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{icmpv4, icmpv6};

    fn frame(ethertype: [u8; 2], packet: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], ethertype.as_slice(), packet].concat()
    }

    #[test]
    fn a_packet_that_is_too_big_is_reported_to_its_sender_with_the_mtu() {
        let mut v4 = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        v4.extend([7; 20]);
        let v4 = frame([8, 0], &v4);
        assert!(must_not_be_cut(&v4));
        let answer = about(&v4, Report::TooBig(1400)).unwrap();
        assert_eq!((&answer[..6], &answer[6..12]), (&v4[6..12], &v4[..6]));
        assert!(checksum::sum(&answer[14..34]).is_valid());
        assert_eq!(answer[26..34], [10, 0, 0, 254, 10, 0, 0, 1]);
        let icmpv4::Message::Error { problem, quoted, .. } = icmpv4::parse(&answer[34..]).unwrap() else {
            panic!("no error")
        };
        assert_eq!(quoted, &v4[14..]);
        assert!(format!("{problem:?}").contains("1400"), "{problem:?}");

        let mut v6 = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
        v6.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend([7; 20]);
        let v6 = frame([0x86, 0xdd], &v6);
        let answer = about(&v6, Report::TooBig(1300)).unwrap();
        let icmpv6::Message::Error { problem, quoted, .. } = icmpv6::parse(&answer[54..]).unwrap() else {
            panic!("no error")
        };
        assert_eq!((problem, quoted), (icmpv6::Problem::PacketTooBig { mtu: 1300 }, &v6[14..]));
    }

    #[test]
    fn nothing_is_said_about_icmp_arp_or_pieces() {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        assert_eq!(about(&frame([8, 0], &packet), Report::HostUnreachable), None);
        packet.truncate(10);
        assert_eq!(about(&frame([8, 0], &packet), Report::HostUnreachable), None);
        assert_eq!(about(&frame([8, 6], &[0; 28]), Report::HostUnreachable), None);
    }
}
