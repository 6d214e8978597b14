//! Datagrams between a socket and the client: answers, connected sockets, corks, full queues, checksums.

use super::client::*;
use flumen_stack::socket::{Ready, SocketId};

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
