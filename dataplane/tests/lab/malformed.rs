//! A million frames that no host should send, then good traffic.

use super::harness::{CLIENT_MAC, LAN_MAC, Lab, Packet, RouterKind, Role, wait_until};

const FRAMES: u32 = 1_000_000;

/// The seed of the broken frames. A failure names it; another value makes another million.
const SEED: u64 = 0x464c_554d_454e_0001;

pub fn good_traffic_flows_after_a_million_broken_frames() {
    let mut lab = Lab::up();
    lab.client("ping -n -c 2 -i 0.1 -W 2 10.0.2.2").must();
    let models = models();
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
