//! Stamps of what datagram, raw and ping sockets send (SO_TIMESTAMPING): which come, with what, and in front of what. The node is
//! that of `common`: 10.0.1.1 and fd00:1::1 on `lan`; the client is 10.0.1.2, fd00:1::2.

use super::client::*;
use flumen_stack::socket::{Origin, Ready, StampKind, StampKinds, StampOptions};

const BOTH: StampKinds = StampKinds { scheduled: true, sent: true, acknowledged: true, figures: false };
const SENT: StampKinds = StampKinds { scheduled: false, sent: true, acknowledged: false, figures: false };

fn udp(host: &mut Router, family: Family, options: StampOptions) -> Handle {
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    set(host, socket, Opt::Stamps(options));
    socket
}

fn sent_frames(host: &mut Router, socket: Handle, args: SendArgs, data: &[u8]) -> Vec<Vec<u8>> {
    send(host, socket, args, data).unwrap();
    host.sent().into_iter().map(|(_, frame)| frame).collect()
}

/// Kind and key of the next stamp, and the packet that it is of.
fn stamp(host: &mut Router, socket: Handle) -> Option<(u32, u32, Vec<u8>)> {
    let mut packet = [0; 2000];
    let report = host.stack.udp_recv_error(socket, &mut packet).ok()?;
    assert_eq!((report.error, report.origin, report.timestamp), (Error::NoMessage, Origin::Stamp, host.now));
    Some((report.info, report.data, packet[..report.len].to_vec()))
}

const SCHEDULED: u32 = StampKind::Scheduled as u32;
const LEFT: u32 = StampKind::Sent as u32;

fn stamps_with_the_packet(family: Family, client: &str) {
    let mut host = host();
    let socket = udp(&mut host, family, StampOptions { kinds: BOTH, keyed: true, times_only: false });
    for key in 0..2 {
        let frames = sent_frames(&mut host, socket, SendArgs::to(at(client)), b"when");
        assert!(host.stack.udp_readiness(socket).contains(Ready::ERROR));
        let [frame] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(stamp(&mut host, socket), Some((SCHEDULED, key, frame.clone())));
        assert_eq!(stamp(&mut host, socket), Some((LEFT, key, frame.clone())), "none of the peer's");
        assert_eq!(stamp(&mut host, socket), None);
    }
    assert_eq!(host.stack.udp_take_error(socket), None, "a stamp is no error");
}

#[test]
fn a_datagram_that_left_is_stamped_with_the_packet_as_it_is_on_the_link() {
    stamps_with_the_packet(Family::Ipv4, "10.0.1.2:9");
    stamps_with_the_packet(Family::Ipv6, "[fd00:1::2]:9");
    stamps_with_the_packet(Family::Ipv6, "10.0.1.2:9");
}

#[test]
fn times_alone_quote_nothing_and_one_call_asks_for_itself() {
    let mut host = host();
    let socket =
        udp(&mut host, Family::Ipv4, StampOptions { keyed: true, times_only: true, ..Default::default() });
    let to = SendArgs::to(at("10.0.1.2:9"));
    sent_frames(&mut host, socket, to, b"none");
    assert_eq!(stamp(&mut host, socket), None);
    let asks = |stamps, stamp_key| SendArgs {
        control: SendControl { stamps: Some(stamps), stamp_key, ..SendControl::default() },
        ..to
    };
    sent_frames(&mut host, socket, asks(SENT, None), b"one");
    assert_eq!(stamp(&mut host, socket), Some((LEFT, 0, vec![])), "the first that asked");
    sent_frames(&mut host, socket, asks(SENT, Some(4711)), b"two");
    sent_frames(&mut host, socket, asks(SENT, None), b"three");
    assert_eq!(stamp(&mut host, socket), Some((LEFT, 4711, vec![])));
    assert_eq!(stamp(&mut host, socket), Some((LEFT, 1, vec![])));
}

#[test]
fn a_datagram_in_fragments_and_one_of_segments_is_stamped_once_and_one_that_fails_is_not() {
    let mut host = host();
    let socket = udp(&mut host, Family::Ipv4, StampOptions { kinds: SENT, ..Default::default() });
    let to = SendArgs::to(at("10.0.1.2:9"));
    let frames = sent_frames(&mut host, socket, to, &[7; 4000]);
    assert_eq!(frames.len(), 3);
    assert_eq!(stamp(&mut host, socket), Some((LEFT, 0, frames[0].clone())));
    assert_eq!(stamp(&mut host, socket), None);
    let control = SendControl { segment: Some(100), ..SendControl::default() };
    let frames = sent_frames(&mut host, socket, SendArgs { control, ..to }, &[7; 300]);
    assert_eq!(stamp(&mut host, socket), Some((LEFT, 0, frames[0].clone())));
    assert_eq!(stamp(&mut host, socket), None);
    let wide = SendControl { segment: Some(1473), ..SendControl::default() };
    let args = SendArgs { control: wide, ..to };
    let failed = host.turn(|stack, turn| stack.udp_send(turn, socket, &args, &[7; 3000]));
    assert_eq!(failed, Err(Error::MessageTooLong));
    assert_eq!(stamp(&mut host, socket), None);
    // What waited in a cork asks as its first piece did.
    let more = SendArgs { more: true, ..to };
    assert!(sent_frames(&mut host, socket, more, b"a").is_empty());
    let none = SendControl { stamps: Some(StampKinds::default()), ..SendControl::default() };
    let frames = sent_frames(&mut host, socket, SendArgs { control: none, ..to }, b"b");
    assert_eq!(stamp(&mut host, socket), Some((LEFT, 0, frames[0].clone())));
}

#[test]
fn what_goes_to_ourselves_is_stamped_with_a_link_header_of_zeros() {
    let mut host = host();
    let socket = udp(&mut host, Family::Ipv4, StampOptions { kinds: SENT, ..Default::default() });
    assert!(sent_frames(&mut host, socket, SendArgs::to(at("10.0.1.1:9")), b"here").is_empty());
    let (_, _, packet) = stamp(&mut host, socket).unwrap();
    assert_eq!((&packet[..14], packet[14], &packet[42..]), (&[0; 14][..], 0x45, &b"here"[..]));
}

#[test]
fn packets_of_raw_and_ping_sockets_are_stamped_like_datagrams() {
    let mut host = host();
    let options = Opt::Stamps(StampOptions { kinds: SENT, keyed: true, times_only: false });
    let raw = host.stack.raw_open(Family::Ipv4, 253, Owner(1)).unwrap();
    let ping = host.stack.ping_open(Family::Ipv4, Owner(1)).unwrap();
    let to = SendArgs::to(at("10.0.1.2:0"));
    let mut whole = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 9, 253, 0, 0, 0, 0, 0, 0, 10, 0, 1, 2];
    whole.extend(b"whole");
    for (socket, header, data) in
        [(raw, false, &b"raw"[..]), (raw, true, &whole), (ping, false, &[8, 0, 0, 0, 0, 0, 0, 1])]
    {
        host.stack.raw_set(socket, options).unwrap();
        if header {
            host.stack.raw_set(socket, Opt::HeaderIncluded(true)).unwrap();
        }
        host.turn(|stack, turn| stack.raw_send(turn, socket, &to, data)).unwrap();
        let [(LAN, frame)] = &host.sent()[..] else { panic!() };
        let mut packet = [0; 2000];
        let report = host.stack.raw_recv_error(socket, &mut packet).unwrap();
        assert_eq!((report.info, report.data), (LEFT, u32::from(header)));
        assert_eq!(&packet[..report.len], &frame[..]);
        assert!(host.stack.raw_recv_error(socket, &mut packet).is_err());
    }
}

#[test]
fn stamps_that_nobody_reads_are_bounded() {
    let mut host = host();
    let socket = udp(&mut host, Family::Ipv4, StampOptions { kinds: SENT, keyed: true, times_only: true });
    for _ in 0..300 {
        sent_frames(&mut host, socket, SendArgs::to(at("10.0.1.2:9")), b"x");
    }
    let count = host.stack.udp_reports(socket);
    assert!((100..200).contains(&count), "{count}");
    assert_eq!(stamp(&mut host, socket).map(|(_, key, _)| key), Some(0), "the newest are lost, as in Linux");
}
