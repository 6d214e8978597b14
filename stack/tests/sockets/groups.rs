//! Multicast groups (IGMPv2 and v3, MLDv1 and v2, the host's side): joining, reports, delivery.

use super::client::*;
use core::time::Duration;
use flumen_stack::socket::SocketId;

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
