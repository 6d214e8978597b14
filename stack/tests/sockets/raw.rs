//! Raw and ping sockets.

use super::client::*;
use super::errors::error_about;
use flumen_stack::socket::Ready;

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
