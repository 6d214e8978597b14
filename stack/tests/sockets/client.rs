//! What these conversations share: a host with two families on `lan`, the client's packets, and short words for calls.

pub use crate::common::*;
pub use core::net::{IpAddr, SocketAddr};
pub use flumen_stack::checksum;
pub use flumen_stack::socket::{Error, Family, Handle, Opt, Owner, SendArgs, SendControl};
pub use flumen_stack::{Counter, DropReason, FramePool, PortId};

pub fn host() -> Router {
    let mut router = Router::new(&rib(), Sizes::default(), interfaces());
    router.introduce();
    router
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn us(source: IpAddr) -> IpAddr {
    ip(if source.is_ipv4() { "10.0.1.1" } else { "fd00:1::1" })
}

/// An IP packet of either family in a frame from the client.
pub fn packet(protocol: u8, source: IpAddr, destination: IpAddr, payload: Vec<u8>) -> Vec<u8> {
    let mac = match destination {
        IpAddr::V4(to) if to.is_multicast() => {
            let [_, b, c, d] = to.octets();
            flumen_stack::MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V4(to) if to.octets()[3] == 255 => flumen_stack::MacAddr::BROADCAST,
        IpAddr::V6(to) if to.is_multicast() => {
            let [.., a, b, c, d] = to.octets();
            flumen_stack::MacAddr([0x33, 0x33, a, b, c, d])
        }
        _ => our_mac(LAN),
    };
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let packet = V4 {
                tos: 0x20,
                id: 7,
                fragment: 0,
                ttl: 61,
                protocol,
                source,
                destination,
                options: Vec::new(),
                payload,
            };
            ethernet(mac, station(LAN, 2), 0x0800, &packet.bytes())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let packet =
                V6 { word: 0x6200_0000, next_header: protocol, hop_limit: 61, source, destination, payload };
            ethernet(mac, station(LAN, 2), 0x86dd, &packet.bytes())
        }
        _ => panic!("one family"),
    }
}

/// A datagram from the client's port 12345 to `to`.
pub fn datagram(source: &str, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let payload = upper(17, ip(source), to.ip(), to.port().to_be_bytes(), data);
    packet(17, ip(source), to.ip(), payload)
}

/// What the client sees: (source port, destination port, data) of a UDP datagram in a frame, checksums verified.
pub fn udp_of(frame: &[u8]) -> (u16, u16, Vec<u8>) {
    let (ip_len, pseudo) = match frame[12..14] {
        [8, 0] => {
            assert!(checksum::sum(&frame[14..34]).is_valid(), "IPv4 header");
            let (a, b): ([u8; 4], [u8; 4]) =
                (frame[26..30].try_into().unwrap(), frame[30..34].try_into().unwrap());
            (20, checksum::pseudo_ipv4(a.into(), b.into(), 17, (frame.len() - 34) as u16))
        }
        _ => {
            let (a, b): ([u8; 16], [u8; 16]) =
                (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
            (40, checksum::pseudo_ipv6(&a.into(), &b.into(), 17, (frame.len() - 54) as u32))
        }
    };
    let message = &frame[14 + ip_len..];
    if message[6..8] != [0, 0] {
        assert!(pseudo.plus(checksum::sum(message)).is_valid(), "UDP checksum");
    }
    let half = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    assert_eq!(usize::from(half(4)), message.len());
    (half(0), half(2), message[8..].to_vec())
}

pub fn server(host: &mut Router, family: Family, name: &str) -> Handle {
    let socket = host.stack.udp_open(family, Owner(1)).unwrap();
    host.stack.udp_bind(socket, at(name)).unwrap();
    socket
}

pub fn set(host: &mut Router, socket: Handle, option: Opt) {
    host.turn(|stack, turn| stack.udp_set(turn, socket, option)).unwrap();
}

pub fn send(host: &mut Router, socket: Handle, args: SendArgs, data: &[u8]) -> Result<usize, Error> {
    host.turn(|stack, turn| stack.udp_send(turn, socket, &args, data))
}

pub fn read(host: &mut Router, socket: Handle) -> Result<Vec<u8>, Error> {
    let mut out = [0; 65_536];
    host.stack.udp_recv(socket, &mut out).map(|got| out[..got.len].to_vec())
}

#[track_caller]
pub fn assert_nothing_is_held(host: &mut Router) {
    assert_eq!(host.stack.blocks.in_use(), 0, "blocks");
    assert_eq!(host.pool.available(), 512, "frames");
}
