//! Conversations about the IP options of datagrams (RFC 1122 sections 3.2.1.8 and 4.1.3.2): what sockets are given of them, and what they
//! send. The
//! node is the one of `common`: 10.0.1.1 on `lan`; the client is 10.0.1.2.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::*;
use core::net::{IpAddr, Ipv4Addr};
use flumen_stack::socket::{
    Error, Family, Handle, IpOptions, Opt, Owner, Received, SendArgs, SendControl, Waiting,
};
use flumen_stack::{FramePool, MacAddr};

const CLIENT: &str = "10.0.1.2";
const US: &str = "10.0.1.1";

/// An alert, a route with room for two, what nobody knows.
const ASKED: [u8; 20] = [148, 4, 0, 0, 7, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0x9e, 4, 1, 2, 0];
/// The same when we have it.
const RECORDED: [u8; 20] = [148, 4, 0, 0, 7, 11, 8, 10, 0, 1, 1, 5, 6, 7, 8, 0x9e, 4, 1, 2, 0];
/// What goes back.
const RETURNED: [u8; 12] = [7, 11, 8, 10, 0, 1, 1, 0, 0, 0, 0, 0];

fn host() -> Router {
    let mut router = Router::new(&rib(), Sizes::default(), interfaces());
    router.introduce();
    router
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A packet from the client, in a frame.
fn packet(protocol: u8, to: &str, options: &[u8], fragment: u16, payload: Vec<u8>) -> Vec<u8> {
    let destination = v4(to);
    let [_, b, c, d] = destination.octets();
    let group = MacAddr([1, 0, 0x5e, b & 0x7f, c, d]);
    let mac = if destination.is_multicast() { group } else { our_mac(LAN) };
    let (source, options) = (v4(CLIENT), options.to_vec());
    let packet = V4 { tos: 0, id: 7, fragment, ttl: 61, protocol, source, destination, options, payload };
    ethernet(mac, station(LAN, 2), 0x0800, &packet.bytes())
}

/// UDP from port 12345 to port 53.
fn udp(to: &str, data: &[u8]) -> Vec<u8> {
    upper(17, ip(CLIENT), IpAddr::V4(v4(to)), 53u16.to_be_bytes(), data)
}

fn server(host: &mut Router, family: Family) -> Handle {
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    let any = if family == Family::Ipv4 { "0.0.0.0:53" } else { "[::]:53" };
    host.stack.udp_bind(socket, any.parse().unwrap()).unwrap();
    socket
}

/// What a reader does: how long it is and what came beside it, then the datagram.
fn read(host: &mut Router, socket: Handle) -> Option<(Vec<u8>, IpOptions)> {
    let mut out = [0; 2000];
    let Waiting { len, options } = host.stack.udp_waiting(socket)?;
    let beside = host.stack.udp_options(socket);
    assert_eq!(beside.len(), options);
    let Received { len: copied, full_len, .. } = host.stack.udp_recv(socket, &mut out).unwrap();
    assert_eq!((copied, full_len), (len, len));
    Some((out[..len].to_vec(), beside))
}

fn raw_read(host: &mut Router, socket: Handle) -> (Vec<u8>, IpOptions) {
    let mut out = [0; 2000];
    let beside = host.stack.raw_options(socket);
    let len = host.stack.raw_recv(socket, &mut out).unwrap().len;
    (out[..len].to_vec(), beside)
}

#[track_caller]
fn assert_nothing_is_held(host: &mut Router) {
    assert_eq!(host.stack.blocks.in_use(), 0, "blocks");
    assert_eq!(host.pool.available(), 512, "frames");
}

#[test]
fn a_datagram_brings_its_options_with_our_record_in_them_and_others_bring_none() {
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut host = host();
        let socket = server(&mut host, family);
        assert_eq!(host.stack.udp_options(socket), IpOptions::NONE, "nothing waits");
        let frames = [
            packet(17, US, &[], 0, udp(US, b"plain")),
            packet(17, US, &ASKED, 0, udp(US, b"asks")),
            packet(17, US, &ASKED, 0, udp(US, b"")),
            packet(17, US, &[], 0, udp(US, b"plain again")),
        ];
        host.input(LAN, &frames);
        assert_eq!(read(&mut host, socket), Some((b"plain".to_vec(), IpOptions::NONE)));
        // Looking takes nothing, and a small buffer cuts the datagram, not what is beside it.
        let mut two = [0xff; 3];
        let seen = host.stack.udp_peek(socket, &mut two[..2]).unwrap();
        assert_eq!((seen.len, seen.full_len, &two), (2, 4, b"as\xff"));
        for data in [&b"asks"[..], b""] {
            let (bytes, options) = read(&mut host, socket).unwrap();
            assert_eq!((&bytes[..], &options[..]), (data, &RECORDED[..]));
            assert_eq!(&host.stack.options_to_return(&options).unwrap()[..], RETURNED);
        }
        assert_eq!(read(&mut host, socket), Some((b"plain again".to_vec(), IpOptions::NONE)));
        assert_eq!(read(&mut host, socket), None);
        assert_nothing_is_held(&mut host);
    }
}

#[test]
fn what_is_damaged_or_finds_no_room_leaves_nothing_of_its_options() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4);
    let mut damaged = packet(17, US, &ASKED, 0, udp(US, b"asks"));
    *damaged.last_mut().unwrap() ^= 1;
    host.input(LAN, &[damaged]);
    assert_eq!(host.stack.udp_waiting(socket), None);
    assert_nothing_is_held(&mut host);
    // The receive buffer counts them: 576 bytes a datagram, and what it has.
    host.turn(|stack, turn| stack.udp_set(turn, socket, Opt::ReceiveBuffer(1))).unwrap();
    let fit = 2304 / (576 + 192);
    let one = |options: &[u8]| packet(17, US, options, 0, udp(US, &[1; 172]));
    host.input(LAN, &[one(&ASKED), one(&ASKED), one(&ASKED), one(&ASKED)]);
    for _ in 0..fit {
        assert_eq!(read(&mut host, socket).unwrap().1[..], RECORDED);
    }
    assert_eq!(read(&mut host, socket), None);
    host.input(LAN, &[packet(17, US, &ASKED, 0, udp(US, b"last"))]);
    host.turn(|stack, turn| stack.udp_close(turn, socket));
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_datagram_with_options_is_joined_to_none_and_none_to_it() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4);
    host.turn(|stack, turn| stack.udp_set(turn, socket, Opt::Gro(true))).unwrap();
    let frames =
        [&[][..], &[], &ASKED, &[], &[]].map(|options| packet(17, US, options, 0, udp(US, &[1; 100])));
    host.input(LAN, &frames);
    let mut lengths = Vec::new();
    while let Some((bytes, options)) = read(&mut host, socket) {
        lengths.push((bytes.len(), options.len()));
    }
    assert_eq!(lengths, [(200, 0), (100, 20), (200, 0)]);
    assert_nothing_is_held(&mut host);
}

#[test]
fn all_who_hear_a_group_have_the_options_with_the_address_that_we_would_answer_from() {
    let mut host = host();
    let sockets = [(); 2].map(|()| {
        let socket = host.stack.udp_open(Family::Ipv4, Owner(1)).unwrap();
        host.turn(|stack, turn| stack.udp_set(turn, socket, Opt::ReuseAddress(true))).unwrap();
        host.stack.udp_bind(socket, "0.0.0.0:53".parse().unwrap()).unwrap();
        let id = flumen_stack::socket::SocketId::Udp(socket);
        host.turn(|stack, turn| stack.group_join(turn, id, Some(port(LAN)), ip("239.1.2.3"))).unwrap();
        socket
    });
    host.input(LAN, &[packet(17, "239.1.2.3", &ASKED, 0, udp("239.1.2.3", b"all"))]);
    for socket in sockets {
        let (bytes, options) = read(&mut host, socket).unwrap();
        assert_eq!((&bytes[..], &options[..]), (&b"all"[..], &RECORDED[..]));
    }
}

#[test]
fn what_comes_in_fragments_is_recorded_once() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4);
    let whole = udp(US, &[7; 100]);
    let parts = [
        packet(17, US, &ASKED, 0x2000, whole[..64].to_vec()),
        packet(17, US, &[148, 4, 0, 0], 8, whole[64..].to_vec()),
    ];
    host.input(LAN, &parts);
    let (bytes, options) = read(&mut host, socket).unwrap();
    assert_eq!((&bytes[..], &options[..]), (&[7; 100][..], &RECORDED[..]));
}

#[test]
fn raw_and_ping_sockets_have_them_too() {
    let mut host = host();
    let raw = host.stack.raw_open(Family::Ipv4, 1, Owner(1)).unwrap();
    let ping = host.stack.ping_open(Family::Ipv4, Owner(2)).unwrap();
    host.stack.raw_bind(ping, "0.0.0.0:4660".parse().unwrap()).unwrap();
    // An answer to a ping with identifier 0x1234.
    let answer = upper(1, ip(CLIENT), ip(US), [0, 0], b"hi");
    host.input(LAN, &[packet(1, US, &ASKED, 0, answer.clone())]);
    assert_eq!(host.stack.raw_waiting(ping), Some(Waiting { len: answer.len(), options: 20 }));
    let (bytes, options) = raw_read(&mut host, ping);
    assert_eq!((&bytes, &options[..]), (&answer, &RECORDED[..]));
    // A raw socket sees its packet as everybody else does: what we recorded is in it, and its header's sum is right.
    let (bytes, options) = raw_read(&mut host, raw);
    assert_eq!((&bytes[20..40], &bytes[40..], &options[..]), (&RECORDED[..], &answer[..], &RECORDED[..]));
    assert!(flumen_stack::checksum::sum(&bytes[..40]).is_valid());
    assert_eq!(host.stack.raw_recv(raw, &mut []).unwrap_err(), Error::WouldBlock);
    assert_nothing_is_held(&mut host);
}

#[test]
fn a_record_without_room_for_the_next_address_cannot_go_back() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4);
    host.input(LAN, &[packet(17, US, &[7, 9, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, udp(US, b"odd"))]);
    let (_, options) = read(&mut host, socket).unwrap();
    assert_eq!(&options[..], [7, 9, 8, 10, 0, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(host.stack.options_to_return(&options), None);
    assert_eq!(host.stack.options_to_return(&IpOptions::NONE), Some(IpOptions::NONE));
}

/// Room for a route of two, and an alert.
const WANTED: [u8; 15] = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 148, 4, 0, 0];
/// The same when it leaves us.
const LEAVING: [u8; 16] = [7, 11, 8, 10, 0, 1, 1, 0, 0, 0, 0, 148, 4, 0, 0, 0];

fn to_send(host: &Router, options: &[u8]) -> IpOptions {
    host.stack.options_to_send(options, false).unwrap()
}

/// What left: the options of the packet, and what is behind its header. Its header's sum is right.
fn left(host: &mut Router) -> Vec<(Vec<u8>, Vec<u8>)> {
    let behind = |(_, frame): (usize, Vec<u8>)| {
        let header_len = usize::from(frame[14] & 15) * 4;
        let (header, payload) = frame[14..].split_at(header_len);
        assert!(flumen_stack::checksum::sum(header).is_valid());
        assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]])), header_len + payload.len());
        (header[20..].to_vec(), payload.to_vec())
    };
    host.sent().into_iter().map(behind).collect()
}

#[test]
fn datagrams_leave_with_the_options_that_the_socket_has_or_that_are_said_of_one() {
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut host = host();
        let socket = server(&mut host, family);
        let (options, alert) = (to_send(&host, &WANTED), to_send(&host, &[148, 4, 0, 0]));
        let set = |host: &mut Router, options| match family {
            Family::Ipv4 => {
                host.turn(|stack, turn| stack.udp_set(turn, socket, Opt::IpOptions(options))).unwrap()
            }
            Family::Ipv6 => host.stack.udp_set_mapped(socket, Opt::IpOptions(options)).unwrap(),
        };
        let send = |host: &mut Router, of_one: Option<IpOptions>, data: &[u8]| {
            let control = SendControl { options: of_one, ..SendControl::default() };
            let args = SendArgs { control, ..SendArgs::to("10.0.1.2:9".parse().unwrap()) };
            host.turn(|stack, turn| stack.udp_send(turn, socket, &args, data))
        };
        set(&mut host, options);
        for _ in 0..2 {
            send(&mut host, None, b"asks").unwrap();
            let [(options, datagram)] = &left(&mut host)[..] else { panic!("one packet") };
            assert_eq!((&options[..], &datagram[8..]), (&LEAVING[..], &b"asks"[..]), "each time anew");
        }
        send(&mut host, Some(alert), b"").unwrap();
        send(&mut host, Some(IpOptions::NONE), b"").unwrap();
        assert_eq!(
            left(&mut host).into_iter().map(|(options, _)| options).collect::<Vec<_>>(),
            [vec![148, 4, 0, 0], vec![]]
        );
        // They take their room from the datagram, and go where the peer of ours is.
        let most = 65_535 - 20 - 16 - 8;
        assert_eq!(send(&mut host, None, &vec![0; most + 1]), Err(Error::MessageTooLong));
        host.sent();
        set(&mut host, IpOptions::NONE);
        send(&mut host, None, b"plain").unwrap();
        assert_eq!(left(&mut host)[0].0, []);
        assert_nothing_is_held(&mut host);
    }
}

#[test]
fn what_we_send_to_ourselves_is_recorded_when_it_leaves_and_when_it_comes() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4);
    let options = to_send(&host, &WANTED);
    host.turn(|stack, turn| stack.udp_set(turn, socket, Opt::IpOptions(options))).unwrap();
    let args = SendArgs::to("10.0.1.1:53".parse().unwrap());
    host.turn(|stack, turn| stack.udp_send(turn, socket, &args, b"mine")).unwrap();
    let (bytes, options) = read(&mut host, socket).unwrap();
    assert_eq!(
        (&bytes[..], &options[..]),
        (&b"mine"[..], &[7, 11, 12, 10, 0, 1, 1, 10, 0, 1, 1, 148, 4, 0, 0, 0][..])
    );
}

#[test]
fn of_fragments_the_first_has_all_options_and_the_others_those_that_say_so() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4);
    let options = to_send(&host, &WANTED);
    host.turn(|stack, turn| stack.udp_set(turn, socket, Opt::IpOptions(options))).unwrap();
    let args = SendArgs::to("10.0.1.2:9".parse().unwrap());
    let data: Vec<u8> = (0..4000u32).map(|n| n as u8).collect();
    host.turn(|stack, turn| stack.udp_send(turn, socket, &args, &data)).unwrap();
    let parts = left(&mut host);
    assert_eq!(
        parts.iter().map(|(options, _)| &options[..]).collect::<Vec<_>>(),
        [&LEAVING[..], &[148, 4, 0, 0], &[148, 4, 0, 0]]
    );
    assert_eq!(parts.into_iter().flat_map(|(_, payload)| payload).collect::<Vec<_>>()[8..], data);
}

#[test]
fn raw_and_ping_sockets_send_them_too_but_not_beside_a_header_of_the_callers() {
    let mut host = host();
    let options = to_send(&host, &WANTED);
    let raw = host.stack.raw_open(Family::Ipv4, 253, Owner(1)).unwrap();
    let ping = host.stack.ping_open(Family::Ipv4, Owner(2)).unwrap();
    let args = SendArgs::to("10.0.1.2:0".parse().unwrap());
    for (socket, data) in [(raw, &b"raw"[..]), (ping, &[8, 0, 0, 0, 0, 0, 0, 1])] {
        host.stack.raw_set(socket, Opt::IpOptions(options)).unwrap();
        host.turn(|stack, turn| stack.raw_send(turn, socket, &args, data)).unwrap();
        assert_eq!(left(&mut host)[0].0, LEAVING);
    }
    host.stack.raw_set(raw, Opt::HeaderIncluded(true)).unwrap();
    let whole = packet(253, CLIENT, &[], 0, b"mine".to_vec())[14..].to_vec();
    assert_eq!(
        host.turn(|stack, turn| stack.raw_send(turn, raw, &args, &whole)),
        Err(Error::InvalidArgument)
    );
    assert!(host.sent().is_empty());
}
