//! Conversations with datagram, raw and ping sockets: frames in, frames out, at a time. The node is the one of
//! `common`: 10.0.1.1 and fd00:1::1 on `lan`; the client is 10.0.1.2, fd00:1::2.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::*;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use flumen_stack::checksum;
use flumen_stack::socket::{
    Error, Family, Handle, MtuDiscovery, Opt, Origin, Owner, Ready, SendArgs, SendControl, SocketId,
};
use flumen_stack::{Counter, DropReason, FramePool, PortId};

fn host() -> Router {
    let mut router = Router::new(&rib(), Sizes::default(), interfaces());
    router.introduce();
    router
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn us(source: IpAddr) -> IpAddr {
    ip(if source.is_ipv4() { "10.0.1.1" } else { "fd00:1::1" })
}

/// An IP packet of either family in a frame from the client.
fn packet(protocol: u8, source: IpAddr, destination: IpAddr, payload: Vec<u8>) -> Vec<u8> {
    let mac = match destination {
        IpAddr::V4(to) if to.is_multicast() => {
            let [_, b, c, d] = to.octets();
            flumen_stack::MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V4(to) if to.octets()[3] == 255 => flumen_stack::MacAddr::BROADCAST,
        IpAddr::V6(to) if to.is_multicast() => {
            let [.., a, b, c, d] = to.octets();
            flumen_stack::MacAddr([0x33, 0x33, a, b, c, d])
        }
        _ => our_mac(LAN),
    };
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let packet = V4 {
                tos: 0x20,
                id: 7,
                fragment: 0,
                ttl: 61,
                protocol,
                source,
                destination,
                options: Vec::new(),
                payload,
            };
            ethernet(mac, station(LAN, 2), 0x0800, &packet.bytes())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let packet =
                V6 { word: 0x6200_0000, next_header: protocol, hop_limit: 61, source, destination, payload };
            ethernet(mac, station(LAN, 2), 0x86dd, &packet.bytes())
        }
        _ => panic!("one family"),
    }
}

/// A datagram from the client's port 12345 to `to`.
fn datagram(source: &str, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let payload = upper(17, ip(source), to.ip(), to.port().to_be_bytes(), data);
    packet(17, ip(source), to.ip(), payload)
}

/// What the client sees: (source port, destination port, data) of a UDP datagram in a frame, checksums verified.
fn udp_of(frame: &[u8]) -> (u16, u16, Vec<u8>) {
    let (ip_len, pseudo) = match frame[12..14] {
        [8, 0] => {
            assert!(checksum::sum(&frame[14..34]).is_valid(), "IPv4 header");
            let (a, b): ([u8; 4], [u8; 4]) =
                (frame[26..30].try_into().unwrap(), frame[30..34].try_into().unwrap());
            (20, checksum::pseudo_ipv4(a.into(), b.into(), 17, (frame.len() - 34) as u16))
        }
        _ => {
            let (a, b): ([u8; 16], [u8; 16]) =
                (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
            (40, checksum::pseudo_ipv6(&a.into(), &b.into(), 17, (frame.len() - 54) as u32))
        }
    };
    let message = &frame[14 + ip_len..];
    if message[6..8] != [0, 0] {
        assert!(pseudo.plus(checksum::sum(message)).is_valid(), "UDP checksum");
    }
    let half = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    assert_eq!(usize::from(half(4)), message.len());
    (half(0), half(2), message[8..].to_vec())
}

fn server(host: &mut Router, family: Family, name: &str) -> Handle {
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    host.stack.udp_bind(socket, at(name)).unwrap();
    socket
}

fn set(host: &mut Router, socket: Handle, option: Opt) {
    host.turn(|stack, turn| stack.udp_set(turn, socket, option)).unwrap();
}

fn send(host: &mut Router, socket: Handle, args: SendArgs, data: &[u8]) -> Result<usize, Error> {
    host.turn(|stack, turn| stack.udp_send(turn, socket, &args, data))
}

fn read(host: &mut Router, socket: Handle) -> Result<Vec<u8>, Error> {
    let mut out = [0; 65_536];
    host.stack.udp_recv(socket, &mut out).map(|got| out[..got.len].to_vec())
}

#[track_caller]
fn assert_nothing_is_held(host: &mut Router) {
    assert_eq!(host.stack.blocks.in_use(), 0, "blocks");
    assert_eq!(host.pool.available(), 512, "frames");
}

fn asks_and_answers(client: &str, any: &str, family: Family) {
    let mut host = host();
    let socket = server(&mut host, family, &format!("{any}:53"));
    let to = SocketAddr::new(us(ip(client)), 53);
    host.input(LAN, &[datagram(client, to, b"question")]);
    assert_eq!(host.stack.events.pop(), Some(SocketId::Udp(socket)));
    assert_eq!(host.stack.udp_news(socket), Some((Owner(1), Ready::READABLE)));
    let mut out = [0; 5];
    let peeked = host.stack.udp_peek(socket, &mut out).unwrap();
    let got = host.stack.udp_recv(socket, &mut out).unwrap();
    assert_eq!(peeked, got);
    assert_eq!((&out, got.len, got.full_len), (b"quest", 5, 8));
    assert_eq!((got.from, got.to, got.port), (SocketAddr::new(ip(client), 12345), to.ip(), port(LAN)));
    assert_eq!((got.ttl, got.tos, got.timestamp), (61, 0x20, host.now));
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock));
    let control = SendControl { source: Some(got.to), ttl: Some(9), tos: Some(0xb8), ..Default::default() };
    let args = SendArgs { to: Some(got.from), control, more: false };
    assert_eq!(send(&mut host, socket, args, b"answer"), Ok(6));
    let [(LAN, answer)] = &host.sent()[..] else { panic!() };
    assert_eq!(udp_of(answer), (53, 12345, b"answer".to_vec()));
    if to.is_ipv4() {
        assert_eq!((answer[15], answer[20], answer[22]), (0xb8, 0x40, 9), "TOS, don't fragment, TTL");
    } else {
        assert_eq!((&answer[14..16], answer[21]), (&[0x6b, 0x80][..], 9));
    }
    assert_nothing_is_held(&mut host);
}

#[test]
fn an_unconnected_socket_answers_whoever_asked_over_ipv4() {
    asks_and_answers("10.0.1.2", "0.0.0.0", Family::Ipv4);
    asks_and_answers("10.0.1.2", "[::]", Family::Ipv6);
}

#[test]
fn an_unconnected_socket_answers_whoever_asked_over_ipv6() {
    asks_and_answers("fd00:1::2", "[::]", Family::Ipv6);
}

fn connects(client: &str, family: Family) {
    let mut host = host();
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    assert_eq!(send(&mut host, socket, SendArgs::default(), b"x"), Err(Error::DestinationRequired));
    let peer = SocketAddr::new(ip(client), 12345);
    host.stack.udp_connect(host.now, socket, Some(peer)).unwrap();
    let name = host.stack.udp.get(socket).unwrap().end.local_name();
    assert_eq!(name.ip(), us(ip(client)));
    assert!(flumen_stack::tcp::ports::PortRange::default().contains(name.port()));
    assert_eq!(send(&mut host, socket, SendArgs::default(), b"hello"), Ok(5));
    let [(LAN, hello)] = &host.sent()[..] else { panic!() };
    assert_eq!(udp_of(hello), (name.port(), 12345, b"hello".to_vec()));
    host.input(LAN, &[datagram(client, name, b"for us")]);
    let stranger = if name.is_ipv4() { "10.0.1.3" } else { "fd00:1::3" };
    host.input(LAN, &[datagram(stranger, name, b"not for us")]);
    assert_eq!(read(&mut host, socket), Ok(b"for us".to_vec()));
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock));
    assert_eq!(host.stack.counters.dropped(DropReason::PortUnreachable), 1);
    host.stack.udp_connect(host.now, socket, None).unwrap();
    assert_eq!(host.stack.udp.get(socket).unwrap().end.local_name().port(), 0, "nobody bound it");
}

#[test]
fn a_connected_socket_hears_its_peer_alone_over_ipv4() {
    connects("10.0.1.2", Family::Ipv4);
    connects("10.0.1.2", Family::Ipv6);
}

#[test]
fn a_connected_socket_hears_its_peer_alone_over_ipv6() {
    connects("fd00:1::2", Family::Ipv6);
}

fn corks(client: &str, family: Family) {
    let mut host = host();
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    let peer = SocketAddr::new(ip(client), 9);
    let more = SendArgs { more: true, ..SendArgs::to(peer) };
    for part in [b"one ", b"two "] {
        assert_eq!(send(&mut host, socket, more, part), Ok(4));
        assert!(host.sent().is_empty());
    }
    assert_eq!(send(&mut host, socket, SendArgs::default(), b"three"), Ok(5), "the destination is known");
    assert_eq!(udp_of(&host.sent()[0].1).2, b"one two three");
    // The option does the same; taking it off sends.
    set(&mut host, socket, Opt::Cork(true));
    send(&mut host, socket, SendArgs::to(peer), b"held").unwrap();
    assert!(host.sent().is_empty());
    set(&mut host, socket, Opt::Cork(false));
    assert_eq!(udp_of(&host.sent()[0].1).2, b"held");
    // An error gives up all of it.
    send(&mut host, socket, more, &[7; 60_000]).unwrap();
    assert_eq!(send(&mut host, socket, more, &[7; 6000]), Err(Error::MessageTooLong));
    assert_eq!(send(&mut host, socket, SendArgs::to(peer), b"anew"), Ok(4));
    assert_eq!(udp_of(&host.sent()[0].1).2, b"anew");
    send(&mut host, socket, more, b"lost with the socket").unwrap();
    host.turn(|stack, turn| stack.udp_close(turn, socket));
    assert_nothing_is_held(&mut host);
}

#[test]
fn several_writes_make_one_datagram_and_an_error_makes_none_over_ipv4() {
    corks("10.0.1.2", Family::Ipv4);
}

#[test]
fn several_writes_make_one_datagram_and_an_error_makes_none_over_ipv6() {
    corks("fd00:1::2", Family::Ipv6);
}

fn overflows(client: &str, family: Family) {
    let mut host = host();
    let any = if client.contains(':') { "[::]:53" } else { "0.0.0.0:53" };
    let socket = server(&mut host, family, any);
    set(&mut host, socket, Opt::ReceiveBuffer(1));
    let to = SocketAddr::new(us(ip(client)), 53);
    // 2304 bytes, of which each datagram costs 100 and 576.
    for number in 0..5u8 {
        host.input(LAN, &[datagram(client, to, &[number; 100])]);
    }
    assert_eq!(host.stack.counters.dropped(DropReason::SocketQueueFull), 2);
    for number in 0..3u8 {
        assert_eq!(read(&mut host, socket), Ok(vec![number; 100]));
    }
    host.input(LAN, &[datagram(client, to, b"room again")]);
    let got = host.stack.udp_recv(socket, &mut [0; 100]).unwrap();
    assert_eq!((got.len, got.drops), (10, 2), "the reader learns how many it lost");
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_full_queue_drops_what_comes_and_counts_it_for_the_socket_over_ipv4() {
    overflows("10.0.1.2", Family::Ipv4);
}

#[test]
fn a_full_queue_drops_what_comes_and_counts_it_for_the_socket_over_ipv6() {
    overflows("fd00:1::2", Family::Ipv6);
}

#[test]
fn a_damaged_datagram_never_reaches_a_socket_and_holds_no_memory() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv6, "[::]:53");
    for client in ["10.0.1.2", "fd00:1::2"] {
        let mut frame = datagram(client, SocketAddr::new(us(ip(client)), 53), &[1, 2, 3]);
        *frame.last_mut().unwrap() ^= 1;
        host.input(LAN, &[frame]);
    }
    assert_eq!(host.stack.counters.dropped(DropReason::TransportBadChecksum), 2);
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock));
    assert_nothing_is_held(&mut host);
}

/// The client's datagram without a checksum.
fn unsummed(client: &str) -> Vec<u8> {
    let to = us(ip(client));
    let mut payload = upper(17, ip(client), to, 53u16.to_be_bytes(), b"bare");
    payload[6..8].fill(0);
    packet(17, ip(client), to, payload)
}

#[test]
fn no_checksum_is_fine_over_ipv4_when_the_sender_says_so() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "0.0.0.0:53");
    host.input(LAN, &[unsummed("10.0.1.2")]);
    assert_eq!(read(&mut host, socket), Ok(b"bare".to_vec()));
    set(&mut host, socket, Opt::NoChecksum(true));
    send(&mut host, socket, SendArgs::to(at("10.0.1.2:9")), b"x").unwrap();
    assert_eq!(host.sent()[0].1[40..42], [0, 0]);
}

#[test]
fn no_checksum_is_refused_over_ipv6_unless_the_socket_allows_it() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv6, "[::]:53");
    host.input(LAN, &[unsummed("fd00:1::2")]);
    assert_eq!(host.stack.counters.dropped(DropReason::TransportBadChecksum), 1);
    set(&mut host, socket, Opt::NoChecksum6Rx(true));
    host.input(LAN, &[unsummed("fd00:1::2")]);
    assert_eq!(read(&mut host, socket), Ok(b"bare".to_vec()));
    set(&mut host, socket, Opt::NoChecksum6Tx(true));
    send(&mut host, socket, SendArgs::to(at("[fd00:1::2]:9")), b"x").unwrap();
    assert_eq!(host.sent()[0].1[60..62], [0, 0]);
}

/// An ICMP error from the client about `sent`, a frame of ours.
fn error_about(sent: &[u8], from: &str, kind: [u8; 2], word: u32) -> Vec<u8> {
    let (from, to) = (ip(from), us(ip(from)));
    let protocol = if from.is_ipv4() { 1 } else { 58 };
    let mut message = vec![kind[0], kind[1], 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(&sent[14..]);
    let pseudo = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum::pseudo_ipv6(&from, &to, 58, message.len() as u32),
        _ => checksum::Sum::ZERO,
    };
    let sum = pseudo.plus(checksum::sum(&message)).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(protocol, from, to, message)
}

fn hears_errors(client: &str, family: Family, refused: [u8; 2], unreachable: [u8; 2]) {
    let mut host = host();
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    let peer = SocketAddr::new(ip(client), 9);
    send(&mut host, socket, SendArgs::to(peer), b"unconnected").unwrap();
    let sent = host.sent().remove(0).1;
    host.input(LAN, &[error_about(&sent, client, refused, 0)]);
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock), "an unconnected socket is not told");
    host.stack.udp_connect(host.now, socket, Some(peer)).unwrap();
    send(&mut host, socket, SendArgs::default(), b"connected").unwrap();
    let sent = host.sent().remove(0).1;
    host.input(LAN, &[error_about(&sent, client, unreachable, 0)]);
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock), "soft errors are not told");
    let mut forged = sent.clone();
    let ports = if ip(client).is_ipv4() { 34 } else { 54 };
    forged[ports] ^= 1;
    let before = host.stack.counters.get(Counter::IcmpErrorsToSockets);
    host.input(LAN, &[error_about(&forged, client, refused, 0)]);
    assert_eq!(host.stack.counters.get(Counter::IcmpErrorsToSockets), before, "nobody sent that");
    host.input(LAN, &[error_about(&sent, client, refused, 0)]);
    assert!(host.stack.udp_readiness(socket).contains(Ready::ERROR));
    assert_eq!(read(&mut host, socket), Err(Error::ConnectionRefused));
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock), "told once");
    // Who asks for reports hears all of them, with what they are about.
    set(&mut host, socket, Opt::ReceiveErrors(true));
    host.input(LAN, &[error_about(&sent, client, unreachable, 0)]);
    let mut quoted = [0; 64];
    let report = host.stack.udp_recv_error(socket, &mut quoted).unwrap();
    assert_eq!((report.kind, report.code), (unreachable[0], unreachable[1]));
    assert_eq!((report.to, report.offender), (peer, Some(ip(client))));
    assert_eq!(&quoted[..report.len], b"connected");
    assert_eq!(host.stack.udp_recv_error(socket, &mut quoted), Err(Error::WouldBlock));
    assert_nothing_is_held(&mut host);
}

#[test]
fn icmp_errors_reach_the_socket_that_caused_them() {
    hears_errors("10.0.1.2", Family::Ipv4, [3, 3], [3, 1]);
}

#[test]
fn icmpv6_errors_reach_the_socket_that_caused_them() {
    hears_errors("fd00:1::2", Family::Ipv6, [1, 4], [1, 0]);
}

fn learns_mtu(client: &str, family: Family, too_big: [u8; 2]) {
    let mut host = host();
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    let peer = SocketAddr::new(ip(client), 9);
    set(&mut host, socket, Opt::MtuDiscover(MtuDiscovery::Do));
    set(&mut host, socket, Opt::ReceiveErrors(true));
    send(&mut host, socket, SendArgs::to(peer), &[7; 1400]).unwrap();
    let sent = host.sent().remove(0).1;
    host.input(LAN, &[error_about(&sent[..200], client, too_big, 1300)]);
    assert_eq!(send(&mut host, socket, SendArgs::to(peer), b"x"), Err(Error::MessageTooLong), "SO_ERROR");
    let report = host.stack.udp_recv_error(socket, &mut [0; 9]).unwrap();
    assert_eq!((report.error, report.info), (Error::MessageTooLong, 1300));
    assert_eq!(send(&mut host, socket, SendArgs::to(peer), &[7; 1400]), Err(Error::MessageTooLong));
    let report = host.stack.udp_recv_error(socket, &mut [0; 9]).unwrap();
    assert_eq!((report.origin, report.info), (Origin::Local, 1300));
    // Who lets datagrams be cut goes on.
    set(&mut host, socket, Opt::MtuDiscover(MtuDiscovery::Want));
    assert_eq!(send(&mut host, socket, SendArgs::to(peer), &[7; 1400]), Ok(1400));
    let sent = host.sent();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|(_, frame)| frame.len() <= 14 + 1300));
}

#[test]
fn a_report_of_a_narrow_path_about_a_datagram_of_ours_lowers_the_path_mtu() {
    learns_mtu("10.0.1.2", Family::Ipv4, [3, 4]);
}

#[test]
fn packet_too_big_about_a_datagram_of_ours_lowers_the_path_mtu() {
    learns_mtu("fd00:1::2", Family::Ipv6, [2, 0]);
}

/// Puts the fragments of one datagram together: (their number, the payload).
fn reassemble(frames: &[(usize, Vec<u8>)]) -> (usize, Vec<u8>) {
    let mut payload: Vec<u8> = Vec::new();
    for (index, (_, frame)) in frames.iter().enumerate() {
        let last = index + 1 == frames.len();
        let half = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let (offset, more, bytes) = if frame[12..14] == [8, 0] {
            assert!(checksum::sum(&frame[14..34]).is_valid());
            ((half(20) & 0x1fff) * 8, half(20) & 0x2000 != 0, &frame[34..])
        } else {
            assert_eq!((frame[20], frame[54]), (44, 17));
            (half(56) & 0xfff8, half(56) & 1 != 0, &frame[62..])
        };
        assert_eq!((offset, more), (payload.len(), !last));
        assert!(frame.len() <= 1514);
        payload.extend(bytes);
    }
    (frames.len(), payload)
}

#[test]
fn the_longest_datagrams_leave_as_fragments_in_both_families() {
    let mut host = host();
    let data: Vec<u8> = (0..65_507u32).map(|n| (n % 251) as u8).collect();
    let socket = host.stack.udp_open(Family::Ipv6, Owner(1)).unwrap();
    for (peer, count) in [("10.0.1.2:9", 45), ("[fd00:1::2]:9", 46)] {
        assert_eq!(send(&mut host, socket, SendArgs::to(at(peer)), &data), Ok(data.len()));
        let (fragments, message) = reassemble(&host.sent());
        assert_eq!((fragments, message[8..] == data[..]), (count, true));
        let (from, to) = (us(at(peer).ip()), at(peer).ip());
        let pseudo = match (from, to) {
            (IpAddr::V4(a), IpAddr::V4(b)) => checksum::pseudo_ipv4(a, b, 17, message.len() as u16),
            (IpAddr::V6(a), IpAddr::V6(b)) => checksum::pseudo_ipv6(&a, &b, 17, message.len() as u32),
            _ => panic!(),
        };
        assert!(pseudo.plus(checksum::sum(&message)).is_valid(), "the checksum is over all of it");
    }
    let too_long = [0; 65_508];
    assert_eq!(
        send(&mut host, socket, SendArgs::to(at("10.0.1.2:9")), &too_long),
        Err(Error::MessageTooLong)
    );
    let counters = &host.stack.counters;
    assert_eq!(counters.get(Counter::Ipv4FragmentsCreated) + counters.get(Counter::Ipv6FragmentsCreated), 91);
    assert_eq!(counters.dropped_in_all(), 0);
}

#[test]
fn a_send_is_cut_into_segments_and_what_arrives_so_is_joined_again() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "0.0.0.0:53");
    let peer = at("10.0.1.2:9");
    let control = SendControl { segment: Some(1000), ..SendControl::default() };
    let args = SendArgs { to: Some(peer), control, more: false };
    let data: Vec<u8> = (0..2500u32).map(|n| n as u8).collect();
    assert_eq!(send(&mut host, socket, args, &data), Ok(2500));
    let sent: Vec<Vec<u8>> = host.sent().iter().map(|(_, frame)| udp_of(frame).2).collect();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert_eq!(sent.concat(), data);
    let wide = SendControl { segment: Some(1473), ..SendControl::default() };
    let args = SendArgs { control: wide, ..args };
    assert_eq!(send(&mut host, socket, args, &data), Err(Error::MessageTooLong), "wider than the link");
    let tiny = SendArgs { control: SendControl { segment: Some(1), ..control }, ..args };
    assert_eq!(send(&mut host, socket, tiny, &[0; 65]), Err(Error::InvalidArgument), "too many");
    assert_eq!(send(&mut host, socket, tiny, &[0; 64]), Ok(64));
    host.sent();

    set(&mut host, socket, Opt::Gro(true));
    let to = at("10.0.1.1:53");
    let mut damaged = datagram("10.0.1.2", to, &[3; 101]);
    *damaged.last_mut().unwrap() ^= 1;
    let frames = [
        datagram("10.0.1.2", to, &[1; 101]),
        datagram("10.0.1.2", to, &[2; 101]),
        damaged,
        datagram("10.0.1.2", to, &[4; 50]),
        datagram("10.0.1.2", to, &[5; 7]),
    ];
    host.input(LAN, &frames);
    let mut out = [0; 1000];
    let got = host.stack.udp_recv(socket, &mut out).unwrap();
    assert_eq!((got.len, got.segment), (252, 101));
    assert_eq!((out[0], out[101], out[202], out[251]), (1, 2, 4, 4));
    let got = host.stack.udp_recv(socket, &mut out).unwrap();
    assert_eq!((got.len, got.segment), (7, 0), "one alone was not joined");
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_broadcast_reaches_every_socket_and_needs_leave_to_be_sent() {
    let mut host = host();
    let names = ["0.0.0.0:67", "10.0.1.255:67", "10.0.1.1:67"];
    let sockets = names.map(|name| {
        let socket = host.stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
        set(&mut host, socket, Opt::ReuseAddress(true));
        host.stack.udp_bind(socket, at(name)).unwrap();
        socket
    });
    host.input(LAN, &[datagram("10.0.1.2", at("10.0.1.255:67"), b"all")]);
    let heard = sockets.map(|socket| read(&mut host, socket).is_ok());
    assert_eq!(heard, [true, true, false]);
    let to = SendArgs::to(at("10.0.1.255:67"));
    assert_eq!(send(&mut host, sockets[0], to, b"x"), Err(Error::AccessDenied));
    set(&mut host, sockets[0], Opt::Broadcast(true));
    assert_eq!(send(&mut host, sockets[0], to, b"x"), Ok(1));
    let [(LAN, frame)] = &host.sent()[..] else { panic!() };
    assert_eq!(frame[..6], [0xff; 6]);
    let heard = sockets.map(|socket| read(&mut host, socket).is_ok());
    assert_eq!(heard, [true, true, false], "we hear our own broadcasts");
}

#[test]
fn a_datagram_to_our_own_address_comes_back_to_us() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "10.0.1.1:53");
    let other = host.stack.udp_open(Family::Ipv4, Owner(2)).unwrap();
    assert_eq!(send(&mut host, other, SendArgs::to(at("10.0.1.1:53")), b"self"), Ok(4));
    assert!(host.sent().is_empty());
    assert_eq!(read(&mut host, socket), Ok(b"self".to_vec()));
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_datagram_to_a_closed_port_of_our_own_is_refused() {
    let mut host = host();
    for (family, to) in [(Family::Ipv4, "10.0.1.1:9"), (Family::Ipv6, "[fd00:1::1]:9")] {
        let socket = host.stack.udp_open(family, Owner(2)).unwrap();
        host.stack.udp_connect(host.now, socket, Some(at(to))).unwrap();
        assert_eq!(send(&mut host, socket, SendArgs::default(), b"self"), Ok(4));
        host.turn(|stack, turn| stack.output(turn));
        assert!(host.sent().is_empty(), "nothing leaves");
        assert_eq!(read(&mut host, socket), Err(Error::ConnectionRefused), "{to}");
    }
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_name_is_refused_for_what_is_wrong_with_it() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "10.0.1.1:53");
    assert_eq!(host.stack.udp_bind(socket, at("10.0.1.1:54")), Err(Error::InvalidArgument), "it has one");
    let other = host.stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
    for (name, error) in [
        ("10.0.1.1:53", Error::AddressInUse),
        ("0.0.0.0:53", Error::AddressInUse),
        ("10.9.9.9:53", Error::AddressNotAvailable),
        ("[::]:53", Error::WrongFamily),
    ] {
        assert_eq!(host.stack.udp_bind(other, at(name)), Err(error), "{name}");
    }
    host.turn(|stack, turn| stack.udp_close(turn, socket));
    assert_eq!(host.stack.udp_bind(other, at("0.0.0.0:53")), Ok(()));
    assert_eq!(host.stack.udp_bind(socket, at("0.0.0.0:9")), Err(Error::BadHandle));
    assert_eq!(send(&mut host, other, SendArgs::to(at("8.8.8.8:9")), b"x"), Err(Error::NetworkUnreachable));
    assert_eq!(send(&mut host, other, SendArgs::to(at("203.0.111.1:9")), b"x"), Err(Error::AccessDenied));
    assert_eq!(send(&mut host, other, SendArgs::to(at("203.0.112.1:9")), b"x"), Err(Error::HostUnreachable));
}

#[test]
fn a_socket_that_was_shut_down_neither_reads_nor_writes() {
    let mut host = host();
    let socket = host.stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
    assert_eq!(host.stack.udp_shutdown(socket, true, true), Err(Error::NotConnected));
    host.stack.udp_connect(host.now, socket, Some(at("10.0.1.2:12345"))).unwrap();
    host.stack.udp_shutdown(socket, true, true).unwrap();
    assert_eq!(read(&mut host, socket), Ok(Vec::new()), "the end");
    assert_eq!(send(&mut host, socket, SendArgs::default(), b"x"), Err(Error::BrokenPipe));
}

// Groups

fn query_v3(group: [u8; 4], code: u8, sources: &[[u8; 4]]) -> Vec<u8> {
    let mut message =
        vec![0x11, code, 0, 0, group[0], group[1], group[2], group[3], 2, 125, 0, sources.len() as u8];
    message.extend(sources.concat());
    let sum = checksum::sum(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(2, ip("10.0.1.9"), if group == [0; 4] { ip("224.0.0.1") } else { IpAddr::from(group) }, message)
}

/// The IGMP messages in frames, from their types on.
fn igmp(frames: Vec<(usize, Vec<u8>)>) -> Vec<Vec<u8>> {
    frames
        .into_iter()
        .map(|(port, frame)| {
            assert_eq!((port, frame[14], frame[22], frame[23]), (LAN, 0x46, 1, 2), "TTL 1, IGMP");
            assert_eq!(frame[34..38], [148, 4, 0, 0], "router alert");
            assert!(checksum::sum(&frame[38..]).is_valid());
            frame[38..].to_vec()
        })
        .collect()
}

fn wait(host: &mut Router, time: Duration) -> Vec<(usize, Vec<u8>)> {
    let end = host.now + time;
    while host.stack.next_deadline() <= end {
        host.now = host.stack.next_deadline().max(host.now);
        host.turn(|stack, turn| stack.timers(turn));
    }
    host.now = end;
    host.sent()
}

const GROUP: [u8; 4] = [239, 1, 1, 1];

fn record(kind: u8, sources: &[[u8; 4]]) -> Vec<u8> {
    let mut message = vec![0x22, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, sources.len() as u8];
    message.extend(GROUP);
    message.extend(sources.concat());
    let sum = checksum::sum(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn join(host: &mut Router, socket: Handle, group: IpAddr) -> Result<(), Error> {
    host.turn(|stack, turn| stack.group_join(turn, SocketId::Udp(socket), Some(port(LAN)), group))
}

#[test]
fn joining_and_leaving_are_told_twice_and_a_query_is_answered_in_time() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "0.0.0.0:5353");
    assert_eq!(join(&mut host, socket, ip("10.1.1.1")), Err(Error::InvalidArgument));
    join(&mut host, socket, GROUP.into()).unwrap();
    assert_eq!(igmp(host.sent()), [record(4, &[])], "TO_EX {{}} at once");
    assert_eq!(join(&mut host, socket, GROUP.into()), Err(Error::AddressInUse));
    assert_eq!(igmp(wait(&mut host, Duration::from_secs(1))), [record(4, &[])], "and again");
    assert!(wait(&mut host, Duration::from_secs(100)).is_empty());
    host.input(LAN, &[query_v3([0; 4], 100, &[])]);
    assert!(host.sent().is_empty(), "not at once");
    assert_eq!(igmp(wait(&mut host, Duration::from_secs(10))), [record(2, &[])], "IS_EX {{}}");
    host.input(LAN, &[query_v3(GROUP, 10, &[[10, 0, 0, 7]])]);
    assert_eq!(igmp(wait(&mut host, Duration::from_secs(1))), [record(1, &[[10, 0, 0, 7]])]);
    host.input(LAN, &[query_v3([239, 2, 2, 2], 10, &[])]);
    assert!(wait(&mut host, Duration::from_secs(1)).is_empty(), "not our group");
    host.turn(|stack, turn| stack.udp_close(turn, socket));
    assert_eq!(igmp(host.sent()), [record(3, &[])], "TO_IN {{}}");
    assert_eq!(igmp(wait(&mut host, Duration::from_secs(1))), [record(3, &[])]);
    assert!(host.stack.groups.is_empty());
    assert_nothing_is_held(&mut host);
}

#[test]
fn every_member_hears_the_group_from_the_sources_that_it_wants() {
    use flumen_stack::groups::{Filter, Mode};
    let mut host = host();
    let sockets = [(); 4].map(|()| {
        let socket = host.stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
        set(&mut host, socket, Opt::ReuseAddress(true));
        host.stack.udp_bind(socket, at("0.0.0.0:5353")).unwrap();
        socket
    });
    let group = IpAddr::from(GROUP);
    let to = SocketAddr::new(group, 5353);
    host.input(LAN, &[datagram("10.0.1.2", to, b"early")]);
    assert_eq!(host.stack.counters.dropped(DropReason::NotJoined), 1);
    let source = |number: u8| IpAddr::from([10, 0, 1, number]);
    let mut filter = |index: usize, mode, sources: Vec<IpAddr>| {
        let socket = SocketId::Udp(sockets[index]);
        let filter = Filter::new(mode, sources);
        host.turn(|stack, turn| stack.group_filter(turn, socket, Some(port(LAN)), group, filter)).unwrap();
        igmp(host.sent())
    };
    assert_eq!(filter(0, Mode::Include, vec![source(2)]), [record(5, &[[10, 0, 1, 2]])], "ALLOW");
    assert_eq!(filter(1, Mode::Exclude, vec![source(2), source(4)]), [record(4, &[[10, 0, 1, 4]])], "TO_EX");
    let mut heard = |from: &str| {
        host.input(LAN, &[datagram(from, to, b"news")]);
        sockets.map(|socket| read(&mut host, socket).is_ok())
    };
    assert_eq!(heard("10.0.1.2"), [true, false, true, true], "who did not join hears all (IP_MULTICAST_ALL)");
    assert_eq!(heard("10.0.1.3"), [false, true, true, true]);
    assert_eq!(heard("10.0.1.4"), [false; 4], "nobody who joined wants it");
    set(&mut host, sockets[2], Opt::MulticastAll(false));
    host.input(LAN, &[datagram("10.0.1.3", to, b"news")]);
    assert_eq!(sockets.map(|socket| read(&mut host, socket).is_ok()), [false, true, false, true]);
    for socket in sockets {
        host.turn(|stack, turn| stack.udp_close(turn, socket));
    }
    host.input(LAN, &[datagram("10.0.1.3", to, b"late")]);
    assert_eq!(host.stack.counters.dropped(DropReason::NotJoined), 3, "also what the route cache knew");
    wait(&mut host, Duration::from_secs(9));
    assert_nothing_is_held(&mut host);
}

#[test]
fn an_older_querier_is_answered_in_its_language() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "0.0.0.0:5353");
    let message = |kind: u8, code: u8, group: [u8; 4]| {
        let mut message = vec![kind, code, 0, 0, group[0], group[1], group[2], group[3]];
        let sum = checksum::sum(&message).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    };
    host.input(LAN, &[packet(2, ip("10.0.1.9"), ip("224.0.0.1"), message(0x11, 100, [0; 4]))]);
    join(&mut host, socket, GROUP.into()).unwrap();
    assert_eq!(igmp(host.sent()), [message(0x16, 0, GROUP)]);
    assert_eq!(igmp(wait(&mut host, Duration::from_secs(10))), [message(0x16, 0, GROUP)]);
    // Another host answers first: silence, and leaving is not ours to say.
    host.input(LAN, &[packet(2, ip("10.0.1.9"), GROUP.into(), message(0x11, 10, GROUP))]);
    host.input(LAN, &[packet(2, ip("10.0.1.3"), GROUP.into(), message(0x16, 0, GROUP))]);
    assert!(wait(&mut host, Duration::from_secs(5)).is_empty());
    host.input(LAN, &[packet(2, ip("10.0.1.9"), GROUP.into(), message(0x11, 10, GROUP))]);
    assert_eq!(igmp(wait(&mut host, Duration::from_secs(1))), [message(0x16, 0, GROUP)]);
    let left = host
        .turn(|stack, turn| stack.group_leave(turn, SocketId::Udp(socket), Some(port(LAN)), GROUP.into()));
    assert_eq!(left, Ok(()));
    assert_eq!(igmp(host.sent()), [message(0x17, 0, GROUP)]);
    // The old querier is gone for long: the newest language again.
    wait(&mut host, Duration::from_secs(261));
    join(&mut host, socket, GROUP.into()).unwrap();
    assert_eq!(igmp(host.sent()), [record(4, &[])]);
    // Version 1 knows no leaving.
    host.input(LAN, &[packet(2, ip("10.0.1.9"), ip("224.0.0.1"), message(0x11, 0, [0; 4]))]);
    assert_eq!(igmp(wait(&mut host, Duration::from_secs(10))), [message(0x12, 0, GROUP)]);
    host.turn(|stack, turn| stack.udp_close(turn, socket));
    assert!(host.sent().is_empty());
}

#[test]
fn what_we_send_to_a_group_that_we_joined_comes_back_unless_told_otherwise() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "0.0.0.0:5353");
    let args = SendArgs::to(SocketAddr::new(GROUP.into(), 5353));
    assert_eq!(send(&mut host, socket, args, b"x"), Err(Error::NetworkUnreachable), "no route, no port");
    set(&mut host, socket, Opt::MulticastInterface(Some(port(LAN)), None));
    send(&mut host, socket, args, b"x").unwrap();
    let [(LAN, frame)] = &host.sent()[..] else { panic!() };
    assert_eq!((&frame[..6], frame[22]), (&[1, 0, 0x5e, 1, 1, 1][..], 1), "the group's address, TTL 1");
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock), "not a member");
    join(&mut host, socket, GROUP.into()).unwrap();
    host.sent();
    send(&mut host, socket, args, b"y").unwrap();
    assert_eq!(read(&mut host, socket), Ok(b"y".to_vec()));
    set(&mut host, socket, Opt::MulticastLoop(false));
    send(&mut host, socket, args, b"z").unwrap();
    assert_eq!(read(&mut host, socket), Err(Error::WouldBlock));
    host.sent();
    set(&mut host, socket, Opt::MulticastLoop(true));
    set(&mut host, socket, Opt::MulticastTtl(0));
    send(&mut host, socket, args, b"here").unwrap();
    assert!(host.sent().is_empty(), "with TTL 0 it stays at home");
    assert_eq!(read(&mut host, socket), Ok(b"here".to_vec()));
}

/// MLD messages in frames, from their types on, the checksum replaced by zero.
fn mld(frames: Vec<(usize, Vec<u8>)>) -> Vec<Vec<u8>> {
    frames
        .into_iter()
        .map(|(port, frame)| {
            assert_eq!((port, frame[20], frame[21]), (LAN, 0, 1), "hop-by-hop options, hop limit 1");
            assert_eq!(frame[54..62], [58, 0, 5, 2, 0, 0, 1, 0], "router alert");
            let (a, b): ([u8; 16], [u8; 16]) =
                (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
            assert_eq!(IpAddr::from(a), ip("fe80::1"));
            let mut message = frame[62..].to_vec();
            let pseudo = checksum::pseudo_ipv6(&a.into(), &b.into(), 58, message.len() as u32);
            assert!(pseudo.plus(checksum::sum(&message)).is_valid());
            message[2..4].fill(0);
            message
        })
        .collect()
}

fn mld_query(old: bool, hop_limit: u8) -> Vec<u8> {
    let (from, to) = ("fe80::9".parse().unwrap(), "ff02::1".parse().unwrap());
    let mut message = vec![130, 0, 0, 0, 0x03, 0xe8, 0, 0];
    message.extend([0; 16]);
    if !old {
        message.extend([2, 125, 0, 0]);
    }
    let mut payload = vec![58, 0, 5, 2, 0, 0, 1, 0];
    payload.extend(with_sum6(message, from, to));
    let packet = V6 { word: 6 << 28, next_header: 0, hop_limit, source: from, destination: to, payload };
    ethernet(flumen_stack::MacAddr([0x33, 0x33, 0, 0, 0, 1]), station(LAN, 9), 0x86dd, &packet.bytes())
}

#[test]
fn ipv6_groups_are_reported_and_heard_and_older_queriers_are_understood() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv6, "[::]:5353");
    let group = ip("ff05::77");
    join(&mut host, socket, group).unwrap();
    let report = |kind: u8| {
        let mut message = vec![143, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0];
        message.extend("ff05::77".parse::<core::net::Ipv6Addr>().unwrap().octets());
        message
    };
    let old = |kind: u8| {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend("ff05::77".parse::<core::net::Ipv6Addr>().unwrap().octets());
        message
    };
    assert_eq!(mld(host.sent()), [report(4)]);
    assert_eq!(mld(wait(&mut host, Duration::from_secs(1))), [report(4)]);
    host.input(LAN, &[datagram("fd00:1::2", SocketAddr::new(group, 5353), b"news")]);
    assert_eq!(read(&mut host, socket), Ok(b"news".to_vec()));
    host.input(LAN, &[mld_query(false, 64)]);
    assert!(wait(&mut host, Duration::from_secs(2)).is_empty(), "from beyond the link");
    host.input(LAN, &[mld_query(false, 1)]);
    assert_eq!(mld(wait(&mut host, Duration::from_secs(1))), [report(2)]);
    host.input(LAN, &[mld_query(true, 1)]);
    assert_eq!(mld(wait(&mut host, Duration::from_secs(1))), [old(131)]);
    host.turn(|stack, turn| stack.udp_close(turn, socket));
    assert_eq!(mld(host.sent()), [old(132)]);
    host.input(LAN, &[datagram("fd00:1::2", SocketAddr::new(group, 5353), b"late")]);
    assert_eq!(host.stack.counters.dropped(DropReason::NotJoined), 1);
    assert_nothing_is_held(&mut host);
}

// Raw and ping sockets

fn raw_read(host: &mut Router, socket: Handle) -> Result<Vec<u8>, Error> {
    let mut out = [0; 2000];
    host.stack.raw_recv(socket, &mut out).map(|got| out[..got.len].to_vec())
}

fn raw_send(host: &mut Router, socket: Handle, to: &str, data: &[u8]) -> Result<usize, Error> {
    let args = SendArgs::to(SocketAddr::new(ip(to), 0));
    host.turn(|stack, turn| stack.raw_send(turn, socket, &args, data))
}

#[test]
fn a_raw_socket_sends_behind_our_header_and_hears_its_protocol_over_ipv4() {
    let mut host = host();
    let first = host.stack.raw_open(Family::Ipv4, 253, Owner(1)).unwrap();
    let second = host.stack.raw_open(Family::Ipv4, 253, Owner(2)).unwrap();
    let other = host.stack.raw_open(Family::Ipv4, 254, Owner(3)).unwrap();
    assert_eq!(raw_send(&mut host, first, "10.0.1.2", b"raw"), Ok(3));
    let sent = host.sent().remove(0).1;
    assert!(checksum::sum(&sent[14..34]).is_valid());
    assert_eq!((sent[23], &sent[34..]), (253, &b"raw"[..]));
    let frame = packet(253, ip("10.0.1.2"), ip("10.0.1.1"), b"copy".to_vec());
    host.input(LAN, std::slice::from_ref(&frame));
    for socket in [first, second] {
        assert_eq!(raw_read(&mut host, socket), Ok(frame[14..].to_vec()), "with its header");
        assert_eq!(host.stack.raw_news(socket).unwrap().1, Ready::READABLE);
    }
    assert_eq!(raw_read(&mut host, other), Err(Error::WouldBlock));
    assert!(host.sent().is_empty(), "no protocol unreachable: somebody speaks it");
    host.stack.raw_connect(host.now, second, Some(at("10.0.1.3:0"))).unwrap();
    host.input(LAN, &[frame]);
    assert!(raw_read(&mut host, first).is_ok() && raw_read(&mut host, second).is_err(), "another peer's");
    for socket in [first, second, other] {
        host.turn(|stack, turn| stack.raw_close(turn, socket));
    }
    host.input(LAN, &[packet(253, ip("10.0.1.2"), ip("10.0.1.1"), b"gone".to_vec())]);
    assert_eq!(host.sent()[0].1[34..36], [3, 2], "protocol unreachable");
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_raw_ipv6_socket_has_its_checksum_made_and_checked() {
    let mut host = host();
    let socket = host.stack.raw_open(Family::Ipv6, 253, Owner(1)).unwrap();
    assert_eq!(host.stack.raw_set(socket, Opt::Checksum(Some(3))), Err(Error::InvalidArgument));
    host.stack.raw_set(socket, Opt::Checksum(Some(4))).unwrap();
    assert_eq!(raw_send(&mut host, socket, "fd00:1::2", b"short"), Err(Error::InvalidArgument));
    raw_send(&mut host, socket, "fd00:1::2", b"datasumm more").unwrap();
    let sent = host.sent().remove(0).1;
    let (us, them) = ("fd00:1::1".parse().unwrap(), "fd00:1::2".parse().unwrap());
    let valid = |message: &[u8]| {
        let pseudo = checksum::pseudo_ipv6(&us, &them, 253, message.len() as u32);
        pseudo.plus(checksum::sum(message)).is_valid()
    };
    assert!(valid(&sent[54..]), "the pseudo-header is the same both ways");
    let message = sent[54..].to_vec();
    host.input(LAN, &[packet(253, them.into(), us.into(), message.clone())]);
    assert_eq!(raw_read(&mut host, socket), Ok(message.clone()), "without the header");
    let mut damaged = message;
    damaged[0] ^= 1;
    host.input(LAN, &[packet(253, them.into(), us.into(), damaged)]);
    assert_eq!(raw_read(&mut host, socket), Err(Error::WouldBlock));
    assert_nothing_is_held(&mut host);
}

#[test]
fn of_a_header_that_the_caller_brings_we_fill_in_what_linux_does() {
    let mut host = host();
    let socket = host.stack.raw_open(Family::Ipv4, 255, Owner(1)).unwrap();
    let mut mine = vec![0x45, 0xb8, 0, 0, 0, 0, 0, 0, 9, 253, 0xde, 0xad, 0, 0, 0, 0, 10, 0, 1, 2];
    mine.extend(b"body");
    assert_eq!(raw_send(&mut host, socket, "10.0.1.2", &mine), Ok(24));
    let sent = host.sent().remove(0).1;
    let header = &sent[14..34];
    assert!(checksum::sum(header).is_valid());
    assert_eq!((&header[..4], &header[8..10]), (&[0x45, 0xb8, 0, 24][..], &[9, 253][..]));
    assert_ne!(header[4..6], [0, 0], "identification");
    assert_eq!(header[12..16], [10, 0, 1, 1], "source");
    mine[4..6].copy_from_slice(&[1, 2]);
    mine[12..16].copy_from_slice(&[192, 0, 2, 7]);
    raw_send(&mut host, socket, "10.0.1.2", &mine).unwrap();
    let sent = host.sent().remove(0).1;
    assert_eq!(
        (&sent[18..20], &sent[26..30]),
        (&[1, 2][..], &[192, 0, 2, 7][..]),
        "what the caller chose stays"
    );
    assert_eq!(raw_send(&mut host, socket, "10.0.1.2", &mine[..19]), Err(Error::InvalidArgument));
    assert_eq!(raw_send(&mut host, socket, "10.0.1.2", &[0x45; 1501]), Err(Error::MessageTooLong));
    assert_nothing_is_held(&mut host);
}

#[test]
fn an_ipv6_header_that_the_caller_brings_is_not_touched() {
    let mut host = host();
    let socket = host.stack.raw_open(Family::Ipv6, 255, Owner(1)).unwrap();
    let mine = V6 {
        word: 0x6123_4567,
        next_header: 253,
        hop_limit: 3,
        source: "2001:db8::7".parse().unwrap(),
        destination: "fd00:1::2".parse().unwrap(),
        payload: b"body".to_vec(),
    };
    raw_send(&mut host, socket, "fd00:1::2", &mine.bytes()).unwrap();
    assert_eq!(host.sent()[0].1[14..], mine.bytes());
    assert_eq!(raw_send(&mut host, socket, "fd00:1::2", &[0x45; 60]), Err(Error::InvalidArgument));
}

#[test]
fn types_that_the_icmp_filter_names_are_not_heard() {
    let mut host = host();
    let four = host.stack.raw_open(Family::Ipv4, 1, Owner(1)).unwrap();
    let six = host.stack.raw_open(Family::Ipv6, 58, Owner(1)).unwrap();
    host.stack.raw_set(four, Opt::IcmpFilter(1 << 8)).unwrap();
    assert_eq!(host.stack.raw_set(four, Opt::Icmp6Filter([0; 8])), Err(Error::NotSupported));
    host.stack.raw_set(six, Opt::Icmp6Filter([0, 0, 0, 0, 1, 0, 0, 0])).unwrap();
    for (client, protocol, kinds, socket) in
        [("10.0.1.2", 1, [8, 0], four), ("fd00:1::2", 58, [128, 129], six)]
    {
        for kind in kinds {
            let message = upper(protocol, ip(client), us(ip(client)), [kind, 0], b"data");
            host.input(LAN, &[packet(protocol, ip(client), us(ip(client)), message)]);
        }
        let got = raw_read(&mut host, socket).unwrap();
        assert_eq!(got[if protocol == 1 { 20 } else { 0 }], kinds[1]);
        assert_eq!(raw_read(&mut host, socket), Err(Error::WouldBlock));
    }
    assert_eq!(host.sent().len(), 2, "echo requests were answered all the same");
}

#[test]
fn transit_packets_with_a_router_alert_end_at_the_sockets_that_registered() {
    let mut host = host();
    let alert = |options: Vec<u8>| {
        let packet = V4 {
            tos: 0,
            id: 1,
            fragment: 0,
            ttl: 9,
            protocol: 46,
            source: "10.0.1.2".parse().unwrap(),
            destination: "10.0.2.2".parse().unwrap(),
            options,
            payload: b"reserve".to_vec(),
        };
        ethernet(our_mac(LAN), station(LAN, 2), 0x0800, &packet.bytes())
    };
    let marked = alert(vec![148, 4, 0, 0]);
    host.input(LAN, std::slice::from_ref(&marked));
    assert_eq!(host.sent().len(), 1, "nobody registered: it passes");
    let socket = host.stack.raw_open(Family::Ipv4, 46, Owner(1)).unwrap();
    host.stack.raw_set(socket, Opt::RouterAlert(Some(0))).unwrap();
    host.input(LAN, &[marked.clone(), alert(vec![7, 4, 4, 0]), alert(Vec::new())]);
    assert_eq!(host.sent().len(), 2, "the others pass");
    assert_eq!(raw_read(&mut host, socket), Ok(marked[14..].to_vec()));
    assert_eq!(raw_read(&mut host, socket), Err(Error::WouldBlock));
    host.turn(|stack, turn| stack.raw_close(turn, socket));
    host.input(LAN, &[marked]);
    assert_eq!(host.sent().len(), 1);
}

#[test]
fn transit_ipv6_packets_with_a_router_alert_end_at_the_sockets_that_registered_for_its_value() {
    let mut host = host();
    let alert = |value: u8| {
        let mut payload = vec![253, 0, 5, 2, 0, value, 1, 0];
        payload.extend(b"body");
        let packet = V6 {
            word: 6 << 28,
            next_header: 0,
            hop_limit: 9,
            source: "fd00:1::2".parse().unwrap(),
            destination: "fd00:2::2".parse().unwrap(),
            payload,
        };
        ethernet(our_mac(LAN), station(LAN, 2), 0x86dd, &packet.bytes())
    };
    let socket = host.stack.raw_open(Family::Ipv6, 255, Owner(1)).unwrap();
    host.stack.raw_set(socket, Opt::RouterAlert(Some(1))).unwrap();
    host.input(LAN, &[alert(0), alert(1)]);
    assert_eq!(host.sent().len(), 1, "another value passes");
    assert_eq!(raw_read(&mut host, socket), Ok(alert(1)[14..].to_vec()));
}

fn pings(client: &str, family: Family, request: u8, reply: u8) {
    let mut host = host();
    let protocol = if family == Family::Ipv4 { 1 } else { 58 };
    let header = if family == Family::Ipv4 { 34 } else { 54 };
    let socket = host.stack.ping_open(family, Owner(1)).unwrap();
    let other = host.stack.ping_open(family, Owner(2)).unwrap();
    let any = if family == Family::Ipv4 { "0.0.0.0" } else { "[::]" };
    host.stack.raw_bind(socket, at(&format!("{any}:4660"))).unwrap();
    assert_eq!(host.stack.raw_bind(other, at(&format!("{any}:4660"))), Err(Error::AddressInUse));
    assert_eq!(
        raw_send(&mut host, socket, client, &[reply, 0, 0, 0, 0, 0, 0, 1]),
        Err(Error::InvalidArgument)
    );
    let mine = [request, 0, 0xff, 0xff, 9, 9, 0, 1, b'h', b'i'];
    raw_send(&mut host, socket, client, &mine).unwrap();
    raw_send(&mut host, other, client, &mine).unwrap();
    let sent = host.sent();
    let message = &sent[0].1[header..];
    assert_eq!(
        (message[0], &message[4..]),
        (request, &[0x12, 0x34, 0, 1, b'h', b'i'][..]),
        "the identifier is ours"
    );
    assert_ne!(sent[1].1[header + 4..header + 6], message[4..6], "another socket, another identifier");
    // `upper` makes identifier 0x1234, sequence 1.
    let answer = upper(protocol, ip(client), us(ip(client)), [reply, 0], b"hi");
    host.input(LAN, &[packet(protocol, ip(client), us(ip(client)), answer.clone())]);
    assert_eq!(raw_read(&mut host, socket), Ok(answer), "from the ICMP header on");
    assert_eq!(raw_read(&mut host, other), Err(Error::WouldBlock));
    // And its errors.
    host.stack.raw_set(socket, Opt::ReceiveErrors(true)).unwrap();
    let unreachable = if family == Family::Ipv4 { [3, 1] } else { [1, 3] };
    host.input(LAN, &[error_about(&sent[0].1, client, unreachable, 0)]);
    assert_eq!(raw_read(&mut host, socket), Err(Error::HostUnreachable));
    assert_eq!(host.stack.raw_recv_error(socket, &mut [0; 99]).unwrap().error, Error::HostUnreachable);
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_ping_socket_hears_the_replies_to_its_own_requests_over_ipv4() {
    pings("10.0.1.2", Family::Ipv4, 8, 0);
}

#[test]
fn a_ping_socket_hears_the_replies_to_its_own_requests_over_ipv6() {
    pings("fd00:1::2", Family::Ipv6, 128, 129);
}

/// TTL or hop limit, and type of service or traffic class, of what a frame carries.
fn marks(frame: &[u8]) -> (u8, u8) {
    match frame[12..14] {
        [8, 0] => (frame[22], frame[15]),
        _ => (frame[21], frame[14] << 4 | frame[15] >> 4),
    }
}

#[test]
fn a_socket_of_both_families_has_options_for_each() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv6, "[::]:53");
    set(&mut host, socket, Opt::Ttl(Some(7)));
    set(&mut host, socket, Opt::Tos(0x20));
    host.stack.udp_set_mapped(socket, Opt::Ttl(Some(9))).unwrap();
    host.stack.udp_set_mapped(socket, Opt::Tos(0x40)).unwrap();
    for (to, expected) in [("[fd00:1::2]:9", (7, 0x20)), ("[::ffff:10.0.1.2]:9", (9, 0x40))] {
        send(&mut host, socket, SendArgs::to(at(to)), b"x").unwrap();
        let sent = host.sent();
        assert_eq!(marks(&sent[0].1), expected, "{to}");
    }
    let other = server(&mut host, Family::Ipv4, "0.0.0.0:54");
    assert_eq!(host.stack.udp_set_mapped(other, Opt::Tos(1)), Err(Error::NoSuchOption));
}

#[test]
fn a_sticky_source_counts_where_the_datagram_names_none() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv6, "[::]:53");
    let lan = PortId::new(LAN);
    set(&mut host, socket, Opt::Sticky(Some(us(ip("fd00:1::2"))), lan));
    send(&mut host, socket, SendArgs::to(at("[fd00:1::2]:9")), b"x").unwrap();
    assert_eq!(host.sent().len(), 1);
    set(&mut host, socket, Opt::Sticky(Some(ip("fd00:99::1")), None));
    assert_eq!(
        host.turn(|stack, turn| stack.udp_set(turn, socket, Opt::Sticky(None, PortId::new(60)))),
        Err(Error::NoDevice)
    );
    set(&mut host, socket, Opt::Sticky(None, None));
    set(&mut host, socket, Opt::UnicastInterface(lan));
    send(&mut host, socket, SendArgs::to(at("[fd00:1::2]:9")), b"x").unwrap();
    assert_eq!(host.sent().len(), 1);
    assert_eq!(host.stack.udp_path_mtu(host.now, socket), Err(Error::NotConnected));
}
