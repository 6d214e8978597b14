//! ICMP errors come to the socket that caused them, and teach the path MTU.

use super::client::*;
use flumen_stack::socket::{MtuDiscovery, Origin, Ready};

/// An ICMP error from the client about `sent`, a frame of ours.
pub fn error_about(sent: &[u8], from: &str, kind: [u8; 2], word: u32) -> Vec<u8> {
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
