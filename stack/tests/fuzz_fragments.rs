//! Fragments and options thrown at a router: scripts cut echo requests at random, repeat, drop, damage and mix the
//! pieces with junk, and let time pass. Whatever comes: no panic, the table consistent, memory bounded, the books
//! balanced, every frame back; and a request whose pieces all come, undamaged, is answered with its own bytes.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::*;
use core::time::Duration;
use flumen_stack::{Counter, FramePool, checksum};

/// Reads a fuzzer's bytes as choices.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % bound.max(1)
    }
}

/// An echo request of `len` bytes of message, which is a checksum away from correct.
fn request(kind: u8, len: usize, seed: u8) -> Vec<u8> {
    let mut message: Vec<u8> =
        (0..len.max(8)).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    message[..8].copy_from_slice(&[kind, 0, 0, 0, 0, 1, 0, seed]);
    message
}

fn link(ethertype: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let mut frame = our_mac(LAN).0.to_vec();
    frame.extend(station(LAN, 2).0);
    frame.extend(ethertype);
    frame.extend(packet);
    frame
}

fn piece4(id: u16, options: &[u8], offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
    packet.extend(((header_len + payload.len()) as u16).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(((offset / 8) as u16 | u16::from(more) << 13).to_be_bytes());
    packet.extend([64, 1, 0, 0, 10, 0, 1, 2, 10, 0, 1, 1]);
    packet.extend(options);
    let sum = checksum::sum(&packet).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    link([8, 0], &packet)
}

fn piece6(id: u16, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(((8 + payload.len()) as u16).to_be_bytes());
    packet.extend([44, 64]);
    for address in ["fd00:1::2", "fd00:1::1"] {
        packet.extend(address.parse::<core::net::Ipv6Addr>().unwrap().octets());
    }
    packet.extend([58, 0]);
    packet.extend((offset as u16 | u16::from(more)).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(id.to_be_bytes());
    packet.extend(payload);
    link([0x86, 0xdd], &packet)
}

/// Cuts a message; some cuts are no multiples of 8, when the script wants damage.
fn cut(script: &mut Script<'_>, ipv6: bool, id: u16, message: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    // Record route and timestamp with room for some; only the first fragment has them.
    let options: &[u8] =
        [&[][..], &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]]
            [script.below(3)];
    while from < message.len() {
        let end = (from + 8 + script.below(170) * 8).min(message.len());
        let more = end < message.len();
        pieces.push(if ipv6 {
            piece6(id, from, more, &message[from..end])
        } else {
            piece4(id, if from == 0 { options } else { &[] }, from, more, &message[from..end])
        });
        from = end;
    }
    pieces
}

/// The messages of complete IP packets among what was sent, fragments of ours put together by a naive model.
fn messages(sent: &[(usize, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut whole: Vec<Vec<u8>> = Vec::new();
    let mut open: std::collections::HashMap<Vec<u8>, Vec<u8>> = std::collections::HashMap::new();
    for (_, frame) in sent {
        let packet = &frame[14..];
        let (name, start, offset, more) = match packet[0] >> 4 {
            4 => {
                let word = u16::from_be_bytes([packet[6], packet[7]]);
                let start = usize::from(packet[0] & 15) * 4;
                assert!(checksum::sum(&packet[..start]).is_valid());
                (packet[4..6].to_vec(), start, usize::from(word & 0x1fff) * 8, word & 0x2000 != 0)
            }
            _ if packet[6] == 44 => {
                let word = u16::from_be_bytes([packet[42], packet[43]]);
                (packet[44..48].to_vec(), 48, usize::from(word & 0xfff8), word & 1 != 0)
            }
            _ => (Vec::new(), 40, 0, false),
        };
        let message = open.entry(name.clone()).or_default();
        assert_eq!(message.len(), offset, "fragments leave in order");
        message.extend(&packet[start..]);
        if !more {
            whole.extend(open.remove(&name));
        }
    }
    assert!(open.is_empty(), "all fragments of a reply leave");
    whole
}

fn router() -> Router {
    let mut router =
        Router::new(&rib(), Sizes { echo: (1_000_000, 1_000_000), ..Sizes::default() }, interfaces());
    router.introduce();
    router
}

fn check(router: &mut Router, sent: u64, frames: usize) {
    router.stack.reassembly.check();
    // A damaged address may lead elsewhere, to somebody who must be asked for first.
    let held = router.stack.neighbours.frames_held();
    assert_eq!(router.pool.available() + held, frames, "every frame is back, or waits for a neighbour");
    let counters = &router.stack.counters;
    let begun = (0..PORTS).map(|index| counters.port(port(index)).rx_packets).sum::<u64>()
        + counters.originated()
        + counters.dropped(flumen_stack::DropReason::NoFrame);
    assert_eq!(begun, sent + counters.dropped_in_all() + counters.fragmented() + held as u64, "the books");
}

#[test]
fn fragments_cut_mixed_and_damaged() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut script = Script(bytes);
        let mut router = router();
        let frames = router.pool.available();
        let mut sent = 0;
        for round in 0..8u16 {
            let ipv6 = script.byte() & 1 != 0;
            let seed = script.byte();
            let mut message = request(if ipv6 { 128 } else { 8 }, 8 + script.below(9000), seed);
            let sum = if ipv6 {
                let [us, them] = ["fd00:1::1", "fd00:1::2"].map(|text| text.parse().unwrap());
                checksum::pseudo_ipv6(&us, &them, 58, message.len() as u32)
                    .plus(checksum::sum(&message))
                    .checksum()
            } else {
                checksum::sum(&message).checksum()
            };
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let mut pieces = cut(&mut script, ipv6, round, &message);
            let mischief = script.byte() % 8;
            let mut damaged = pieces.len() == 1 && ipv6;
            match mischief {
                0 => {
                    pieces.remove(script.below(pieces.len()));
                    damaged = true;
                }
                1 => {
                    let (which, byte) = (script.below(pieces.len()), script.byte());
                    let at = script.below(pieces[which].len());
                    pieces[which][at] ^= byte | 1;
                    damaged = true;
                }
                2 | 3 => {
                    // Repeated before the end, so that it does not begin a new datagram.
                    if let Some(copy) = pieces.first().cloned().filter(|_| pieces.len() > 1) {
                        pieces.insert(0, copy);
                    }
                }
                _ => {}
            }
            // The last piece of the list stays last: with a repetition first, that is never a repetition.
            for at in (1..pieces.len().saturating_sub(1)).rev() {
                let other = 1 + script.below(at);
                pieces.swap(at, other.min(at));
            }
            if mischief > 5 && pieces.len() > 1 {
                pieces.reverse();
            }
            for burst in pieces.chunks(32) {
                router.input(LAN, burst);
            }
            let out = router.sent();
            sent += out.len() as u64;
            if !damaged {
                let replies = messages(&out);
                assert_eq!(replies.len(), 1, "round {round}, {} pieces", pieces.len());
                assert_eq!(replies[0][8..], message[8..]);
                assert_eq!(replies[0][0], if ipv6 { 129 } else { 0 });
            }
            check(&mut router, sent, frames);
            router.now = router.now + Duration::from_secs(u64::from(script.byte() & 15));
            router.turn(|stack, turn| stack.timers(turn));
            sent += router.sent().len() as u64;
        }
        router.now = router.now + Duration::from_secs(61);
        router.turn(|stack, turn| stack.timers(turn));
        router.turn(|stack, turn| stack.stop_waiting(turn));
        sent += router.sent().len() as u64;
        check(&mut router, sent, frames);
        assert_eq!(router.stack.neighbours.frames_held(), 0, "nothing waits after the end");
        assert!(router.stack.reassembly.is_empty() && router.stack.reassembly.memory() == 0);
    });
}

/// Options of any bytes: what goes on has the same length, a right sum, and other bytes only where routers write; who is told
/// of a problem is told a place among the options.
#[test]
fn options_of_any_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut script = Script(bytes);
        let mut router = router();
        let frames = router.pool.available();
        let mut sent = 0;
        while !script.0.is_empty() {
            let to_us = script.byte() & 1 != 0;
            let words = 1 + script.below(10);
            let mut options: Vec<u8> = (0..words * 4).map(|_| script.byte()).collect();
            // Most begin with one that means something, of a length that may be right.
            if script.byte() & 3 != 0 {
                options[0] = [7, 68, 131, 137, 148, 130, 0x9e, 1][usize::from(script.byte() & 7)];
                options[1] %= words as u8 * 4 + 2;
                options[2] %= words as u8 * 4 + 6;
            }
            let mut request = request(8, 16, 1);
            let sum = checksum::sum(&request).checksum();
            request[2..4].copy_from_slice(&sum.to_be_bytes());
            let mut frame = piece4(1, &options, 0, false, &request);
            let header = 14..34 + options.len();
            if !to_us {
                frame[30..34].copy_from_slice(&[192, 0, 2, 9]);
                frame[24..26].fill(0);
                let sum = checksum::sum(&frame[header.clone()]).checksum();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            router.input(LAN, std::slice::from_ref(&frame));
            let out = router.sent();
            sent += out.len() as u64;
            assert!(out.len() <= 1, "one answer to {options:02x?}: {out:02x?}");
            for (port, answer) in out {
                let len = 14 + usize::from(answer[14] & 15) * 4;
                assert_eq!(checksum::sum(&answer[14..len]).checksum(), 0, "{answer:02x?}");
                if port == WAN {
                    assert_eq!((answer.len(), &answer[header.end..]), (frame.len(), &frame[header.end..]));
                    let kept = (14..header.end).filter(|at| answer[*at] == frame[*at]).count();
                    // TTL and sum; the pointer, an address and a time of each option that routers write in.
                    let options_that_routers_write =
                        options.iter().filter(|kind| [7, 68].contains(kind)).count();
                    assert!(
                        header.len() - kept <= 3 + 9 * options_that_routers_write,
                        "{frame:02x?} {answer:02x?}"
                    );
                } else if answer[len] == 12 {
                    let pointer = usize::from(answer[len + 4]);
                    assert!((20..header.len()).contains(&pointer), "{pointer} of {options:02x?}");
                } else {
                    assert!(to_us && answer[len] == 0, "an echo reply, or nothing: {answer:02x?}");
                }
            }
            check(&mut router, sent, frames);
            router.now = router.now + Duration::from_secs(1);
        }
    });
}

/// Extension headers of any bytes: what goes on is as it came, but for the hop limit; who is told of a problem is told a
/// place in the packet.
#[test]
fn extension_headers_of_any_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut script = Script(bytes);
        let mut router = router();
        let frames = router.pool.available();
        let mut sent = 0;
        while !script.0.is_empty() {
            let to_us = script.byte() & 1 != 0;
            let kinds: Vec<u8> = (0..script.below(11))
                .map(|_| [0, 60, 43, 44, 51, 60, 135, 59][usize::from(script.byte() & 7)])
                .collect();
            let mut payload = request(128, 16, 1);
            let mut next = 58;
            for kind in kinds.iter().rev() {
                let units = script.below(4);
                let mut header: Vec<u8> = (0..8 + 8 * units).map(|_| script.byte()).collect();
                header[0] = next;
                // Now and then the length is wrong.
                if script.byte() & 15 != 0 {
                    header[1] = if *kind == 51 { 2 * units as u8 } else { units as u8 };
                }
                if matches!(kind, 0 | 60) && script.byte() & 3 != 0 {
                    header[2] = [1, 5, 0xc2, 0x1e, 0x5e, 0x9e, 0xde, 0x3e][usize::from(script.byte() & 7)];
                    header[3] = header.len() as u8 - 4;
                }
                if *kind == 44 {
                    header.truncate(8);
                    header[2] = 0;
                    header[3] &= 0x0f;
                }
                header.extend(payload);
                (payload, next) = (header, *kind);
            }
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([next, 64]);
            let to = if to_us { "fd00:1::1" } else { "2001:db8:1::1" };
            for address in ["fd00:1::2", to] {
                packet.extend(address.parse::<core::net::Ipv6Addr>().unwrap().octets());
            }
            packet.extend(payload);
            let frame = link([0x86, 0xdd], &packet);
            router.input(LAN, std::slice::from_ref(&frame));
            let out = router.sent();
            sent += out.len() as u64;
            assert!(out.len() <= 1, "one answer to {packet:02x?}: {out:02x?}");
            for (port, answer) in out {
                if port == WAN {
                    assert_eq!(
                        (answer[21], &answer[14..21], &answer[22..]),
                        (63, &frame[14..21], &frame[22..])
                    );
                } else if answer[54] == 4 {
                    let pointer = u32::from_be_bytes([answer[58], answer[59], answer[60], answer[61]]);
                    // A header that is cut off is told of at its end; chains too long at the header behind the bound.
                    assert!(pointer as usize <= packet.len(), "{pointer} of {packet:02x?}");
                    assert!(answer[62..].starts_with(&packet[..40]), "the packet is quoted");
                }
            }
            check(&mut router, sent, frames);
            router.now = router.now + Duration::from_secs(1);
        }
        router.now = router.now + Duration::from_secs(61);
        router.turn(|stack, turn| stack.timers(turn));
        router.turn(|stack, turn| stack.stop_waiting(turn));
    });
}

#[test]
fn a_datagram_that_lacks_its_end_is_told_of_when_its_beginning_came() {
    for (ipv6, seconds) in [(false, 30), (true, 60)] {
        let mut router = router();
        let message = request(if ipv6 { 128 } else { 8 }, 64, 1);
        let piece = |offset: usize, more| match ipv6 {
            true => piece6(7, offset, more, &message[offset..offset + 32]),
            false => piece4(7, &[], offset, more, &message[offset..offset + 32]),
        };
        let first = piece(0, true);
        router.input(LAN, std::slice::from_ref(&first));
        let silent = if ipv6 {
            piece6(8, 32, false, &message[32..])
        } else {
            piece4(8, &[], 32, false, &message[32..])
        };
        router.input(LAN, &[silent]);
        assert!(router.stack.next_deadline() <= router.now + Duration::from_secs(seconds));
        router.now = router.now + Duration::from_millis(seconds * 1000 - 1);
        router.turn(|stack, turn| stack.timers(turn));
        assert_eq!(router.sent(), [], "not yet");
        router.now = router.now + Duration::from_millis(1);
        router.turn(|stack, turn| stack.timers(turn));
        let sent = router.sent();
        let [(LAN, error)] = &sent[..] else { panic!("one error for two datagrams: {sent:?}") };
        let start = if ipv6 { 54 } else { 34 };
        assert_eq!(error[start..start + 2], if ipv6 { [3, 1] } else { [11, 1] }, "time exceeded, reassembly");
        assert_eq!(error[start + 8..], first[14..], "it quotes fragment zero as it came");
        assert_eq!(router.stack.counters.get(Counter::ReassemblyTimedOut), 2);
    }
}

#[test]
fn malformed_ipv6_fragments_are_answered_with_their_parameter_problem() {
    let mut router = router();
    let problem = |router: &mut Router, frame: Vec<u8>| {
        router.input(LAN, &[frame]);
        let sent = router.sent();
        sent.first().map(|(_, error)| {
            (error[54], error[55], u32::from_be_bytes([error[58], error[59], error[60], error[61]]))
        })
    };
    let echo = request(128, 64, 1);
    assert_eq!(problem(&mut router, piece6(1, 0, true, &echo[..63])), Some((4, 0, 4)), "not a multiple of 8");
    assert_eq!(
        problem(&mut router, piece6(2, 65_528, false, &echo[..8])),
        Some((4, 0, 42)),
        "beyond 65,535 bytes"
    );
    assert_eq!(problem(&mut router, piece6(3, 65_528, false, &echo[..7])), None, "the last byte there is");
    let mut tcp = piece6(4, 0, true, &echo[..8]);
    tcp[14 + 40] = 6;
    assert_eq!(problem(&mut router, tcp), Some((4, 3, 0)), "a first fragment without its TCP header");
}

#[test]
fn tiny_ipv4_fragments_of_tcp_end_and_a_datagram_given_up_takes_no_more() {
    use flumen_stack::DropReason;
    let mut router = router();
    let tcp = |id, offset, payload: &[u8]| {
        let mut frame = piece4(id, &[], offset, true, payload);
        frame[14 + 9] = 6;
        frame[24..26].fill(0);
        let sum = checksum::sum(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    router.input(LAN, &[tcp(1, 0, &[0; 8]), tcp(1, 8, &[0; 16]), tcp(2, 0, &[0; 16]), tcp(2, 16, &[0; 8])]);
    assert_eq!(router.stack.counters.dropped(DropReason::FragmentTiny), 2);
    assert_eq!(router.stack.counters.dropped(DropReason::FragmentTaken), 2);
    router.input(LAN, &[tcp(2, 16, &[1; 8]), tcp(2, 24, &[0; 8])]);
    assert_eq!(
        router.stack.counters.dropped(DropReason::FragmentOverlap),
        1,
        "other bytes at the same place"
    );
    assert_eq!(router.stack.counters.dropped(DropReason::FragmentDropped), 1);
}

#[test]
fn a_malformed_option_is_answered_with_its_place_and_a_source_route_with_silence() {
    use flumen_stack::DropReason;
    let mut router = router();
    for to_us in [true, false] {
        let packet = |options: &[u8]| {
            let mut frame = piece4(1, options, 0, false, &request(8, 8, 1));
            if !to_us {
                frame[14 + 16..14 + 20].copy_from_slice(&[192, 0, 2, 9]);
            }
            let header_len = 20 + options.len();
            frame[24..26].fill(0);
            let sum = checksum::sum(&frame[14..14 + header_len]).checksum();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame
        };
        router.input(LAN, &[packet(&[7, 7, 3, 0, 0, 0, 0, 0])]);
        let sent = router.sent();
        let [(LAN, error)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((error[34], error[35], error[38]), (12, 0, 22), "parameter problem at the pointer");
        router.input(LAN, &[packet(&[131, 7, 4, 10, 0, 2, 2, 0])]);
        assert_eq!(router.sent(), []);
    }
    assert_eq!(router.stack.counters.dropped(DropReason::Ipv4BadOption), 2);
    assert_eq!(router.stack.counters.dropped(DropReason::Ipv4OptionRefused), 2);
}
