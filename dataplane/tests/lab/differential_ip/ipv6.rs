//! Cases of IPv6: in transit, to us, in fragments, and neighbour discovery.

use super::corpus::*;
use super::packets::*;

pub fn forwarded6(all: &mut Corpus) {
    all.v6("an IPv6 datagram", |_| {});
    for hops in [0, 1, 2, 255] {
        all.v6(&format!("hop limit {hops}"), |packet| packet.hops = hops);
    }
    all.v6("a traffic class and a flow label", |packet| packet.word = 0x6b8a_bcde);
    for size in [1400, 1401, 1500] {
        all.v6(&format!("IPv6 of {size} bytes"), |packet| packet.payload = bytes(size - 40));
    }
    for (name, to) in [
        ("IPv6 nowhere", "2001:db8:9::1"),
        ("IPv6 into a black hole", "2001:db8:3::1"),
        ("IPv6 to what is unreachable", "2001:db8:4::1"),
        ("IPv6 to what is prohibited", "2001:db8:5::1"),
        ("IPv6 to loopback", "::1"),
        ("IPv6 to ::", "::"),
        ("to an IPv4-mapped address", "::ffff:10.0.2.77"),
    ] {
        all.v6(name, |packet| packet.destination = six(to));
    }
    for (name, from) in [
        ("IPv6 from loopback", "::1"),
        ("IPv6 from ::", "::"),
        ("IPv6 from a group", "ff02::5"),
        ("from an IPv4-mapped address", "::ffff:10.0.1.77"),
        ("from a link-local address", "fe80::77"),
        ("IPv6 from the router itself", "fd00:1::1"),
        ("IPv6 from the other side", "fd00:2::77"),
        ("IPv6 from nowhere that is routed", "2001:db8:9::9"),
    ] {
        all.v6(name, |packet| packet.source = six(from));
    }
    for (name, next, extensions) in [
        ("no options that count", 0, &[17, 0, 1, 4, 0, 0, 0, 0][..]),
        ("a router alert option of IPv6", 0, &[17, 0, 5, 2, 0, 0, 1, 0]),
        ("a hop-by-hop option to skip", 0, &[17, 0, 0x1e, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to drop", 0, &[17, 0, 0x5e, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to report", 0, &[17, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to report to unicast senders", 0, &[17, 0, 0xde, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option beyond its header", 0, &[17, 0, 1, 9, 0, 0, 0, 0]),
        ("a hop-by-hop header beyond the packet", 0, &[17, 99, 1, 4, 0, 0, 0, 0]),
        ("a jumbo option in a small packet", 0, &[17, 0, 0xc2, 4, 0, 0, 0, 99]),
        ("a destination option to report, in transit", 60, &[17, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("a routing header of type 0 in transit", 43, &[17, 0, 0, 1, 0, 0, 0, 0]),
        ("a fragment header in transit", 44, &[17, 0, 0, 1, 0, 0, 0, 7]),
        ("hop-by-hop options behind destination options, in transit", 60, &[0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0]),
        ("a header that nobody knows, in transit", 253, &[]),
        ("no next header, in transit", 59, &[]),
    ] {
        all.through6(name, next, extensions);
    }
    let packet = all.packet6("fd00:1::78", |packet| packet.source = six("fd00:1::77"));
    all.raw("IPv6 to a neighbour of the sender", vec![frame(TO_LAN, 0x86dd, &packet)]);
    for (name, link) in [("broadcast", [0xff; 6]), ("multicast", [0x33, 0x33, 0, 0, 0, 1])] {
        let packet = all.packet6("fd00:78::1", |_| {});
        all.raw(&format!("IPv6 unicast in a {name} frame"), vec![frame((link, HOST_MAC), 0x86dd, &packet)]);
    }
    for word in [0x4000_0000, 0x5000_0000] {
        all.v6(&format!("version {} in an IPv6 frame", word >> 28), |packet| packet.word = word);
    }
    for len in [0, 39, 41, 65_535] {
        all.v6(&format!("a payload length of {len}"), |packet| packet.len = Some(len));
    }
    let packet = all.packet6("fd00:78::1", |_| {});
    all.raw("an IPv6 header cut short", vec![frame(TO_LAN, 0x86dd, &packet[..39])]);
    all.raw("padding behind the IPv6 packet", vec![[frame(TO_LAN, 0x86dd, &packet), vec![0xee; 30]].concat()]);
}

pub fn ask_us6(all: &mut Corpus) {
    for (name, next, extensions) in [
        ("an IPv6 echo request", 58, &[][..]),
        ("padding of 7 bytes", 60, &[58, 1, 1, 5, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0]),
        ("padding that is not zero", 60, &[58, 0, 1, 4, 0, 9, 0, 0]),
        ("too much padding", 60, &[58, 1, 1, 6, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0]),
        ("a destination option to skip", 60, &[58, 0, 0x1e, 4, 0, 0, 0, 0]),
        ("a destination option to drop", 60, &[58, 0, 0x5e, 4, 0, 0, 0, 0]),
        ("a destination option to report", 60, &[58, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("a destination option to report to unicast senders", 60, &[58, 0, 0xde, 4, 0, 0, 0, 0]),
        ("a home address option", 60, &[58, 2, 0xc9, 16, 0xfd, 0, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 0, 0]),
        ("hop-by-hop options to us", 0, &[58, 0, 1, 4, 0, 0, 0, 0]),
        ("a hop-by-hop option to report, to us", 0, &[58, 0, 0x9e, 4, 0, 0, 0, 0]),
        ("hop-by-hop options behind destination options", 60, &[0, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0]),
        ("hop-by-hop options twice", 0, &[0, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0]),
        ("a routing header that is over", 43, &[58, 0, 0, 0, 0, 0, 0, 0]),
        ("a routing header of type 0 with one to go", 43, &[58, 2, 0, 1, 0, 0, 0, 0, 0xfd, 0, 0, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a routing header of type 2 with one to go", 43, &[58, 2, 2, 1, 0, 0, 0, 0, 0xfd, 0, 0, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a routing header of an unknown type with one to go", 43, &[58, 0, 99, 1, 0, 0, 0, 0]),
        ("a routing header of an unknown type that is over", 43, &[58, 0, 99, 0, 0, 0, 0, 0]),
        ("an atomic fragment", 44, &[58, 0, 0, 0, 0, 0, 0, 7]),
        ("an atomic fragment behind options", 60, &[44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 8]),
        ("no next header", 59, &[]),
        ("a header that nobody knows", 253, &[]),
        ("a header that nobody knows behind options", 60, &[253, 0, 1, 4, 0, 0, 0, 0]),
        ("an authentication header", 51, &[58, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ("encapsulated security", 50, &[0, 0, 0, 9, 0, 0, 0, 1]),
        ("a mobility header", 135, &[59, 0, 0, 0, 0, 0, 0, 0]),
        ("IPv6 inside IPv6", 41, &[]),
        ("a header that ends in the middle", 60, &[58]),
    ] {
        all.ask_us6(name, next, extensions);
    }
    let cut = all.packet6("fd00:1::1", |packet| (packet.next, packet.payload) = (60, vec![58, 0, 1]));
    all.raw("an extension header cut short", vec![frame(TO_LAN, 0x86dd, &cut)]);
    for (name, to) in [
        ("all nodes", "ff02::1"),
        ("all routers", "ff02::2"),
        ("all routers of the site", "ff05::2"),
        ("all nodes of the node", "ff01::1"),
        ("a group of nobody", "ff02::99"),
        ("our solicited-node group", "ff02::1:ff00:1"),
        ("our other address", "fd00:2::1"),
        ("the anycast address of the subnet", "fd00:1::"),
    ] {
        all.icmp6_to(to, &format!("an IPv6 echo request to {name}"), [128, 0], [0, 7, 0, 1], &bytes(24), |_| {});
    }
    for (name, kind, len) in [
        ("an IPv6 echo reply", [129, 0], 24),
        ("a node information query", [139, 0], 24),
        ("an ICMPv6 type that nobody knows", [200, 0], 24),
        ("an ICMPv6 error that nobody knows", [100, 0], 24),
        ("a packet too big about nothing", [2, 0], 48),
        ("an IPv6 unreachable about nothing", [1, 4], 48),
        ("a parameter problem about nothing", [4, 1], 48),
        ("a router renumbering", [138, 0], 24),
        ("an IPv6 redirect from afar", [137, 0], 32),
        ("a neighbour solicitation from afar", [135, 0], 16),
        ("a neighbour advertisement from afar", [136, 0], 16),
        ("a listener query from afar", [130, 0], 16),
    ] {
        all.icmp6(name, kind, [0, 7, 0, 1], &bytes(len), |_| {});
    }
    all.icmp6("an IPv6 echo request with a wrong sum", [128, 0], [0, 7, 0, 1], &bytes(24), |packet| packet.payload[2] ^= 1);
    all.icmp6("an IPv6 echo request of hop limit 1", [128, 0], [0, 7, 0, 1], &bytes(24), |packet| packet.hops = 1);
    all.icmp6("an IPv6 echo request with a class", [128, 0], [0, 7, 0, 1], &bytes(24), |packet| packet.word = 0x6b80_0000);
    all.icmp6("an IPv6 echo request of code 5", [128, 5], [0, 7, 0, 1], &bytes(24), |_| {});
    for (name, protocol, message, change) in [
        ("UDP to a closed IPv6 port", 17, [udp_header(4000, 9, 20), bytes(20)].concat(), None),
        ("UDP to a closed IPv6 port, of many bytes", 17, [udp_header(4000, 9, 1300), bytes(1300)].concat(), None),
        ("IPv6 UDP without a sum", 17, [udp_header(4000, 9, 20), bytes(20)].concat(), Some((6, 0))),
        ("TCP with SYN to a closed IPv6 port", 6, tcp_header(2), None),
        ("TCP with ACK to a closed IPv6 port", 6, tcp_header(16), None),
        ("IPv6 TCP with a wrong sum", 6, tcp_header(2), Some((16, 0x55))),
    ] {
        all.v6(name, |packet| {
            packet.destination = six("fd00:1::1");
            let pseudo = pseudo6(&packet.source.octets(), &packet.destination.octets(), protocol, message.len());
            packet.next = protocol;
            packet.payload = finish(message, if protocol == 6 { 16 } else { 6 }, &pseudo);
            if let Some((at, byte)) = change {
                packet.payload[at..at + 2].fill(byte);
            }
        });
    }
    for (name, coverage, change) in LITE {
        all.v6(&format!("UDP-Lite to a closed IPv6 port, {name}"), |packet| {
            packet.destination = six("fd00:1::1");
            let pseudo = pseudo6(&packet.source.octets(), &packet.destination.octets(), 136, 28);
            (packet.next, packet.payload) = (136, lite(coverage, 20, &pseudo));
            if let Some((at, turned)) = change {
                packet.payload[at] ^= turned;
            }
        });
    }
    fragments6(all);
    discovery(all);
}

/// Orders of fragments of an echo request to us over IPv6.
pub fn fragments6(all: &mut Corpus) {
    type Pieces = &'static [(usize, usize, bool)];
    let orders: [(&str, Pieces); 8] = [
        ("in order", &[(0, 24, true), (24, 24, true), (48, 16, false)]),
        ("in reverse", &[(48, 16, false), (24, 24, true), (0, 24, true)]),
        ("one twice", &[(0, 24, true), (24, 24, true), (24, 24, true), (48, 16, false)]),
        ("overlapping in front", &[(0, 24, true), (16, 32, true), (48, 16, false)]),
        ("overlapping behind", &[(24, 40, false), (0, 32, true)]),
        ("that are no multiple of 8", &[(0, 20, true)]),
        ("beyond 65,535 bytes", &[(65_528, 16, false)]),
        ("without the upper header", &[(0, 0, true)]),
    ];
    for (name, pieces) in orders {
        let source = host6(all.host());
        let message = [&[128, 0, 0, 0, 0, 7, 0, 1][..], &bytes(56)].concat();
        let pseudo = pseudo6(&source.octets(), &six("fd00:1::1").octets(), 58, message.len());
        let message = finish(message, 2, &pseudo);
        let frames = pieces.iter().map(|(offset, len, more)| {
            let packet = all.packet6("fd00:1::1", |packet| {
                let place = (*offset as u16 | u16::from(*more)).to_be_bytes();
                packet.next = 44;
                packet.payload = vec![58, 0, place[0], place[1], 0, 0, 0, 9];
                packet.payload.extend(message.iter().cycle().skip(*offset % 64).take(*len));
            });
            frame(TO_LAN, 0x86dd, &packet)
        });
        let frames = frames.collect();
        all.raw(&format!("IPv6 fragments {name}"), frames);
    }
}

/// Neighbour discovery and ARP, from a neighbour of the link.
pub fn discovery(all: &mut Corpus) {
    let ours = six("fd00:1::1").octets();
    let option = [&[1, 1][..], &HOST_MAC].concat();
    let solicit = |target: &[u8], option: &[u8]| [target, option].concat();
    type Change = Box<dyn FnOnce(&mut V6)>;
    let from = |source: &'static str, hops: u8| -> Change {
        Box::new(move |packet: &mut V6| {
            let message = packet.payload.clone();
            (packet.source, packet.hops) = (six(source), hops);
            let pseudo = pseudo6(&packet.source.octets(), &packet.destination.octets(), 58, message.len());
            let mut message = message;
            message[2..4].fill(0);
            packet.payload = finish(message, 2, &pseudo);
        })
    };
    let group = "ff02::1:ff00:1";
    for (name, to, target, option, change) in [
        ("a solicitation for us", group, ours, &option[..], from("fd00:1::77", 255)),
        ("a solicitation for us alone", "fd00:1::1", ours, &option, from("fd00:1::77", 255)),
        ("a solicitation without an address", group, ours, &[], from("fd00:1::77", 255)),
        ("a solicitation of hop limit 64", group, ours, &option, from("fd00:1::77", 64)),
        ("a solicitation with an option of length 0", group, ours, &[1, 0, 0, 0, 0, 0, 0, 0], from("fd00:1::77", 255)),
        ("a solicitation for somebody else", group, six("fd00:1::9").octets(), &option, from("fd00:1::77", 255)),
        ("a solicitation for a group", group, six("ff02::1").octets(), &option, from("fd00:1::77", 255)),
    ] {
        all.icmp6_to(to, name, [135, 0], [0; 4], &solicit(&target, option), change);
    }
    let arp = |operation: u8, sender: [u8; 4], target: [u8; 4]| {
        [&[0, 1, 8, 0, 6, 4, 0, operation][..], &HOST_MAC, &sender, &[0; 6], &target].concat()
    };
    let (us, host) = ([10, 0, 1, 1], [10, 0, 1, 77]);
    for (name, packet) in [
        ("an ARP request for us", arp(1, host, us)),
        ("an ARP request for our other address", arp(1, host, [10, 0, 2, 1])),
        ("an ARP request for somebody else", arp(1, host, [10, 0, 1, 9])),
        ("an ARP probe for our address", arp(1, [0; 4], us)),
        ("an ARP request of operation 3", arp(3, host, us)),
        ("an ARP request for another network", arp(1, [192, 0, 2, 9], us)),
        ("an ARP request cut short", arp(1, host, us)[..27].to_vec()),
        ("an ARP request for loopback", arp(1, host, [127, 0, 0, 1])),
    ] {
        all.raw(name, vec![frame(([0xff; 6], HOST_MAC), 0x0806, &packet)]);
        all.raw(&format!("{name}, to us alone"), vec![frame(TO_LAN, 0x0806, &packet)]);
    }
}
