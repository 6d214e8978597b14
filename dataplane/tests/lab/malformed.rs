//! A million frames that no host should send, then good traffic; and the books of both.

use super::harness::{CLIENT_MAC, Flumen, LAN_MAC, Lab, Packet, Role, RouterKind, number, wait_until};
use serde_json::Value;

const FRAMES: u32 = 1_000_000;

/// The seed of the broken frames. A failure names it; another value makes another million.
const SEED: u64 = 0x464c_554d_454e_0001;

pub fn good_traffic_flows_after_a_million_broken_frames() {
    let mut lab = Lab::up();
    lab.client("ping -n -c 2 -i 0.1 -W 2 10.0.2.2").must();
    let models = models();
    let before = (RouterKind::chosen() == RouterKind::Flumen).then(|| quiet_books(&mut lab));
    let wire = lab.wire(Role::Client);
    let mut random = Random(SEED);
    for _ in 0..FRAMES {
        wire.send(&broken(&models, &mut random));
    }
    if RouterKind::chosen() == RouterKind::Flumen {
        assert!(lab.flumen().runs(), "flumen ended; seed {SEED:#x}:\n{}", lab.flumen().log());
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
        assert_books_balance(&before, &quiet_books(&mut lab));
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
fn assert_books_balance(before: &Books, after: &Books) {
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
    assert!(sent > u64::from(FRAMES), "{sent}");
    assert_eq!(arrived + after.lost_in_kernel - before.lost_in_kernel, sent, "the lan: {before:?} {after:?}");
    assert!(arrived > u64::from(FRAMES) / 2, "most of them reached us: {after:?}");
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
