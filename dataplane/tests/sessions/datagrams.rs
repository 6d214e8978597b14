//! UDP, ping and raw sockets.

use crate::client::{Client, House, house};
use flumen::session::policy::Claim;
use flumen_ipc::message::{Address, ErrorRecord, RECEIVED_HEAD, Received, ToSend};
use flumen_ipc::{Flags, Op};
use std::sync::atomic::Ordering::SeqCst;
use zerocopy::{FromBytes, IntoBytes};

const AT: &str = "10.0.1.1:5000";

fn to(address: &str) -> ToSend {
    ToSend { to: Address::from(address.parse::<std::net::SocketAddr>().unwrap()), ..ToSend::default() }
}

/// Writes one record; where it ends.
fn write(client: &Client, slot: u32, head: ToSend, payload: &[u8]) -> u64 {
    let record = ToSend { len: payload.len() as u32, ..head };
    let written = client.write(slot, &[record.as_bytes(), payload].concat());
    assert_eq!(written, record.as_bytes().len() + payload.len());
    client.arena.cell(slot).program.tx_tail.load(SeqCst)
}

/// Sends one and waits for its result.
fn send(house: &mut House, client: &Client, slot: u32, head: ToSend, payload: &[u8]) -> i64 {
    let head = ToSend { flags: head.flags | ToSend::WAITED_FOR, ..head };
    let end = write(client, slot, head, payload);
    house.call(client, Op::Send, slot, [end, 0, 0, 0])
}

fn receive(client: &Client, slot: u32) -> Option<(Received, Vec<u8>)> {
    if client.arena.cell(slot).readable() == 0 {
        return None;
    }
    let head = Received::read_from_bytes(&client.read(slot, RECEIVED_HEAD)).unwrap();
    Some((head, client.read(slot, head.len as usize)))
}

fn udp(house: &mut House, client: &Client, slot: u32) {
    house.open(client, slot, libc::AF_INET, libc::SOCK_DGRAM, 0);
}

#[test]
fn datagrams_come_whole_with_who_sent_them() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    udp(&mut house, &server, 1);
    assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
    udp(&mut house, &client, 1);
    assert_eq!(send(&mut house, &client, 1, to(AT), b"one"), 0);
    assert_eq!(send(&mut house, &client, 1, to(AT), b""), 0);
    write(&client, 1, to(AT), &[9; 60_000]);
    house.turns(4);
    assert!(server.news().contains(&1));
    let me = house.name(&client, 1, false);
    for (expected, ttl) in [(&b"one"[..], 64), (b"", 64), (&[9; 60_000], 64)] {
        let (head, payload) = receive(&server, 1).unwrap();
        assert_eq!((&payload[..], head.ttl), (expected, ttl));
        assert_eq!(head.from.port, me.port());
        assert_eq!(head.to.to_std().unwrap().to_string(), AT);
        assert_eq!(head.interface, 100);
        house.turns(2);
    }
    assert_eq!(receive(&server, 1), None);
}

#[test]
fn what_is_wrong_with_a_datagram_is_the_result_of_its_send() {
    let mut house = house(Claim::Owned);
    let client = house.attach(0);
    udp(&mut house, &client, 1);
    let no = |errno: i32| -i64::from(errno);
    assert_eq!(send(&mut house, &client, 1, ToSend::default(), b"x"), no(libc::EDESTADDRREQ));
    assert_eq!(send(&mut house, &client, 1, to("8.8.8.8:1"), b"x"), no(libc::ENETUNREACH));
    assert_eq!(send(&mut house, &client, 1, to("[fd00:1::1]:1"), b"x"), no(libc::EAFNOSUPPORT));
    assert_eq!(send(&mut house, &client, 1, ToSend { interface: 7, ..to(AT) }, b"x"), no(libc::ENODEV));
    assert_eq!(client.error(1), 0, "who waited was told, and nobody else");
    write(&client, 1, to("8.8.8.8:1"), b"x");
    house.turns(2);
    assert_eq!(client.error(1), libc::ENETUNREACH, "nobody waited");
}

#[test]
fn a_connected_socket_hears_that_nobody_is_there() {
    let mut house = house(Claim::Owned);
    let client = house.attach(0);
    udp(&mut house, &client, 1);
    assert_eq!(house.call(&client, Op::Shutdown, 1, [2, 0, 0, 0]), -i64::from(libc::ENOTCONN));
    assert_eq!(house.at(&client, Op::Connect, 1, AT), 0);
    assert_eq!(house.name(&client, 1, true).to_string(), AT);
    assert_eq!(send(&mut house, &client, 1, ToSend::default(), b"anybody?"), 0);
    house.turns(4);
    assert!(client.flags(1).contains(Flags::ERROR), "{:?}", client.flags(1));
    assert_eq!(client.error(1), libc::ECONNREFUSED);
    let (result, data) = house.call_with(&client, Op::ErrorQueue, 1, [0; 4], &[]);
    assert_eq!((result, data.len()), (-i64::from(libc::EAGAIN), 0), "IP_RECVERR is off");
    // Dissolved.
    assert_eq!(house.call(&client, Op::Connect, 1, [0; 4]), 0);
    assert_eq!(house.call_with(&client, Op::Name, 1, [1, 0, 0, 0], &[]).0, -i64::from(libc::ENOTCONN));
    const { assert!(size_of::<ErrorRecord>() < 128) };
}

#[test]
fn a_socket_that_nobody_reads_loses_what_is_too_much_and_counts_it() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    udp(&mut house, &server, 1);
    assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
    udp(&mut house, &client, 1);
    for _ in 0..1000 {
        write(&client, 1, to(AT), &[1; 1000]);
        house.turns(2);
    }
    let (mut got, mut drops) = (0, 0);
    while let Some((head, _)) = receive(&server, 1) {
        house.turns(2);
        (got, drops) = (got + 1, head.drops);
    }
    assert!((100..400).contains(&got), "{got}");
    assert_eq!(server.arena.cell(1).worker.drops.load(SeqCst), drops);
}

#[test]
fn a_ping_socket_pings_and_a_raw_one_needs_leave() {
    let mut house = house(Claim::Owned);
    let (root, user) = (house.attach(0), house.attach(1000));
    let raw = [libc::AF_INET as u64, libc::SOCK_RAW as u64, libc::IPPROTO_ICMP as u64, 0];
    assert_eq!(house.call(&user, Op::Open, 1, raw), -i64::from(libc::EPERM));
    assert_eq!(house.call(&root, Op::Open, 1, raw), 0);
    house.open(&user, 1, libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP);
    let echo = [8, 0, 0, 0, 0, 0, 0, 1, b'h', b'i'];
    assert_eq!(send(&mut house, &user, 1, to("10.0.1.1:0"), &echo), 0);
    house.turns(4);
    let (head, reply) = receive(&user, 1).unwrap();
    assert_eq!((reply[0], &reply[6..]), (0, &[0, 1, b'h', b'i'][..]));
    assert_eq!(head.from.to_std().unwrap().to_string(), "10.0.1.1:0");
    // The raw socket heard the question and the answer, with their IP headers.
    let heard: Vec<u8> = std::iter::from_fn(|| receive(&root, 1)).map(|(_, packet)| packet[20]).collect();
    assert_eq!(heard, [8, 0]);
}

#[test]
fn ip_options_stand_behind_the_payload_and_those_for_the_answer_behind_them() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    udp(&mut house, &server, 1);
    assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
    house.open(&client, 1, libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW);
    // A header of its own: a route that we shall be in, and one with half a place behind.
    let packet = |options: &[u8], data: &[u8]| {
        let header_len = 20 + options.len();
        let mut packet = vec![0x40 | (header_len / 4) as u8, 0, 0, 0, 0, 0, 0, 0, 9, 17, 0, 0];
        packet.extend([10, 0, 1, 1, 10, 0, 1, 1]);
        packet.extend(options);
        packet.extend([3, 231, 0x13, 0x88, 0, 8 + data.len() as u8, 0, 0]);
        packet.extend(data);
        packet
    };
    let (route, half) = ([7, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0], [7, 9, 4, 1, 2, 3, 4, 5, 6, 0, 0, 0]);
    for (options, data) in
        [(&route[..], &b"asks"[..]), (&[], b"plain"), (&half, b""), (&[148, 4, 0, 0], b"alert")]
    {
        assert_eq!(send(&mut house, &client, 1, to("10.0.1.1:0"), &packet(options, data)), 0);
    }
    house.turns(4);
    let next = || {
        let (head, payload) = receive(&server, 1).unwrap();
        let [len, options, returned] = head.behind();
        assert_eq!(payload.len(), len);
        (payload, server.read(1, options), head.returned, server.read(1, returned))
    };
    let (back, recorded) = ([7, 11, 8, 10, 0, 1, 1, 0, 0, 0, 0, 0], [7, 11, 8, 10, 0, 1, 1, 5, 6, 7, 8, 0]);
    assert_eq!(next(), (b"asks".to_vec(), recorded.to_vec(), 12, back.to_vec()));
    assert_eq!(next(), (b"plain".to_vec(), vec![], 0, vec![]));
    let half = [7, 9, 8, 10, 0, 1, 1, 5, 6, 0, 0, 0];
    assert_eq!(next(), (vec![], half.to_vec(), Received::NOTHING_TO_RETURN, vec![]));
    assert_eq!(next(), (b"alert".to_vec(), vec![148, 4, 0, 0], 0, vec![]), "nothing goes back");
    assert!(receive(&server, 1).is_none());
}

#[test]
fn ip_options_to_send_are_the_sockets_or_stand_behind_the_payload() {
    let no = |errno: i32| -i64::from(errno);
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(1000));
    udp(&mut house, &server, 1);
    assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
    udp(&mut house, &client, 1);
    let name = [libc::SOL_IP as u64, libc::IP_OPTIONS as u64, 0, 0];
    let route = [7, 7, 4, 9, 9, 9, 9];
    for (options, wanted) in [
        (&route[..], 0),
        (&[0; 41], no(libc::EINVAL)),
        (&[7, 9, 4, 0], no(libc::EINVAL)),
        (&[0x9e, 4, 0, 0], no(libc::EINVAL)), // root alone
    ] {
        assert_eq!(house.call_with(&client, Op::SetOption, 1, name, options).0, wanted, "{options:?}");
    }
    let got = |house: &mut House, longest: u64| {
        let (_, bytes) = house.call_with(&client, Op::GetOption, 1, [name[0], name[1], longest, 0], &[]);
        bytes
    };
    assert_eq!(got(&mut house, 64), [7, 7, 4, 0, 0, 0, 0, 0], "padded, and its place is empty");
    assert_eq!(got(&mut house, 3), [7, 7, 4]);
    let of_one =
        |options: &[u8]| ToSend { options: options.len() as u32, flags: ToSend::HAS_OPTIONS, ..to(AT) };
    let send_with = |house: &mut House, options: &[u8], data: &[u8]| {
        let head = of_one(options);
        let record = ToSend { len: data.len() as u32, flags: head.flags | ToSend::WAITED_FOR, ..head };
        client.write(1, &[record.as_bytes(), data, options].concat());
        let end = client.arena.cell(1).program.tx_tail.load(SeqCst);
        house.call(&client, Op::Send, 1, [end, 0, 0, 0])
    };
    assert_eq!(send(&mut house, &client, 1, to(AT), b"the socket's"), 0);
    assert_eq!(send_with(&mut house, &[148, 4, 0, 0], b"its own"), 0);
    assert_eq!(send_with(&mut house, &[], b"none"), 0);
    assert_eq!(send_with(&mut house, &[7, 2, 4, 0], b"malformed"), no(libc::EINVAL));
    assert_eq!(send_with(&mut house, &[0; 40], b"as many as fit"), 0);
    house.turns(4);
    let next = || {
        let (head, payload) = receive(&server, 1).unwrap();
        let [_, options, returned] = head.behind();
        let options = server.read(1, options);
        server.read(1, returned);
        (payload, options)
    };
    assert_eq!(next(), (b"the socket's".to_vec(), vec![7, 7, 8, 10, 0, 1, 1, 0]), "full when it left");
    assert_eq!(next(), (b"its own".to_vec(), vec![148, 4, 0, 0]));
    assert_eq!(next(), (b"none".to_vec(), vec![]));
    assert_eq!(next(), (b"as many as fit".to_vec(), vec![0; 40]));
    assert!(receive(&server, 1).is_none());
    // More than a header has room for is a lie: the socket ends.
    let lie = ToSend { options: 41, ..of_one(&[]) };
    write(&client, 1, lie, &[0; 64]);
    client.kick(1);
    house.turns(2);
    assert!(client.arena.cell(1).flags().contains(Flags::GONE));
}
