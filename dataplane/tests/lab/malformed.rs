//! A million frames that no host should send, or packets with anything in them, then good traffic; and the books of both.
//!
//! Longer, by hand: `LAB_RANDOM_SECONDS=600` makes each of them go on for so long, with other frames in each run.

use super::harness::{CLIENT_MAC, Flumen, LAN_MAC, Lab, Packet, Role, RouterKind, number, wait_until};
use serde_json::Value;

const FRAMES: u32 = 1_000_000;

/// The seed of the broken frames. A failure names it; another value makes another million.
const SEED: u64 = 0x464c_554d_454e_0001;

/// Packets with anything in them: as many in a row fill and drain every table that they can reach.
const PACKETS: u32 = 300_000;

pub fn good_traffic_flows_after_a_million_broken_frames() {
    let models = models();
    survive(FRAMES, |random| broken(&models, random));
}

pub fn good_traffic_flows_after_packets_with_anything_in_them() {
    survive(PACKETS, anything);
}

/// How much address space the process has: all its memory is there from the start.
fn address_space(flumen: &Flumen) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", flumen.pid())).expect("it runs");
    status.lines().find(|line| line.starts_with("VmSize")).expect("a line").to_owned()
}

/// The bad frames, `least` of them or as many as the time allows, and then the good ones.
fn survive(least: u32, mut bad: impl FnMut(&mut Random) -> Vec<u8>) {
    let mut lab = Lab::up();
    lab.client("ping -n -c 2 -i 0.1 -W 2 10.0.2.2").must();
    let before = (RouterKind::chosen() == RouterKind::Flumen).then(|| quiet_books(&mut lab));
    let space = before.as_ref().map(|_| address_space(lab.flumen()));
    let wire = lab.wire(Role::Client);
    let longer = std::env::var("LAB_RANDOM_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let until = longer.map(|seconds| std::time::Instant::now() + std::time::Duration::from_secs(seconds));
    let seed = if longer.is_some() { SEED ^ u64::from(std::process::id()) << 16 } else { SEED };
    let mut random = Random(seed);
    let mut sent = 0u64;
    while sent < u64::from(least) || until.is_some_and(|until| std::time::Instant::now() < until) {
        wire.send(&bad(&mut random));
        sent += 1;
    }
    if RouterKind::chosen() == RouterKind::Flumen {
        assert!(lab.flumen().runs(), "flumen ended; seed {seed:#x}:\n{}", lab.flumen().log());
        assert_eq!(Some(address_space(lab.flumen())), space, "memory is bounded; seed {seed:#x}");
    }
    if longer.is_some() {
        println!("{sent} frames, seed {seed:#x}");
    }
    // Frames that claim the client's address may have sent its neighbour entry astray: the next real ARP or
    // ND exchange puts that right.
    lab.client("ip neighbour flush dev lan0").must();
    for to in ["10.0.1.1", "10.0.2.2", "fd00:1::1", "fd00:2::2"] {
        wait_until("good traffic flows again", 30, || {
            lab.client(&format!("ping -n -c 1 -W 1 {to}")).ok
        });
        lab.client(&format!("ping -n -q -c 200 -i 0.002 -W 2 {to}")).says("200 received");
    }
    super::transport::exchange(&lab, "10.0.2.2:7000");
    if let Some(before) = before {
        assert_books_balance(&before, &quiet_books(&mut lab), sent);
    }
}

/// What the kernel counts as sent by the client's interface.
fn frames_put_on_by_the_client(lab: &Lab) -> u64 {
    let links: Value = serde_json::from_str(&lab.client("ip -json -s link show lan0").must()).expect("JSON");
    number(&links[0]["stats64"]["tx"]["packets"])
}

/// What the router says of its packets and frames when nothing moves any more.
#[derive(Debug, PartialEq)]
struct Books {
    /// Frames that the client's kernel put on the link.
    put_on_by_client: u64,
    /// Frames that came in by the lan, and frames that the kernel took and could not give to us.
    arrived_on_lan: u64,
    lost_in_kernel: u64,
    received: u64,
    originated: u64,
    no_frame: u64,
    came_back: u64,
    handed_to_ports: u64,
    dropped: u64,
    fragmented: u64,
    held: u64,
    balanced: bool,
    frames: [u64; 5],
}

impl Books {
    fn of(flumen: &Flumen, put_on_by_client: u64) -> Books {
        let (ports, cores) = (flumen.json("port"), flumen.json("core"));
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let traffic =
            |name: &str| list(&ports["ports"]).iter().map(|port| number(&port["traffic"][name])).sum::<u64>();
        let lan = list(&ports["ports"]).into_iter().find(|port| port["name"] == "lan").expect("the port");
        let kernel = |name: &str| list(&lan["queues"]).iter().map(|queue| number(&queue["kernel"][name])).sum();
        let frames = |name: &str| list(&cores["cores"]).iter().map(|core| number(&core["frames"][name])).sum();
        // See `flumen_stack::counters`: what begins here.
        let originated = [
            "icmp-errors-out",
            "icmpv6-errors-out",
            "tcp-out",
            "arp-requests-out",
            "arp-replies-out",
            "arp-announcements-out",
            "nd-solicitations-out",
            "nd-advertisements-out",
            "nd-redirects-out",
            "nd-router-advertisements-out",
            "nd-router-solicitations-out",
            "ipv4-fragments-created",
            "ipv6-fragments-created",
            "udp-out",
            "raw-out",
            "looped-back",
            "igmp-out",
            "mld-out",
            "ipv4-reassembled",
            "ipv6-reassembled",
        ];
        Books {
            put_on_by_client,
            arrived_on_lan: number(&lan["traffic"]["rx_packets"]),
            // A full ring is told from other losses, and is not among them.
            lost_in_kernel: ["rx_dropped", "rx_ring_full"].map(kernel).iter().sum(),
            received: traffic("rx_packets"),
            originated: originated.map(|name| flumen.tally("counters", name)).iter().sum(),
            no_frame: flumen.tally("drops", "no-frame"),
            came_back: traffic("tx_drops"),
            handed_to_ports: traffic("tx_packets"),
            dropped: flumen.tally("drops", ""),
            fragmented: flumen.tally("counters", "ipv4-fragmented") + flumen.tally("counters", "ipv6-fragmented"),
            held: frames("held"),
            balanced: list(&cores["cores"]).iter().all(|core| core["frames"]["balanced"] == true),
            frames: ["size", "free", "in_rings", "held", "quarantined"].map(frames),
        }
    }
}

/// What is in the books when nothing moves any more.
fn quiet_books(lab: &mut Lab) -> Books {
    let mut look = || {
        let put_on = frames_put_on_by_the_client(lab);
        Books::of(lab.flumen(), put_on)
    };
    let mut books = look();
    wait_until("nothing moves any more", 30, || {
        // Longer than workers take to publish what they count.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let before = std::mem::replace(&mut books, look());
        before == books && books.held == 0
    });
    books
}

/// Every frame that the client put on the link came in; every packet that came in or began here has exactly
/// one end; and every frame of memory is where it belongs.
fn assert_books_balance(before: &Books, after: &Books, least: u64) {
    assert!(after.balanced, "frames did not add up at some time: {after:?}");
    let [size, free, in_rings, held, quarantined] = after.frames;
    assert_eq!(free + in_rings + held + quarantined, size, "frames: {after:?}");
    assert_eq!(
        after.received + after.originated + after.no_frame + after.came_back,
        after.handed_to_ports + after.dropped + after.fragmented + after.held,
        "packets: {after:?}"
    );
    let sent = after.put_on_by_client - before.put_on_by_client;
    let arrived = after.arrived_on_lan - before.arrived_on_lan;
    assert!(sent > least, "{sent}");
    assert_eq!(arrived + after.lost_in_kernel - before.lost_in_kernel, sent, "the lan: {before:?} {after:?}");
    assert!(arrived > least / 2, "most of them reached us: {after:?}");
}

/// A small generator with a known seed (xorshift64*): the million is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound
    }
}

/// Good frames of every kind that a router reads, from which the broken ones are made.
fn models() -> Vec<Vec<u8>> {
    let udp = |to| Packet::udp(Role::Client, to);
    let headers = [&LAN_MAC[..], &CLIENT_MAC].concat();
    let arp = [
        &[0xff; 6][..],
        &CLIENT_MAC,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &CLIENT_MAC,
        &[10, 0, 1, 2, 0, 0, 0, 0, 0, 0, 10, 0, 1, 1],
    ]
    .concat();
    let echo = |kind| vec![kind, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut solicit = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicit.extend(std::net::Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1).octets());
    solicit.extend([1, 1, 2, 0, 0, 0, 1, 2]);
    // Hop-by-hop options, a fragment header, a routing header, destination options, then UDP.
    let mut extensions = vec![44, 0, 1, 4, 0, 0, 0, 0, 43, 0, 0, 1, 0, 0, 0, 9];
    extensions.extend([60, 2, 0, 1, 0, 0, 0, 0]);
    extensions.extend([0xfd; 16]);
    extensions.extend([17, 0, 1, 4, 0, 0, 0, 0, 1, 2, 3, 4, 0, 8, 0, 0]);
    let mut options = [&headers[..], &[8, 0, 0x48, 0, 0, 52, 0, 1, 0, 0, 9, 17, 0, 0]].concat();
    options.extend([10, 0, 1, 2, 10, 0, 2, 2, 7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0, 1, 2, 3, 4, 0, 8, 0, 0]);
    vec![
        udp("10.0.2.2").frame(),
        udp("10.0.2.2").ttl(1).frame(),
        udp("10.0.2.2").ip_length(1500).frame(),
        udp("10.0.2.2").fragment(3).frame(),
        udp("10.0.1.1").fragment(0).frame(),
        udp("10.0.1.1").protocol(1).payload(echo(8)).frame(),
        udp("10.0.1.1").protocol(6).frame(),
        udp("203.0.113.1").frame(),
        udp("fd00:2::2").frame(),
        udp("fd00:2::2").ttl(1).frame(),
        udp("fd00:1::1").protocol(58).payload(echo(128)).frame(),
        udp("fd00:1::1").protocol(58).ttl(255).payload(solicit).frame(),
        udp("fd00:2::2").protocol(0).payload(extensions.clone()).frame(),
        udp("fd00:1::1").protocol(0).payload(extensions).frame(),
        arp,
        options,
    ]
}

/// One broken frame: noise, a model cut short, with bits turned, with a byte replaced, or grown.
fn broken(models: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let model = &models[random.below(models.len())];
    let mut frame = model.clone();
    match random.below(8) {
        0 => {
            // Noise behind addresses that make it pass the first filter, half of the time with a known type.
            frame = (0..14 + random.below(200)).map(|_| random.next() as u8).collect();
            frame[..6].copy_from_slice(&LAN_MAC);
            frame[6..12].copy_from_slice(&CLIENT_MAC);
            let types = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]];
            if random.below(2) == 0 {
                frame[12..14].copy_from_slice(&types[random.below(types.len())]);
            }
        }
        // The kernel wants a whole link header to send: 14 bytes and none behind them is the shortest.
        1 | 2 => frame.truncate(14 + random.below(frame.len() - 14)),
        3 => frame.resize((frame.len() + random.below(300)).min(1514), random.next() as u8),
        4 => {
            // Lengths, versions, types: the first bytes behind the link header matter most.
            for _ in 0..1 + random.below(4) {
                let place = 14 + random.below(54).min(frame.len() - 15);
                frame[place] = random.next() as u8;
            }
        }
        _ => {
            for _ in 0..1 + random.below(8) {
                let bit = random.below((frame.len() - 12) * 8);
                frame[12 + bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
    // Half of those with an IPv4 header get a checksum that fits the damage, so that more than the first
    // check is tried.
    if frame.len() >= 34 && frame[12..14] == [8, 0] && random.below(2) == 0 {
        let end = (14 + usize::from(frame[14] & 15).max(5) * 4).min(frame.len()) & !1;
        frame[24..26].fill(0);
        let mut sum: u32 =
            frame[14..end].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    frame
}

/// A packet with anything in it, mostly in the right places, as ISIC and its kin make them.
fn anything(random: &mut Random) -> Vec<u8> {
    let v6 = random.below(2) == 0;
    let mut payload = Vec::new();
    let protocol = match random.below(6) {
        0 | 1 => 17,
        2 => 6,
        3 if v6 => 58,
        3 => 1,
        4 => [2, 4, 41, 47, 50, 51, 59, 103, 132, 136][random.below(10)],
        _ => random.next() as u8,
    };
    let len = [0, 4, 8, 20, 40, 200, 1400][random.below(7)] + random.below(9);
    payload.extend((0..len).map(|_| random.next() as u8));
    let kinds: &[u8] = if v6 { &[128, 1, 2, 3, 4, 130, 131, 132, 133, 134, 135, 136, 137, 143] } else { &[8, 0, 3, 4, 5, 11, 12, 13, 17] };
    match protocol {
        1 | 58 if payload.len() >= 8 => payload[0] = kinds[random.below(kinds.len())],
        6 if payload.len() >= 20 => payload[12] = (5 + random.below(4) as u8) << 4,
        17 if payload.len() >= 8 && random.below(4) > 0 => {
            let len = (payload.len() as u16).to_be_bytes();
            payload[4..6].copy_from_slice(&len);
        }
        _ => {}
    }
    if v6 { anything6(random, protocol, payload) } else { anything4(random, protocol, payload) }
}

/// Puts a sum over the pseudo header (from `addresses` on) where the protocol has it, three times out of four.
fn summed(random: &mut Random, protocol: u8, payload: &mut [u8], addresses: &[u8]) {
    let at = match protocol {
        1 | 58 => 2,
        6 => 16,
        17 => 6,
        _ => return,
    };
    if payload.len() < at + 2 || random.below(4) == 0 {
        return;
    }
    payload[at..at + 2].fill(0);
    let halves = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum()
    };
    let pseudo = if protocol == 1 { 0 } else { halves(addresses) + u32::from(protocol) + payload.len() as u32 };
    let mut sum = pseudo + halves(payload);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    payload[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn anything4(random: &mut Random, protocol: u8, mut payload: Vec<u8>) -> Vec<u8> {
    let any = (random.next() as u32).to_be_bytes();
    let host = random.next() as u8;
    let sources = [[10, 0, 1, 2], [10, 0, 1, host], [10, 9, 1, host], any];
    let targets = [[10, 0, 1, 1], [10, 0, 1, 1], [10, 0, 2, 1], [10, 0, 2, 2], [10, 0, 2, host], [10, 0, 1, 255], [224, 0, 0, 1], any];
    let addresses = [sources[random.below(4)], targets[random.below(8)]].concat();
    summed(random, protocol, &mut payload, &addresses);
    let mut options = Vec::new();
    if random.below(3) == 0 {
        options.extend((0..4 * random.below(11)).map(|_| random.next() as u8));
        if let [kind, len, ..] = &mut options[..] {
            (*kind, *len) = ([7, 68, 131, 137, 148, 130, 1][random.below(7)], 3 + random.below(38) as u8);
        }
    }
    let first = if random.below(10) == 0 { random.next() as u8 } else { 0x45 + (options.len() / 4) as u8 };
    let len = (20 + options.len() + payload.len()) as u16;
    let len = if random.below(10) == 0 { random.next() as u16 } else { len };
    // Few identifications: fragments of one datagram meet.
    let (id, offset) = (random.below(32) as u16, random.below(200) as u16);
    let fragment = if random.below(3) == 0 { offset | (random.below(8) as u16) << 13 } else { 0 };
    let ttl = [64, 1, 0, 255][random.below(4).min(random.below(4))];
    let mut frame = [&LAN_MAC[..], &CLIENT_MAC, &[8, 0, first, random.next() as u8]].concat();
    [len, id, fragment].iter().for_each(|half| frame.extend(half.to_be_bytes()));
    frame.extend([ttl, protocol, 0, 0]);
    frame.extend(addresses);
    frame.extend(options);
    if random.below(10) > 0 {
        let halves = frame[14..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let mut sum: u32 = halves.sum();
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    frame.extend(payload);
    frame.truncate(1514);
    frame
}

fn anything6(random: &mut Random, protocol: u8, mut payload: Vec<u8>) -> Vec<u8> {
    let address = |random: &mut Random| -> Vec<u8> {
        let host = random.next() as u16;
        let words = [
            [0xfd00, 1, 0, 0, 0, 0, 0, 2],
            [0xfd00, 1, 0, 0, 0, 0, 0, 1],
            [0xfd00, 2, 0, 0, 0, 0, 0, host],
            [0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x101],
            [0xfe80, 0, 0, 0, 0, 0, 0, host],
            [0xff02, 0, 0, 0, 0, 0, 0, 1 + host % 2],
            [0xff02, 0, 0, 0, 0, 1, 0xff00, 1],
            [host, 0, 0, 0, 0, 0, 0, host],
        ];
        words[random.below(8)].iter().flat_map(|word| word.to_be_bytes()).collect()
    };
    let addresses = [address(random), address(random)].concat();
    summed(random, protocol, &mut payload, &addresses);
    let mut next = protocol;
    for _ in 0..random.below(4).min(random.below(8)) {
        let kind = [0, 60, 43, 44, 44, 51, 135, 139][random.below(8)];
        let units = random.below(3);
        let mut header: Vec<u8> = (0..8 + 8 * units).map(|_| random.next() as u8).collect();
        (header[0], header[1]) = (next, units as u8);
        match kind {
            0 | 60 if random.below(3) > 0 => {
                header[2] = [1, 5, 0xc2, 0x1e, 0x5e, 0x9e, 0xde][random.below(7)];
                header[3] = (header.len() - 4).min(255) as u8;
            }
            44 => {
                header.truncate(8);
                let offset = (random.below(20) as u16 * 8) | random.below(2) as u16;
                header[1] = 0;
                header[2..4].copy_from_slice(&offset.to_be_bytes());
                header[4..8].copy_from_slice(&[0, 0, 0, random.below(16) as u8]);
            }
            43 => (header[2], header[3]) = (random.below(5) as u8, random.below(3) as u8),
            _ => {}
        }
        header.extend(payload);
        (payload, next) = (header, kind);
    }
    let len = if random.below(10) == 0 { random.next() as u16 } else { payload.len() as u16 };
    let first = if random.below(20) == 0 { random.next() as u8 } else { 0x60 | random.below(16) as u8 };
    let hops = [64, 255, 255, 1, 0][random.below(5)];
    let mut frame = [&LAN_MAC[..], &CLIENT_MAC, &[0x86, 0xdd, first]].concat();
    frame.extend((0..3).map(|_| random.next() as u8));
    frame.extend(len.to_be_bytes());
    frame.extend([next, hops]);
    frame.extend(addresses);
    frame.extend(payload);
    frame.truncate(1514);
    frame
}
