//! Cases of IPv4: in transit, to us, whole and in fragments.

use super::corpus::*;
use super::packets::*;

pub fn forwarded4(all: &mut Corpus) {
    all.v4("a datagram", |_| {});
    for ttl in [0, 1, 2, 255] {
        all.v4(&format!("TTL {ttl}"), |packet| packet.ttl = ttl);
    }
    for tos in [0xb8, 1, 2, 3] {
        all.v4(&format!("TOS {tos:#04x}"), |packet| packet.tos = tos);
    }
    for (name, flags) in [("DF", 0x4000), ("the reserved flag", 0x8000), ("all flags", 0xe000)] {
        all.v4(name, |packet| packet.fragment = flags);
    }
    for (name, flags) in [("a first", 0x2000), ("a middle", 0x2003), ("a last", 0x0004)] {
        all.v4(&format!("{name} fragment in transit"), |packet| packet.fragment = flags);
    }
    for (name, flags, size) in [
        ("long, with DF", 0x4000, 1401),
        ("long", 0, 1401),
        ("very long", 0, 1500),
        ("long, a first fragment", 0x2000, 1500),
        ("long, a later fragment", 0x0010, 1480),
        ("exactly as long as the link", 0x4000, 1400),
    ] {
        all.v4(name, |packet| {
            packet.fragment = flags;
            packet.payload = bytes(size - 20);
        });
    }
    all.v4("long, with options that are and are not copied", |packet| {
        packet.options = vec![130, 4, 1, 2, 7, 7, 4, 0, 0, 0, 0, 1];
        packet.payload = bytes(1440);
    });
    all.v4("a protocol that nobody knows", |packet| packet.protocol = 253);
    all.v4("protocol 0", |packet| packet.protocol = 0);
    all.v4("no payload", |packet| packet.payload.clear());
    all.v4("a wrong UDP sum in transit", |packet| packet.payload[6] ^= 1);
    for (name, to) in [
        ("nowhere", "198.51.100.1"),
        ("into a black hole", "203.0.113.1"),
        ("to what is unreachable", "203.0.112.1"),
        ("to what is prohibited", "203.0.111.1"),
        ("to the broadcast address of another link", "10.0.2.255"),
        ("to class E", "240.0.0.1"),
        ("to 0.0.0.0", "0.0.0.0"),
        ("to loopback", "127.0.0.1"),
        ("to link-local", "169.254.1.1"),
    ] {
        all.v4(name, |packet| packet.destination = four(to));
    }
    for (name, from) in [
        ("from loopback", "127.0.0.1"),
        ("from 0.0.0.0", "0.0.0.0"),
        ("from 0.0.0.1", "0.0.0.1"),
        ("from a group", "224.0.0.5"),
        ("from class E", "240.0.0.1"),
        ("from everybody", "255.255.255.255"),
        ("from the router itself", "10.0.1.1"),
        ("from the router's other address", "10.0.2.1"),
        ("from the link's broadcast address", "10.0.1.255"),
        ("from the other side", "10.0.2.77"),
        ("from nowhere that is routed", "198.51.100.9"),
        ("from link-local", "169.254.1.1"),
    ] {
        all.v4(name, |packet| packet.source = four(from));
    }
    for (name, link) in [("broadcast", [0xff; 6]), ("multicast", [1, 0, 0x5e, 0, 0, 1])] {
        let packet = all.packet4("10.78.0.1", |_| {});
        all.raw(&format!("a unicast packet in a {name} frame"), vec![frame((link, HOST_MAC), 0x0800, &packet)]);
        let packet = all.packet4("10.0.1.1", |packet| packet.protocol = 253);
        all.raw(&format!("a unicast packet for us in a {name} frame"), vec![frame((link, HOST_MAC), 0x0800, &packet)]);
    }
    let packet = all.packet4("10.78.0.1", |packet| packet.payload.truncate(9));
    all.raw("padding behind the packet", vec![[frame(TO_LAN, 0x0800, &packet), vec![0xee; 30]].concat()]);
    let redirected = |all: &Corpus, tos| {
        let packet = all.packet4("10.0.1.78", |packet| (packet.source, packet.tos) = (four("10.0.1.77"), tos));
        frame(TO_LAN, 0x0800, &packet)
    };
    let frames = vec![redirected(all, 0)];
    all.raw("to a neighbour of the sender", frames);
}

pub fn headers4(all: &mut Corpus) {
    for first in [0x55, 0x44, 0x40, 0x65, 0x46, 0x4f] {
        all.v4(&format!("a first byte of {first:#04x}"), |packet| packet.first = first);
    }
    for len in [0, 19, 20, 59, 61, 65_535] {
        all.v4(&format!("a total length of {len}"), |packet| packet.len = Some(len));
    }
    all.v4("a wrong header sum", |packet| packet.sum = Some(1));
    all.v4("a header sum of 0", |packet| packet.sum = Some(0));
    // Options: in transit, and in an echo request to us.
    for (name, options) in [
        ("no operation", vec![1, 1, 1, 0]),
        ("bytes behind the end of options", vec![0, 7, 7, 7]),
        ("a record of the route", vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a record of the route that is full", vec![7, 7, 8, 9, 9, 9, 9, 0]),
        ("a record of the route with room for three bytes", vec![7, 10, 8, 9, 9, 9, 9, 0, 0, 0, 0, 0]),
        ("a record of the route with pointer 3", vec![7, 7, 3, 0, 0, 0, 0, 0]),
        ("a record of the route with pointer 5", vec![7, 11, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a record of the route of 2 bytes", vec![7, 2, 0, 0]),
        ("a timestamp option that is full", vec![68, 8, 9, 0, 1, 2, 3, 4]),
        ("a timestamp option that overflows", vec![68, 8, 9, 0xf0, 1, 2, 3, 4]),
        ("a timestamp option with pointer 4", vec![68, 8, 4, 0, 1, 2, 3, 4]),
        ("a timestamp option of 3 bytes", vec![68, 3, 5, 0]),
        ("a timestamp option for another's address", vec![68, 12, 5, 3, 10, 0, 1, 9, 0, 0, 0, 0]),
        ("a timestamp option with an unknown flag", vec![68, 8, 5, 7, 1, 2, 3, 4]),
        ("a loose source route that is over", vec![131, 7, 8, 9, 9, 9, 9, 0]),
        ("a strict source route that is over", vec![137, 7, 8, 9, 9, 9, 9, 0]),
        ("a loose source route with pointer 3", vec![131, 7, 3, 9, 9, 9, 9, 0]),
        ("a router alert", vec![148, 4, 0, 0]),
        ("a router alert of 3 bytes", vec![148, 3, 0, 0]),
        ("a router alert of value 1", vec![148, 4, 0, 1]),
        ("security", vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("an option that nobody knows", vec![0x9e, 4, 1, 2]),
        ("an unknown option of length 0", vec![0x9e, 0, 1, 2]),
        ("an unknown option of length 1", vec![0x9e, 1, 1, 2]),
        ("an option beyond the header", vec![7, 39, 4, 0]),
        ("an option without its length", vec![1, 1, 1, 7]),
    ] {
        all.v4(&format!("{name}, in transit"), |packet| packet.options.clone_from(&options));
        all.icmp4(&format!("{name}, to us"), [8, 0], [0, 7, 0, 1], &bytes(8), |packet| packet.options = options);
    }
}

pub fn ask_us4(all: &mut Corpus) {
    let echo = |all: &mut Corpus, name: &str, change: &dyn Fn(&mut V4)| {
        all.icmp4(name, [8, 0], [0, 7, 0, 1], &bytes(40), |packet| change(packet));
    };
    echo(all, "an echo request", &|_| {});
    echo(all, "an echo request with TTL 1", &|packet| packet.ttl = 1);
    echo(all, "an echo request with TOS", &|packet| packet.tos = 0xb9);
    echo(all, "an echo request with DF", &|packet| packet.fragment = 0x4000);
    echo(all, "an echo request with a wrong sum", &|packet| packet.payload[2] ^= 1);
    echo(all, "an echo request of three bytes", &|packet| packet.payload.truncate(3));
    echo(all, "an echo request of code 5", &|packet| {
        packet.payload[1..4].fill(0);
        packet.payload[1] = 5;
        packet.payload = finish(packet.payload.clone(), 2, &[]);
    });
    for (name, to) in [
        ("our other address", "10.0.2.1"),
        ("the link's broadcast address", "10.0.1.255"),
        ("everybody", "255.255.255.255"),
        ("all hosts", "224.0.0.1"),
    ] {
        echo(all, &format!("an echo request to {name}"), &|packet| packet.destination = four(to));
    }
    for (name, kind, len) in [
        ("an echo reply", [0, 0], 40),
        ("a timestamp request", [13, 0], 12),
        ("a timestamp request that is too short", [13, 0], 8),
        ("a timestamp reply", [14, 0], 12),
        ("an information request", [15, 0], 0),
        ("an address mask request", [17, 0], 4),
        ("an address mask reply", [18, 0], 4),
        ("a router solicitation", [10, 0], 0),
        ("a type that nobody knows", [41, 0], 8),
        ("an extended echo request", [42, 0], 8),
        ("a source quench about nothing", [4, 0], 28),
        ("a redirect about nothing", [5, 1], 28),
        ("an unreachable about nothing", [3, 3], 28),
        ("a need to fragment about nothing", [3, 4], 28),
        ("a time exceeded that is too short", [11, 0], 8),
    ] {
        all.icmp4(name, kind, [0, 7, 0, 1], &bytes(len), |_| {});
    }
    let datagram = || [udp_header(4000, 9, 20), bytes(20)].concat();
    all.ask_us4("UDP to a closed port", 17, datagram(), |_| {});
    all.ask_us4("UDP to a closed port with TOS and TTL 1", 17, datagram(), |packet| (packet.tos, packet.ttl) = (0x10, 1));
    all.ask_us4("UDP to a closed port, of many bytes", 17, [udp_header(4000, 9, 1200), bytes(1200)].concat(), |_| {});
    all.ask_us4("UDP to a closed port, with options", 17, datagram(), |packet| packet.options = vec![148, 4, 0, 0]);
    all.ask_us4("UDP without a sum to a closed port", 17, datagram(), |packet| packet.payload[6..8].fill(0));
    all.ask_us4("UDP with a wrong sum to a closed port", 17, datagram(), |packet| packet.payload[6] ^= 1);
    all.ask_us4("UDP of length 7", 17, datagram(), |packet| packet.payload[5] = 7);
    all.ask_us4("UDP that is longer than its packet", 17, datagram(), |packet| packet.payload[5] = 200);
    all.ask_us4("UDP that is shorter than its packet", 17, datagram(), |packet| packet.payload.extend([0; 9]));
    all.ask_us4("UDP of four bytes", 17, datagram(), |packet| packet.payload.truncate(4));
    all.ask_us4("UDP to everybody", 17, datagram(), |packet| packet.destination = four("255.255.255.255"));
    all.ask_us4("UDP to the link's broadcast address", 17, datagram(), |packet| packet.destination = four("10.0.1.255"));
    for (name, flags) in [("SYN", 2), ("ACK", 16), ("FIN", 1), ("RST", 4), ("SYN and ACK", 18), ("nothing", 0), ("all", 63)] {
        all.ask_us4(&format!("TCP with {name} to a closed port"), 6, tcp_header(flags), |_| {});
    }
    all.ask_us4("TCP with data to a closed port", 6, [tcp_header(24), bytes(10)].concat(), |_| {});
    all.ask_us4("TCP with a wrong sum", 6, tcp_header(2), |packet| packet.payload[16] ^= 1);
    all.ask_us4("TCP with an offset of 4", 6, tcp_header(2), |packet| packet.payload[12] = 0x40);
    all.ask_us4("TCP of ten bytes", 6, tcp_header(2), |packet| packet.payload.truncate(10));
    for (name, coverage, change) in LITE {
        all.v4(&format!("UDP-Lite to a closed port, {name}"), |packet| {
            packet.destination = four("10.0.1.1");
            let pseudo = pseudo4(&packet.source.octets(), &packet.destination.octets(), 136, 28);
            (packet.protocol, packet.payload) = (136, lite(coverage, 20, &pseudo));
            if let Some((at, turned)) = change {
                packet.payload[at] ^= turned;
            }
        });
    }
    all.ask_us4("UDP-Lite without a sum", 136, datagram(), |packet| packet.payload[6..8].fill(0));
    all.ask_us4("UDP-Lite of seven bytes", 136, datagram(), |packet| packet.payload.truncate(7));
    all.ask_us4("UDP-Lite to everybody", 136, datagram(), |packet| packet.destination = four("255.255.255.255"));
    for protocol in [0, 2, 4, 41, 47, 50, 51, 89, 103, 132, 136, 253, 255] {
        let payload = bytes(40);
        all.v4(&format!("protocol {protocol} to us"), |packet| {
            (packet.protocol, packet.destination, packet.payload) = (protocol, four("10.0.1.1"), payload);
        });
    }
    fragments4(all);
}

/// Orders of fragments of an echo request to us.
pub fn fragments4(all: &mut Corpus) {
    type Pieces = &'static [(usize, usize, bool)];
    let orders: [(&str, Pieces); 10] = [
        ("in order", &[(0, 24, true), (24, 24, true), (48, 16, false)]),
        ("in reverse", &[(48, 16, false), (24, 24, true), (0, 24, true)]),
        ("the middle last", &[(0, 24, true), (48, 16, false), (24, 24, true)]),
        ("one twice", &[(0, 24, true), (24, 24, true), (24, 24, true), (48, 16, false)]),
        ("overlapping in front", &[(0, 24, true), (16, 32, true), (48, 16, false)]),
        ("overlapping behind", &[(24, 40, false), (0, 32, true)]),
        ("one inside another", &[(0, 48, true), (8, 16, true), (48, 16, false)]),
        ("two ends", &[(0, 24, true), (24, 24, false), (24, 24, true), (48, 16, false)]),
        ("a piece behind the end", &[(48, 16, false), (64, 8, true), (0, 24, true), (24, 24, true)]),
        ("one of 8 bytes first", &[(0, 8, true), (8, 56, false)]),
    ];
    let message = finish([&[8, 0, 0, 0, 0, 7, 0, 1][..], &bytes(56)].concat(), 2, &[]);
    for (name, pieces) in orders {
        let frames = pieces.iter().map(|(offset, len, more)| {
            let packet = all.packet4("10.0.1.1", |packet| {
                packet.protocol = 1;
                packet.fragment = (*offset / 8) as u16 | u16::from(*more) << 13;
                let mut whole = message.clone();
                whole.resize(80, 0);
                packet.payload = whole[*offset..offset + len].to_vec();
            });
            frame(TO_LAN, 0x0800, &packet)
        });
        let frames = frames.collect();
        all.raw(&format!("IPv4 fragments {name}"), frames);
    }
    for (name, fragment, len) in [
        ("of 0 bytes", 0x2000, 0),
        ("of 7 bytes, with more to come", 0x2000, 7),
        ("beyond 65,535 bytes", 0x1fff, 100),
        ("alone, with DF", 0x6000, 16),
    ] {
        let payload = bytes(len);
        all.v4(&format!("an IPv4 fragment {name}"), |packet| {
            (packet.destination, packet.protocol) = (four("10.0.1.1"), 1);
            (packet.fragment, packet.payload) = (fragment, payload);
        });
    }
}
