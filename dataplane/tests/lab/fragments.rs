//! Fragments of one datagram that come by different queues, to different workers, and the one worker that puts them
//! together. Which queue a frame takes is the client's kernel's choice by the processor that it was sent from (XPS).

use super::harness::{CLIENT_MAC, LAN_MAC, Lab, Role, Wire, noise, number, wait_until};
use etherparse::{Ipv4Header, PacketBuilder};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

const LEN: usize = 60_000;

const ECHO: &str = r#"
[[service]]
kind = "echo"
listen = ["10.0.1.1:7", "[fd00:1::1]:7"]
"#;

const OFFICE: &str = r#"
[[port]]
name = "office"
kind = "vlan"
parent = "lan"
vlan = 100
addresses = ["10.0.100.1/24", "fd00:100::1/64"]
dad = "off"
[[neighbour]]
port = "office"
address = "10.0.100.2"
mac = "02:00:00:00:01:02"
[[neighbour]]
port = "office"
address = "fd00:100::2"
mac = "02:00:00:00:01:02"
"#;

/// Sends a datagram from one place and hears it at another; and back.
fn talk(lab: &Lab, from: (Role, &'static str), to: (Role, &'static str)) {
    let open = |(role, at): (Role, &'static str)| {
        let opened = lab.within(role, move || {
            let socket = UdpSocket::bind(at).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            socket
        });
        opened.join().expect("a socket")
    };
    let (one, other) = (open(from), open(to));
    for (sender, receiver, at) in [(&one, &other, to.1), (&other, &one, from.1)] {
        let sent = noise(7, LEN);
        sender.send_to(&sent, at).expect("it is sent");
        let mut heard = vec![0; 1 << 16];
        let (len, _) = receiver.recv_from(&mut heard).expect("it comes");
        assert!(heard[..len] == sent, "{len} bytes to {at}");
    }
}

pub fn pings_and_datagrams_of_sixty_thousand_bytes_pass_two_workers_both_ways() {
    let lab = Lab::plan().workers(2).tables(ECHO).up();
    for to in ["10.0.1.1", "10.0.2.2", "fd00:1::1", "fd00:2::2"] {
        lab.client(&format!("ping -n -c 10 -i 0.02 -W 2 -s {LEN} {to}")).says("10 received");
    }
    for to in ["10.0.2.1", "10.0.1.2", "fd00:2::1", "fd00:1::2"] {
        lab.server(&format!("ping -n -c 10 -i 0.02 -W 2 -s {LEN} {to}")).says("10 received");
    }
    talk(&lab, (Role::Client, "10.0.1.2:4000"), (Role::Server, "10.0.2.2:4000"));
    talk(&lab, (Role::Client, "[fd00:1::2]:4000"), (Role::Server, "[fd00:2::2]:4000"));
}

/// The frames of the client that carry a datagram in fragments, all tagged with `tags`.
fn fragments(whole: &[u8], tags: &[u8], id: u32) -> Vec<Vec<u8>> {
    let (link, packet) = whole.split_at(14);
    let link = [&link[..12], tags, &link[12..]].concat();
    let v6 = packet[0] >> 4 == 6;
    let (header, payload) = packet.split_at(if v6 { 40 } else { 20 });
    let pieces = payload.chunks(1440);
    let last = pieces.len() - 1;
    let cut = pieces.enumerate().map(|(index, piece)| {
        let (offset, more) = (index * 1440, index != last);
        let head = if v6 {
            let mut head = header.to_vec();
            head[4..6].copy_from_slice(&(piece.len() as u16 + 8).to_be_bytes());
            head[6] = 44;
            let place = (offset as u16 | u16::from(more)).to_be_bytes();
            head.extend([header[6], 0, place[0], place[1]]);
            head.extend(id.to_be_bytes());
            head
        } else {
            let mut head = Ipv4Header::from_slice(header).expect("an IPv4 header").0;
            head.total_len = piece.len() as u16 + 20;
            head.identification = id as u16;
            (head.dont_fragment, head.more_fragments) = (false, more);
            head.fragment_offset = ((offset / 8) as u16).try_into().expect("an offset");
            head.header_checksum = head.calc_header_checksum();
            head.to_bytes().to_vec()
        };
        [&link[..], &head, piece].concat()
    });
    cut.collect()
}

/// The lab, its client sending by the queue of the processor that it sends from.
fn two_queues(tables: &'static str) -> Lab {
    let lab = Lab::plan().offloads_off().workers(2).tables(tables).up();
    let script = lab.file(
        "xps",
        "cd /sys/class/net/lan0/queues && echo 1 >tx-0/xps_cpus && echo 2 >tx-1/xps_cpus",
    );
    lab.client(&format!("sh {script}")).must();
    lab
}

/// Sends frames by both queues in turn.
fn send_by_both(wire: &Wire, frames: &[Vec<u8>]) {
    std::thread::scope(|scope| {
        for queue in 0..2 {
            let sender = scope.spawn(move || {
                assert!(core_affinity::set_for_current(core_affinity::CoreId { id: queue }));
                frames.iter().skip(queue).step_by(2).for_each(|frame| wire.send(frame));
            });
            sender.join().expect("they are sent");
        }
    });
}

fn builder(source: &str, destination: &str) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let link = PacketBuilder::ethernet2(CLIENT_MAC, LAN_MAC);
    match (source.parse().expect("an address"), destination.parse().expect("an address")) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source.octets(), destination.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source.octets(), destination.octets(), 64),
        _ => panic!("two families"),
    }
}

/// Packets that one worker handed to the other.
fn handed_over(lab: &mut Lab) -> u64 {
    let runtime = lab.flumen().json("runtime");
    runtime["cores"].as_array().expect("a list").iter().map(|core| number(&core["handed_over"])).sum()
}

pub fn fragments_that_come_by_two_queues_meet() {
    let mut lab = two_queues(ECHO);
    let wire = lab.wire(Role::Client);
    for (source, router) in [("10.0.1.2", "10.0.1.1"), ("fd00:1::2", "fd00:1::1")] {
        let opened = lab.within(Role::Client, move || {
            let at: IpAddr = source.parse().expect("an address");
            let socket = UdpSocket::bind((at, 4001)).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            socket
        });
        let socket = opened.join().expect("a socket");
        for round in 0..20 {
            let sent = noise(round, LEN);
            let mut whole = Vec::new();
            builder(source, router).udp(4001, 7).write(&mut whole, &sent).expect("memory");
            let count = LEN.div_ceil(1440);
            let mut frames = fragments(&whole, &[], 1000 + round as u32);
            match round % 4 {
                1 => frames.reverse(),
                2 => frames.rotate_left(count / 2),
                3 => frames.swap(0, 20),
                _ => {}
            }
            send_by_both(&wire, &frames);
            let mut heard = vec![0; 1 << 16];
            let (len, _) = socket.recv_from(&mut heard).expect("the echo comes");
            assert!(heard[..len] == sent, "{len} bytes in round {round} from {router}");
        }
    }
    wait_until("fragments were handed over", 10, || handed_over(&mut lab) >= 100);
}

pub fn tagged_fragments_that_come_by_two_queues_meet() {
    let mut lab = two_queues(OFFICE);
    let wire = lab.wire(Role::Client);
    for (source, router) in [("10.0.100.2", "10.0.100.1"), ("fd00:100::2", "fd00:100::1")] {
        for round in 0..10 {
            let sent = noise(round, LEN);
            let mut whole = Vec::new();
            let echo = builder(source, router);
            if router.contains(':') {
                echo.icmpv6_echo_request(7, round as u16).write(&mut whole, &sent).expect("memory");
            } else {
                echo.icmpv4_echo_request(7, round as u16).write(&mut whole, &sent).expect("memory");
            }
            send_by_both(&wire, &fragments(&whole, &[0x81, 0, 0, 100], 2000 + round as u32));
            // The answer is cut as well; its pieces are put where they belong.
            let mut answer = vec![0; LEN];
            let mut missing = LEN;
            wire.expect("the answer in pieces", |seen| {
                let (place, piece) = piece(seen, router)?;
                let from = place.checked_sub(8);
                let data = if from.is_some() { piece } else { &piece[8..] };
                let from = from.unwrap_or(0);
                answer[from..from + data.len()].copy_from_slice(data);
                missing -= data.len();
                (missing == 0).then_some(())
            });
            assert!(answer == sent, "round {round} from {router}");
        }
    }
    wait_until("fragments were handed over", 10, || handed_over(&mut lab) >= 100);
}

pub fn a_datagram_that_lacks_its_end_is_shown_until_its_time_is_over() {
    let mut lab = Lab::plan().tables("[limits]\nreassembly_seconds_ipv4 = 1\nreassembly_seconds_ipv6 = 1\n").up();
    let wire = lab.wire(Role::Client);
    for (source, router) in [("10.0.1.2", "10.0.1.1"), ("fd00:1::2", "fd00:1::1")] {
        let mut whole = Vec::new();
        builder(source, router).udp(4001, 7).write(&mut whole, &noise(1, 4000)).expect("memory");
        let pieces = fragments(&whole, &[], 4711);
        wait_until("it is shown", 10, || {
            wire.send(&pieces[1]);
            let shown = lab.flumen().json("reassembly");
            let datagrams = shown["datagrams"].as_array().expect("a list").clone();
            datagrams.iter().any(|one| {
                (one["source"] == source && one["destination"] == router && one["id"] == 4711)
                    && (one["fragments"] == 1 && one["bytes"] == 1440 && one["total"].is_null())
            })
        });
        lab.flumen().show("reassembly").says("waits");
        wait_until("its time is over", 10, || {
            let shown = lab.flumen().json("reassembly");
            shown["datagrams"].as_array().expect("a list").is_empty() && shown["cores"][0]["memory"] == 0
        });
    }
}

/// Offset and bytes of a fragment of an echo reply from this router. The kernel takes tags off before we see them.
fn piece<'a>(frame: &'a [u8], router: &str) -> Option<(usize, &'a [u8])> {
    let router: IpAddr = router.parse().expect("an address");
    let tags = if frame[12..14] == [0x81, 0] { 4 } else { 0 };
    let packet = frame.get(14 + tags..)?;
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    match router {
        IpAddr::V4(router) if packet[0] == 0x45 && packet[9] == 1 && packet[12..16] == router.octets() => {
            Some(((word(6) & 0x1fff) * 8, packet.get(20..word(2))?))
        }
        IpAddr::V6(router) if packet[0] >> 4 == 6 && packet[6] == 44 && packet[8..24] == router.octets() => {
            Some((word(42) & 0xfff8, packet.get(48..40 + word(4))?))
        }
        _ => None,
    }
}
