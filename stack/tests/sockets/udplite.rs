//! Conversations with UDP-Lite sockets (RFC 3828): what differs from UDP, and that the rest does not. The node is the one of
//! `common`: 10.0.1.1 and fd00:1::1 on `lan`; the client is 10.0.1.2, fd00:1::2.

use super::client::*;
use flumen_stack::checksum::Sum;
use flumen_stack::socket::SocketId;
use flumen_stack::wire::udplite;

const UDP_LITE: u8 = 136;
/// The client's port.
const CLIENT_PORT: u16 = 12_345;

/// The client's address and ours, of both families.
const FAMILIES: [(&str, &str, Family); 2] =
    [("10.0.1.2", "10.0.1.1", Family::Ipv4), ("fd00:1::2", "fd00:1::1", Family::Ipv6)];

fn pseudo(source: IpAddr, destination: IpAddr, len: usize) -> Sum {
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => checksum::pseudo_ipv4(from, to, UDP_LITE, len as u16),
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum::pseudo_ipv6(&from, &to, UDP_LITE, len as u32),
        _ => panic!("one family"),
    }
}

/// A datagram of the client for `to`, from its UDP-Lite header on; `coverage` as the field has it.
fn message(source: &str, to: SocketAddr, coverage: u16, data: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 8];
    udplite::Header::new(CLIENT_PORT, to.port(), coverage).emit(&mut message).unwrap();
    message.extend(data);
    let pseudo = pseudo(ip(source), to.ip(), message.len());
    udplite::fill_checksum(&mut message, pseudo);
    message
}

fn lite(source: &str, to: SocketAddr, coverage: u16, data: &[u8]) -> Vec<u8> {
    packet(UDP_LITE, ip(source), to.ip(), message(source, to, coverage, data))
}

/// What the client sees in a frame: the coverage, ports, the data; the covered part is verified to be whole.
fn seen(frame: &[u8]) -> (u16, [u16; 2], Vec<u8>) {
    let (source, destination, upper) = match frame[12..14] {
        [8, 0] => {
            assert_eq!(frame[23], UDP_LITE);
            let [from, to]: [[u8; 4]; 2] = [26, 30].map(|at| frame[at..at + 4].try_into().unwrap());
            (IpAddr::from(from), IpAddr::from(to), &frame[34..])
        }
        _ => {
            assert_eq!(frame[20], UDP_LITE);
            let [from, to]: [[u8; 16]; 2] = [22, 38].map(|at| frame[at..at + 16].try_into().unwrap());
            (IpAddr::from(from), IpAddr::from(to), &frame[54..])
        }
    };
    let (header, covered) = udplite::Header::receive(upper, upper.len()).unwrap();
    let pseudo = pseudo(source, destination, upper.len());
    assert!(pseudo.plus(checksum::sum(&upper[..covered])).is_valid(), "checksum");
    let ports = [header.source_port.get(), header.destination_port.get()];
    (header.coverage.get(), ports, upper[8..].to_vec())
}

fn server(host: &mut Router, family: Family, name: &str) -> Handle {
    let socket = host.stack.udplite_open(family, Owner(1)).unwrap();
    host.stack.udp_bind(socket, at(name)).unwrap();
    socket
}

fn dropped(host: &Router, reason: DropReason) -> u64 {
    host.stack.counters.dropped(reason)
}

#[test]
fn a_question_is_answered_over_both_families_and_counted_as_udp_lite() {
    for (client, us, family) in FAMILIES {
        let mut host = host();
        let to = SocketAddr::new(ip(us), 53);
        let socket = server(&mut host, family, &to.to_string());
        let of_udp = host.stack.udp_open(family, Owner(2)).unwrap();
        host.stack.udp_bind(of_udp, to).unwrap();
        host.input(LAN, &[lite(client, to, 0, b"question")]);
        assert_eq!(host.stack.events.pop(), Some(SocketId::Udp(socket)));
        assert_eq!(read(&mut host, of_udp), Err(Error::WouldBlock), "its port is another one");
        let got = host.stack.udp_recv(socket, &mut [0; 100]).unwrap();
        assert_eq!((got.len, got.from), (8, SocketAddr::new(ip(client), CLIENT_PORT)));
        assert_eq!(send(&mut host, socket, SendArgs::to(got.from), b"answer"), Ok(6));
        let [(LAN, answer)] = &host.sent()[..] else { panic!() };
        assert_eq!(seen(answer), (14, [53, CLIENT_PORT], b"answer".to_vec()));
        let counters = &host.stack.counters;
        let counted = [Counter::UdpLiteIn, Counter::UdpLiteOut, Counter::UdpIn, Counter::UdpOut];
        assert_eq!(counted.map(|counter| counters.get(counter)), [1, 1, 0, 0]);
        let rows: Vec<_> = host.stack.udp_rows().map(|row| (row.protocol, row.local)).collect();
        assert_eq!(rows, [("udplite", to), ("udp", to)]);
        assert_nothing_is_held(&mut host);
    }
}

#[test]
fn what_a_checksum_does_not_cover_may_be_damaged_and_what_it_covers_may_not() {
    for (client, us, family) in FAMILIES {
        let mut host = host();
        let to = SocketAddr::new(ip(us), 53);
        let socket = server(&mut host, family, &to.to_string());
        for (coverage, damaged, arrives) in
            [(10, 10, true), (10, 9, false), (8, 8, true), (8, 3, false), (0, 13, false), (14, 13, false)]
        {
            let mut message = message(client, to, coverage, b"speech");
            message[damaged] ^= 0x20;
            host.input(LAN, &[packet(UDP_LITE, ip(client), to.ip(), message.clone())]);
            // Port 53 with bit 5 changed is another one.
            let expected = if arrives { Ok(message[8..].to_vec()) } else { Err(Error::WouldBlock) };
            assert_eq!(read(&mut host, socket), expected, "coverage {coverage}, byte {damaged}");
        }
        assert_eq!(dropped(&host, DropReason::TransportBadChecksum), 4);
        assert!(host.sent().is_empty(), "nobody is told of a broken datagram");
        assert_nothing_is_held(&mut host);
    }
}

#[test]
fn an_impossible_coverage_and_a_checksum_of_zero_are_dropped() {
    for (client, us, family) in FAMILIES {
        let mut host = host();
        let to = SocketAddr::new(ip(us), 53);
        let socket = server(&mut host, family, &to.to_string());
        let mut malformed = 0;
        for coverage in (1..8).chain([15, 100, u16::MAX]) {
            let mut message = message(client, to, 0, b"speech");
            message[4..6].copy_from_slice(&coverage.to_be_bytes());
            // The checksum is right for all of it, as a sender that knows no better would have it.
            message[6..8].fill(0);
            let pseudo = pseudo(ip(client), to.ip(), message.len());
            let right = pseudo.plus(checksum::sum(&message)).checksum_nonzero();
            message[6..8].copy_from_slice(&right.to_be_bytes());
            host.input(LAN, &[packet(UDP_LITE, ip(client), to.ip(), message)]);
            malformed += 1;
            assert_eq!(dropped(&host, DropReason::TransportMalformed), malformed, "{coverage}");
        }
        host.input(LAN, &[packet(UDP_LITE, ip(client), to.ip(), vec![0, 9, 0, 53, 0, 0, 7])]);
        assert_eq!(dropped(&host, DropReason::TransportMalformed), malformed + 1, "seven bytes");
        let mut unsummed = message(client, to, 0, b"speech");
        unsummed[6..8].fill(0);
        host.input(LAN, &[packet(UDP_LITE, ip(client), to.ip(), unsummed)]);
        assert_eq!(dropped(&host, DropReason::TransportBadChecksum), 1);
        assert_eq!(read(&mut host, socket), Err(Error::WouldBlock));
        assert!(host.sent().is_empty());
        assert_nothing_is_held(&mut host);
    }
}

#[test]
fn a_receiver_takes_nothing_that_is_covered_less_than_it_asks_for() {
    for (client, us, family) in FAMILIES {
        let mut host = host();
        let to = SocketAddr::new(ip(us), 53);
        let socket = server(&mut host, family, &to.to_string());
        let takes = |host: &mut Router, coverage| {
            host.input(LAN, &[lite(client, to, coverage, b"speech")]);
            read(host, socket).is_ok()
        };
        assert!(takes(&mut host, 8), "whoever asks for nothing takes all");
        set(&mut host, socket, Opt::ReceiveCoverage(12));
        assert_eq!(
            [8, 11, 12, 14, 0].map(|coverage| takes(&mut host, coverage)),
            [false, false, true, true, true]
        );
        set(&mut host, socket, Opt::ReceiveCoverage(0));
        assert_eq!([8, 13, 14, 0].map(|coverage| takes(&mut host, coverage)), [false, false, true, true]);
        set(&mut host, socket, Opt::ReceiveCoverage(100));
        assert!(takes(&mut host, 0), "covered as a whole, it is covered enough");
        assert_eq!(dropped(&host, DropReason::UdpLiteCoverage), 4);
        assert!(host.sent().is_empty(), "somebody listens there");
        assert_nothing_is_held(&mut host);
    }
}

#[test]
fn a_sender_says_how_much_is_covered() {
    for (client, us, family) in FAMILIES {
        let mut host = host();
        let to = SocketAddr::new(ip(client), 9);
        let socket = server(
            &mut host,
            family,
            &format!("{}:53", SocketAddr::new(ip(us), 0).to_string().trim_end_matches(":0")),
        );
        let sent = |host: &mut Router| {
            send(host, socket, SendArgs::to(to), b"speech").unwrap();
            let (coverage, _, data) = seen(&host.sent().remove(0).1);
            assert_eq!(data, b"speech");
            coverage
        };
        assert_eq!(sent(&mut host), 14, "all, and the field has the length");
        for (asked, said) in [(8, 8), (10, 10), (13, 13), (14, 14), (100, 14), (0, 0)] {
            set(&mut host, socket, Opt::SendCoverage(asked));
            assert_eq!(sent(&mut host), said, "{asked}");
        }
        // SO_NO_CHECK and its kin are UDP's.
        for option in [Opt::NoChecksum(true), Opt::NoChecksum6Tx(true), Opt::SendCoverage(9)] {
            set(&mut host, socket, option);
        }
        assert_eq!(sent(&mut host), 9);
    }
}

#[test]
fn what_is_not_covered_does_not_change_the_checksum() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "10.0.1.1:53");
    set(&mut host, socket, Opt::SendCoverage(10));
    let mut sums = [b"speech", b"spXXXX", b"Xpeech"].map(|data| {
        send(&mut host, socket, SendArgs::to(at("10.0.1.2:9")), data).unwrap();
        host.sent().remove(0).1[40..42].to_vec()
    });
    assert_eq!(sums[0], sums[1]);
    assert_ne!(sums[0], sums[2]);
    // Corked, it lies in blocks before it is summed.
    set(&mut host, socket, Opt::Cork(true));
    for part in [&b"sp"[..], b"eech"] {
        send(&mut host, socket, SendArgs::to(at("10.0.1.2:9")), part).unwrap();
    }
    set(&mut host, socket, Opt::Cork(false));
    sums[1] = host.sent().remove(0).1[40..42].to_vec();
    assert_eq!(sums[0], sums[1]);
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_port_number_is_held_once_by_each_protocol() {
    let mut host = host();
    let first = server(&mut host, Family::Ipv4, "10.0.1.1:53");
    let second = host.stack.udplite_open(Family::Ipv4, Owner(1)).unwrap();
    assert_eq!(host.stack.udp_bind(second, at("10.0.1.1:53")), Err(Error::AddressInUse));
    let of_udp = host.stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
    assert_eq!(host.stack.udp_bind(of_udp, at("10.0.1.1:53")), Ok(()));
    host.turn(|stack, turn| stack.udp_close(turn, first));
    assert_eq!(host.stack.udp_bind(second, at("10.0.1.1:53")), Ok(()));
}

#[test]
fn a_port_that_nobody_listens_on_is_unreachable_and_the_sender_of_ours_hears_it() {
    for (client, us, family) in FAMILIES {
        let mut host = host();
        let to = SocketAddr::new(ip(us), 53);
        host.input(LAN, &[lite(client, to, 9, b"anybody?")]);
        let [(LAN, error)] = &host.sent()[..] else { panic!() };
        let code = if family == Family::Ipv4 { &error[34..36] } else { &error[54..56] };
        assert_eq!(code, if family == Family::Ipv4 { [3, 3] } else { [1, 4] });
        assert_eq!(dropped(&host, DropReason::PortUnreachable), 1);
        // The same about what we sent; one that quotes UDP is about somebody else.
        let socket = server(&mut host, family, &to.to_string());
        let of_udp = host.stack.udp_open(family, Owner(2)).unwrap();
        host.stack.udp_bind(of_udp, to).unwrap();
        for one in [socket, of_udp] {
            host.stack.udp_connect(host.now, one, Some(SocketAddr::new(ip(client), 9))).unwrap();
        }
        host.turn(|stack, turn| stack.udp_send(turn, socket, &SendArgs::default(), b"anybody?")).unwrap();
        let quoted = host.sent().remove(0).1[14..].to_vec();
        let kind = if family == Family::Ipv4 { [3, 3] } else { [1, 4] };
        let protocol = if family == Family::Ipv4 { 1 } else { 58 };
        let mut body = upper(protocol, ip(client), ip(us), kind, &quoted);
        body[4..8].fill(0);
        body[2..4].fill(0);
        let sum = match (ip(client), ip(us)) {
            (IpAddr::V6(from), IpAddr::V6(to)) => checksum::pseudo_ipv6(&from, &to, 58, body.len() as u32),
            _ => Sum::ZERO,
        };
        let right = sum.plus(checksum::sum(&body)).checksum();
        body[2..4].copy_from_slice(&right.to_be_bytes());
        let mut frame = packet(UDP_LITE, ip(client), ip(us), body);
        let named_at = if family == Family::Ipv4 { 23 } else { 20 };
        frame[named_at] = protocol;
        if family == Family::Ipv4 {
            frame[24..26].fill(0);
            let right = checksum::sum(&frame[14..34]).checksum();
            frame[24..26].copy_from_slice(&right.to_be_bytes());
        }
        host.input(LAN, &[frame]);
        assert_eq!(host.stack.udp_take_error(of_udp), None);
        assert_eq!(host.stack.udp_take_error(socket), Some(Error::ConnectionRefused));
        assert_nothing_is_held(&mut host);
    }
}

#[test]
fn broadcasts_and_groups_reach_every_socket_that_takes_their_coverage() {
    let mut host = host();
    let sockets = [None, Some(0), Some(10)].map(|least| {
        let socket = host.stack.udplite_open(Family::Ipv4, Owner(1)).unwrap();
        set(&mut host, socket, Opt::ReuseAddress(true));
        host.stack.udp_bind(socket, at("0.0.0.0:67")).unwrap();
        if let Some(least) = least {
            set(&mut host, socket, Opt::ReceiveCoverage(least));
        }
        let group = ip("239.1.1.1");
        host.turn(|stack, turn| stack.group_join(turn, SocketId::Udp(socket), PortId::new(LAN), group))
            .unwrap();
        socket
    });
    host.sent();
    for to in ["10.0.1.255:67", "239.1.1.1:67"] {
        for (coverage, expected) in [(0, [true; 3]), (9, [true, false, false]), (10, [true, false, true])] {
            host.input(LAN, &[lite("10.0.1.2", at(to), coverage, b"all")]);
            assert_eq!(sockets.map(|socket| read(&mut host, socket).is_ok()), expected, "{to} {coverage}");
        }
        let mut damaged = message("10.0.1.2", at(to), 9, b"all");
        damaged[8] ^= 1;
        host.input(LAN, &[packet(UDP_LITE, ip("10.0.1.2"), at(to).ip(), damaged)]);
        assert_eq!(sockets.map(|socket| read(&mut host, socket).is_ok()), [false; 3]);
    }
    assert_eq!(dropped(&host, DropReason::TransportBadChecksum), 2);
    assert!(host.sent().is_empty());
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_long_datagram_is_cut_and_put_together_with_the_coverage_that_it_had() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "10.0.1.1:53");
    set(&mut host, socket, Opt::SendCoverage(2000));
    let data: Vec<u8> = (0..4000u32).map(|index| index as u8).collect();
    send(&mut host, socket, SendArgs::to(at("10.0.1.2:9")), &data).unwrap();
    let fragments = host.sent();
    assert_eq!(fragments.len(), 3);
    let whole: Vec<u8> = fragments.iter().flat_map(|(_, frame)| frame[34..].to_vec()).collect();
    let pseudo = pseudo(ip("10.0.1.1"), ip("10.0.1.2"), 4008);
    let (header, covered) = udplite::Header::receive(&whole, whole.len()).unwrap();
    assert_eq!((header.coverage.get(), covered, &whole[8..]), (2000, 2000, &data[..]));
    assert!(pseudo.plus(checksum::sum(&whole[..2000])).is_valid());
    // Back again, with damage in the last fragment, which nothing covers.
    let mut message = message("10.0.1.2", at("10.0.1.1:53"), 2000, &data);
    message[3500] ^= 1;
    for (index, part) in message.chunks(1480).enumerate() {
        let more = if index < 2 { 0x2000 } else { 0 };
        let packet = V4 {
            tos: 0,
            id: 7,
            fragment: more | (index * 1480 / 8) as u16,
            ttl: 61,
            protocol: UDP_LITE,
            source: "10.0.1.2".parse().unwrap(),
            destination: "10.0.1.1".parse().unwrap(),
            options: Vec::new(),
            payload: part.to_vec(),
        };
        host.input(LAN, &[ethernet(our_mac(LAN), station(LAN, 2), 0x0800, &packet.bytes())]);
    }
    assert_eq!(read(&mut host, socket), Ok(message[8..].to_vec()));
    assert_nothing_is_held(&mut host);
}

#[test]
fn segments_are_neither_made_nor_joined_and_the_options_are_udp_lites_alone() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "10.0.1.1:53");
    set(&mut host, socket, Opt::Gro(true));
    host.input(LAN, &[b"one", b"two"].map(|data| lite("10.0.1.2", at("10.0.1.1:53"), 0, data)));
    assert_eq!([(); 2].map(|()| read(&mut host, socket)), [Ok(b"one".to_vec()), Ok(b"two".to_vec())]);
    let control = SendControl { segment: Some(4), ..Default::default() };
    let args = SendArgs { control, ..SendArgs::to(at("10.0.1.2:9")) };
    let mut cut = |data: &[u8]| host.turn(|stack, turn| stack.udp_send(turn, socket, &args, data));
    assert_eq!(cut(b"in three parts"), Err(Error::InputOutput), "as Linux");
    assert_eq!(cut(b"one"), Err(Error::InputOutput));
    assert_eq!(cut(&[0; 4 * 65]), Err(Error::InvalidArgument));
    assert!(host.sent().is_empty());
    let of_udp = host.stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
    for option in [Opt::SendCoverage(8), Opt::ReceiveCoverage(8)] {
        let answer = host.turn(|stack, turn| stack.udp_set(turn, of_udp, option));
        assert_eq!(answer, Err(Error::NoSuchOption));
    }
}

#[test]
fn what_we_send_to_ourselves_arrives() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "10.0.1.1:53");
    let sender = host.stack.udplite_open(Family::Ipv4, Owner(1)).unwrap();
    set(&mut host, sender, Opt::SendCoverage(8));
    assert_eq!(send(&mut host, sender, SendArgs::to(at("10.0.1.1:53")), b"to ourselves"), Ok(12));
    assert_eq!(read(&mut host, socket), Ok(b"to ourselves".to_vec()));
    assert_nothing_is_held(&mut host);
}
