//! Where datagrams go and may go: broadcasts, ourselves, names that are refused, sockets that were shut down; options of a
//! socket of both families.

use super::client::*;

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
