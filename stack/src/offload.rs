//! Partial checksums: what local kernel peers leave for hardware that was never there.
//!
//! A kernel that sends over veth, virtio or TAP writes only the folded sum of the pseudo-header into the TCP
//! or UDP checksum field and marks the packet; the mark is lost on the way to AF_XDP, and a packet forwarded
//! as it is would be dropped by its receiver. [`repair`] completes such packets. [`watch`] only notices them,
//! on ports whose policy is to trust nobody and change nothing, so that the operator can be told.
//!
//! The pseudo-header's sum is compared with the field first: that costs a few additions, and one finished
//! checksum in 65,535 passes it by chance. Only then is the whole packet summed, and completed if the
//! finished checksum would have been wrong.
//!
//! Reads and changes packets that `input` has not checked yet, so every offset is checked here.

use crate::burst::Burst;
use crate::checksum::{self, Integrity, Sum};
use crate::counters::{Counter, Counters};
use crate::frame::Frame;
use crate::interface::ChecksumPolicy;
use core::net::{Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where a transport segment lies in its packet, and the sum of its pseudo-header.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Offset of its header in bytes.
    start: usize,
    /// Its length in bytes, header included.
    len: usize,
    /// Offset of the checksum field from `start`.
    field: usize,
    pseudo: Sum,
    protocol: u8,
}

/// What the policy of their port wants done with the checksums of IPv4 packets.
#[inline]
pub fn ipv4<F: Frame>(policy: ChecksumPolicy, burst: &mut Burst<F>, counters: &mut Counters) {
    apply(policy, burst, segment4, counters);
}

/// What the policy of their port wants done with the checksums of IPv6 packets.
#[inline]
pub fn ipv6<F: Frame>(policy: ChecksumPolicy, burst: &mut Burst<F>, counters: &mut Counters) {
    apply(policy, burst, segment6, counters);
}

#[inline]
fn apply<F: Frame>(
    policy: ChecksumPolicy,
    burst: &mut Burst<F>,
    segment: impl Fn(&[u8]) -> Option<Segment>,
    counters: &mut Counters,
) {
    match policy {
        ChecksumPolicy::Repair => repair(burst, segment, counters),
        ChecksumPolicy::Verify => watch(burst, segment, counters),
        ChecksumPolicy::Trust => {}
    }
}

/// Completes the partial checksums of a burst.
#[inline]
fn repair<F: Frame>(
    burst: &mut Burst<F>,
    segment: impl Fn(&[u8]) -> Option<Segment>,
    counters: &mut Counters,
) {
    for frame in burst {
        if let Some(segment) = suspect(frame, segment(frame)) {
            complete(frame, &segment, counters);
        }
    }
}

/// Counts one partial checksum of a burst, if its first packet has one: a sample that costs little, and every flow
/// from such a peer shows up in it.
#[inline]
fn watch<F: Frame>(burst: &Burst<F>, segment: impl Fn(&[u8]) -> Option<Segment>, counters: &mut Counters) {
    let Some(frame) = burst.first() else { return };
    if suspect(frame, segment(frame)).is_some_and(|found| judge(frame, &found) == Integrity::Partial) {
        counters.count(Counter::PartialChecksumsSeen);
    }
}

/// The segment, when its checksum field holds what a partial one would.
#[inline]
fn suspect(packet: &[u8], segment: Option<Segment>) -> Option<Segment> {
    segment.filter(|found| {
        packet
            .get(found.start + found.field..)
            .and_then(<[u8]>::first_chunk::<2>)
            .is_some_and(|field| checksum::is_partial(found.pseudo, u16::from_be_bytes(*field)))
    })
}

#[inline]
fn segment4(packet: &[u8]) -> Option<Segment> {
    let header = packet.first_chunk::<20>()?;
    let start = usize::from(header[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if fragment || start < 20 {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([header[2], header[3]])).checked_sub(start)?;
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let protocol = header[9];
    let field = checksum_field(protocol)?;
    Some(Segment {
        start,
        len,
        field,
        pseudo: checksum::pseudo_ipv4(source, destination, protocol, len as u16),
        protocol,
    })
}

/// Extension headers are not walked: kernels put none in front of what they leave partial, but for options
/// that applications ask for.
#[inline]
fn segment6(packet: &[u8]) -> Option<Segment> {
    let header = packet.first_chunk::<40>()?;
    let protocol = header[6];
    let field = checksum_field(protocol)?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let (mut source, mut destination) = ([0u8; 16], [0u8; 16]);
    source.copy_from_slice(&header[8..24]);
    destination.copy_from_slice(&header[24..40]);
    let pseudo =
        checksum::pseudo_ipv6(&Ipv6Addr::from(source), &Ipv6Addr::from(destination), protocol, len as u32);
    Some(Segment { start: 40, len, field, pseudo, protocol })
}

#[inline]
const fn checksum_field(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        _ => None,
    }
}

/// The sum of the segment's bytes, over all chunks, without what pads it; and the part of it behind the
/// first chunk, at the parity that it has there.
fn sums<F: Frame>(packet: &F, segment: &Segment) -> Option<(Sum, Sum)> {
    let end = segment.start + segment.len;
    if packet.packet_len() < end {
        return None;
    }
    let mut whole = checksum::Checksum::default();
    let mut rest = checksum::Checksum::default();
    let mut at = 0;
    let mut index = 0;
    while let Some(bytes) = packet.segment(index) {
        let piece = &bytes[..bytes.len().min(end - at)];
        let from = if index == 0 { segment.start.min(piece.len()) } else { 0 };
        whole.add(&piece[from..]);
        if index > 0 {
            rest.add(piece);
        }
        at += piece.len();
        if at == end {
            break;
        }
        index += 1;
    }
    let first = packet.segment(0)?.len().min(end) - segment.start.min(packet.segment(0)?.len());
    let rest = if first % 2 == 1 { rest.sum().swapped() } else { rest.sum() };
    Some((whole.sum(), rest))
}

#[cold]
fn judge<F: Frame>(packet: &F, segment: &Segment) -> Integrity {
    let at = segment.start + segment.field;
    match (sums(packet, segment), packet.get(at..at + 2)) {
        (Some((sum, _)), Some(&[high, low])) => {
            checksum::integrity(segment.pseudo, sum, u16::from_be_bytes([high, low]))
        }
        _ => Integrity::Wrong,
    }
}

#[cold]
fn complete<F: Frame>(packet: &mut F, segment: &Segment, counters: &mut Counters) {
    if judge(packet, segment) != Integrity::Partial {
        return;
    }
    let Some((_, rest)) = sums(packet, segment) else { return };
    let end = packet.len().min(segment.start + segment.len);
    let Some(first) = packet.get_mut(segment.start..end) else { return };
    if checksum::complete_partial_with(first, segment.field, segment.protocol == UDP, rest) {
        counters.count(Counter::PartialChecksumsRepaired);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::heap::{HEADROOM, HeapPool};

    /// A UDP datagram of `payload` bytes whose checksum is what a kernel leaves to hardware.
    fn partial(payload: usize) -> Vec<u8> {
        let len = 28 + payload;
        let mut packet = vec![0u8; len];
        packet[..20].copy_from_slice(&[
            0x45,
            0,
            (len >> 8) as u8,
            len as u8,
            0,
            0,
            0,
            0,
            64,
            UDP,
            0,
            0,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            2,
        ]);
        packet[20..26].copy_from_slice(&[1, 2, 3, 4, ((8 + payload) >> 8) as u8, (8 + payload) as u8]);
        for (n, byte) in packet[28..].iter_mut().enumerate() {
            *byte = (n * 7) as u8;
        }
        let pseudo = segment4(&packet).unwrap().pseudo;
        packet[26..28].copy_from_slice(&pseudo.fold().to_be_bytes());
        packet
    }

    fn repaired(packet: &[u8], chunk: usize) -> (Vec<u8>, u64) {
        let mut pool = HeapPool::new(64, HEADROOM + chunk);
        let mut burst = Burst::new();
        burst.push(pool.frame(packet).unwrap());
        let mut counters = Counters::default();
        ipv4(ChecksumPolicy::Repair, &mut burst, &mut counters);
        (burst[0].to_vec(), counters.get(Counter::PartialChecksumsRepaired))
    }

    fn is_intact(packet: &[u8]) -> bool {
        let segment = segment4(packet).unwrap();
        segment.pseudo.plus(checksum::sum(&packet[segment.start..segment.start + segment.len])).is_valid()
    }

    #[test]
    fn a_partial_checksum_is_completed_in_one_chunk_and_over_many() {
        for payload in [0, 1, 18, 99, 1000] {
            for chunk in [2048, 101, 60, 51] {
                let (packet, count) = repaired(&partial(payload), chunk);
                assert_eq!(count, 1, "{payload} bytes in chunks of {chunk}");
                assert!(is_intact(&packet), "{payload} bytes in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn padding_behind_the_packet_is_not_summed() {
        let mut packet = partial(3);
        packet.extend_from_slice(&[0xee; 15]);
        let (packet, count) = repaired(&packet, 2048);
        assert_eq!(count, 1);
        assert!(is_intact(&packet));
    }

    #[test]
    fn a_finished_checksum_and_a_wrong_one_are_left_alone() {
        let (good, _) = repaired(&partial(40), 2048);
        assert_eq!(repaired(&good, 2048), (good.clone(), 0));
        let mut wrong = good;
        wrong[40] ^= 1;
        assert_eq!(repaired(&wrong, 2048), (wrong.clone(), 0));
    }

    #[test]
    fn a_port_that_does_not_repair_notices() {
        let mut pool = HeapPool::new(4, 2048);
        let mut burst = Burst::new();
        burst.push(pool.frame(&partial(40)).unwrap());
        let mut counters = Counters::default();
        ipv4(ChecksumPolicy::Verify, &mut burst, &mut counters);
        assert_eq!(counters.get(Counter::PartialChecksumsSeen), 1);
        assert_eq!(burst[0].to_vec(), partial(40), "and changes nothing");
    }

    #[test]
    fn truncated_packets_are_nobody_s_business() {
        let packet = partial(40);
        for len in 0..packet.len() {
            let (same, count) = repaired(&packet[..len], 2048);
            assert_eq!((same, count), (packet[..len].to_vec(), 0), "{len} bytes");
        }
    }
}
