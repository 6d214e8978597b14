//! Frames from fields. The headers are made once; what varies is drawn and written over them, and the checksums are
//! those of what stays plus what was drawn: a frame costs a copy of its bytes and a few additions.
//!
//! ```text
//!   Ethernet | VLAN tag | IPv4 or IPv6 | UDP, TCP or ICMP | mark | zeros up to the size
//!   `-------------- headers, 128 bytes of room ----------------'   sum nothing
//! ```
//! Flows are headers that were drawn ahead. Lengths, sums and the mark depend on the frame and are written last
//! ([`Template::finish`]).

use super::generator::Generator;
use super::limits::HEADER_ROOM;
use super::mark::{self, Mark};
use super::scenario::Protocol;
use super::size::FCS;
use crate::random::Random;
use flumen_stack::checksum::{self, Sum};
use flumen_stack::wire::ip_protocol::IpProtocol;
use flumen_stack::wire::{ethernet, icmpv6, ipv4, ipv6, tcp, udp};

/// What every field of a frame is drawn from.
#[derive(Debug, Clone)]
pub struct Fields {
    /// What IP carries.
    pub protocol: Protocol,
    /// IPv6.
    pub v6: bool,
    /// Ethernet.
    pub source_mac: Generator,
    /// Ethernet.
    pub destination_mac: Generator,
    /// VLAN and priority.
    pub vlan: Option<(Generator, u8)>,
    /// IP.
    pub source: Generator,
    /// IP.
    pub destination: Generator,
    /// UDP, TCP.
    pub source_port: Generator,
    /// UDP, TCP.
    pub destination_port: Generator,
    /// TTL or hop limit.
    pub ttl: Generator,
    /// TOS or traffic class.
    pub tos: Generator,
    /// Sum UDP over IPv4.
    pub checksum: bool,
}

/// Which sums a field is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sums {
    None,
    /// IPv4's header.
    Network,
    /// UDP, TCP, ICMPv6.
    Transport,
    /// The addresses, by the pseudo-header.
    Both,
}

/// A field: where it is, and what it is drawn from.
#[derive(Debug, Clone)]
struct Field {
    generator: Generator,
    offset: usize,
    bytes: usize,
    /// The value is moved up by this many bits, and these are set beside it.
    shift: u32,
    beside: u128,
    sums: Sums,
}

/// Where things are, the same for all frames of a scenario.
#[derive(Debug, Clone)]
struct Places {
    network: usize,
    transport: usize,
    payload: usize,
    v6: bool,
    protocol: Protocol,
    udp_checksum: bool,
}

/// Headers whose fields are drawn, with the sums of all that does not depend on the frame's length and mark.
#[derive(Debug, Clone)]
pub struct Headers {
    bytes: [u8; HEADER_ROOM],
    network_sum: Sum,
    transport_sum: Sum,
}

/// The maker of frames.
#[derive(Debug)]
pub struct Template {
    places: Places,
    base: Headers,
    varying: Vec<Field>,
    flows: Vec<Headers>,
    flow_length: u64,
    random: Random,
    current: Headers,
}

impl Template {
    /// A template of these fields. With `flows`, so many are drawn now, and take turns of `flow_length` frames; without,
    /// every frame draws for itself.
    pub fn new(fields: &Fields, flows: usize, flow_length: u64, seed: u64) -> Template {
        let places = Places::of(fields);
        let mut base = Headers { bytes: [0; HEADER_ROOM], network_sum: Sum::ZERO, transport_sum: Sum::ZERO };
        places.write_constants(&mut base.bytes);
        base.network_sum = checksum::sum(&base.bytes[places.network..places.transport]);
        base.transport_sum = checksum::sum(&base.bytes[places.transport..places.payload]);
        if let Some(protocol) = places.protocol_number() {
            base.transport_sum = base.transport_sum.plus_u16(protocol.0.into());
        }
        let (fixed, varying): (Vec<Field>, Vec<Field>) =
            places.fields(fields).into_iter().partition(|field| field.generator.fixed().is_some());
        let mut random = Random::new(seed);
        for mut field in fixed {
            base.draw(&mut field, &mut random);
        }
        let mut template = Template {
            places,
            current: base.clone(),
            base,
            varying,
            flows: Vec::new(),
            flow_length: flow_length.max(1),
            random,
        };
        // Without anything that varies there is one flow, however many were asked for.
        let flows = if template.varying.is_empty() { 1 } else { flows };
        for _ in 0..flows {
            template.draw();
            template.flows.push(template.current.clone());
        }
        template
    }

    /// Lets every field begin elsewhere than it does for the workers before: `worker` of `workers`.
    pub fn spread(fields: &mut Fields, worker: usize) {
        for generator in [
            &mut fields.source_mac,
            &mut fields.source,
            &mut fields.destination,
            &mut fields.source_port,
            &mut fields.destination_port,
        ] {
            generator.skip(worker * 1009); // a prime: no range of a round length is walked in step
        }
    }

    /// The flow that frame `number` belongs to; without flows, draws its fields.
    #[inline]
    pub fn select(&mut self, number: u64) -> usize {
        if self.flows.is_empty() {
            self.draw();
            return 0;
        }
        (number / self.flow_length % self.flows.len() as u64) as usize
    }

    /// The headers of a flow, as they stand in front of a frame; zeros behind them.
    #[inline]
    pub fn headers(&self, flow: usize) -> &[u8; HEADER_ROOM] {
        &self.of(flow).bytes
    }

    #[inline]
    fn of(&self, flow: usize) -> &Headers {
        self.flows.get(flow).unwrap_or(&self.current)
    }

    /// Flows that were drawn ahead; 1 when every frame draws for itself.
    pub fn flows(&self) -> usize {
        self.flows.len().max(1)
    }

    /// The shortest frame, with its check sequence, that has room for headers and, if wanted, mark.
    pub fn shortest(&self, mark: bool) -> usize {
        self.places.payload + FCS + if mark { mark::LEN } else { 0 }
    }

    /// Writes into `frame`, in which the headers of the flow stand in front of zeros, what depends on this frame alone.
    /// `len`: of the whole frame, which may be longer than its first piece, `frame`.
    #[inline]
    pub fn finish(&self, flow: usize, frame: &mut [u8], len: usize, mark: Option<Mark>) {
        self.of(flow).finish(&self.places, frame, len, mark);
    }

    fn draw(&mut self) {
        self.current.clone_from(&self.base);
        for field in &mut self.varying {
            self.current.draw(field, &mut self.random);
        }
    }
}

impl Headers {
    /// Draws a field into its place, which is zero, and adds it to its sums.
    #[inline]
    fn draw(&mut self, field: &mut Field, random: &mut Random) {
        let value = field.generator.draw(random) << field.shift | field.beside;
        let all = value.to_be_bytes();
        let bytes = &all[all.len() - field.bytes..];
        self.bytes[field.offset..field.offset + field.bytes].copy_from_slice(bytes);
        let mut sum = checksum::sum(bytes);
        if field.offset % 2 == 1 {
            sum = sum.swapped(); // the low half of its word
        }
        if matches!(field.sums, Sums::Network | Sums::Both) {
            self.network_sum = self.network_sum.plus(sum);
        }
        if matches!(field.sums, Sums::Transport | Sums::Both) {
            self.transport_sum = self.transport_sum.plus(sum);
        }
    }

    #[inline]
    fn finish(&self, places: &Places, frame: &mut [u8], len: usize, mark: Option<Mark>) {
        let put = |frame: &mut [u8], at: usize, value: u16| {
            if let Some(to) = frame.get_mut(at..at + 2) {
                to.copy_from_slice(&value.to_be_bytes());
            }
        };
        let (network, transport) = (places.network, places.transport);
        let total = (len - network) as u16;
        let upper = (len - transport) as u16;
        if places.v6 {
            put(frame, network + 4, upper);
        } else {
            put(frame, network + 2, total);
            put(frame, network + 10, self.network_sum.plus_u16(total).checksum());
        }
        let mut sum = self.transport_sum;
        if let Some(mark) = mark {
            let bytes = mark.to_bytes();
            frame[places.payload..places.payload + mark::LEN].copy_from_slice(&bytes);
            sum = sum.plus(checksum::sum(&bytes));
        }
        match places.protocol {
            Protocol::Udp => {
                put(frame, transport + 4, upper);
                if places.udp_checksum {
                    // The length is in the pseudo-header and in the header.
                    let sum = sum.plus_u16(upper).plus_u16(upper);
                    put(frame, transport + udp::CHECKSUM_OFFSET, sum.checksum_nonzero());
                }
            }
            Protocol::TcpSyn => {
                put(frame, transport + tcp::CHECKSUM_OFFSET, sum.plus_u16(upper).checksum());
            }
            Protocol::Icmp => {
                // Identifier and sequence, so that it looks like a ping to whoever answers.
                let (stream, number) = mark.map_or((0, 0), |mark| (mark.stream, mark.sequence as u16));
                put(frame, transport + 4, stream);
                put(frame, transport + 6, number);
                let mut sum = sum.plus_u16(stream).plus_u16(number);
                if places.v6 {
                    sum = sum.plus_u16(upper);
                }
                put(frame, transport + icmpv6::CHECKSUM_OFFSET, sum.checksum());
            }
            Protocol::Raw(_) => {}
        }
    }
}

impl Places {
    fn of(fields: &Fields) -> Places {
        let network = ethernet::HEADER_LEN + if fields.vlan.is_some() { 4 } else { 0 };
        let transport = network + if fields.v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let header = match fields.protocol {
            Protocol::Udp => udp::HEADER_LEN,
            Protocol::TcpSyn => tcp::HEADER_LEN,
            Protocol::Icmp => icmpv6::HEADER_LEN,
            Protocol::Raw(_) => 0,
        };
        Places {
            network,
            transport,
            payload: transport + header,
            v6: fields.v6,
            protocol: fields.protocol.clone(),
            // RFC 8200 section 8.1: over IPv6 it is not optional.
            udp_checksum: fields.checksum || fields.v6,
        }
    }

    /// The number in the pseudo-header, where there is one; ICMP for IPv4 has none.
    fn protocol_number(&self) -> Option<IpProtocol> {
        match self.protocol {
            Protocol::Udp => Some(IpProtocol::UDP),
            Protocol::TcpSyn => Some(IpProtocol::TCP),
            Protocol::Icmp => self.v6.then_some(IpProtocol::ICMPV6),
            Protocol::Raw(_) => None,
        }
    }

    /// What no field says.
    fn write_constants(&self, bytes: &mut [u8]) {
        if self.network > ethernet::HEADER_LEN {
            bytes[12..14].copy_from_slice(&ethernet::EtherType::VLAN.0.to_be_bytes());
        }
        let ether_type = if self.v6 { ethernet::EtherType::IPV6 } else { ethernet::EtherType::IPV4 };
        bytes[self.network - 2..self.network].copy_from_slice(&ether_type.0.to_be_bytes());
        if !self.v6 {
            // A router may not fragment what is measured: RFC 791's don't-fragment bit.
            bytes[self.network + 6..self.network + 8].copy_from_slice(&ipv4::DONT_FRAGMENT.to_be_bytes());
        }
        let transport = &mut bytes[self.transport..];
        match self.protocol {
            Protocol::TcpSyn => {
                let offset_flags = 5 << 12 | tcp::flag::SYN;
                transport[12..14].copy_from_slice(&offset_flags.to_be_bytes());
                transport[14..16].copy_from_slice(&u16::MAX.to_be_bytes()); // the window
            }
            Protocol::Icmp => transport[0] = if self.v6 { icmpv6::kind::ECHO_REQUEST } else { 8 },
            Protocol::Udp | Protocol::Raw(_) => {}
        }
    }

    /// The fields, each at its place.
    fn fields(&self, fields: &Fields) -> Vec<Field> {
        let plain = |generator: &Generator, offset, bytes, sums| Field {
            generator: generator.clone(),
            offset,
            bytes,
            shift: 0,
            beside: 0,
            sums,
        };
        let word = |generator: &Generator, offset, shift, beside: u16, sums| Field {
            generator: generator.clone(),
            offset,
            bytes: 2,
            shift,
            beside: u128::from(beside),
            sums,
        };
        let mut all = vec![
            plain(&fields.destination_mac, 0, 6, Sums::None),
            plain(&fields.source_mac, 6, 6, Sums::None),
        ];
        if let Some((vlan, priority)) = &fields.vlan {
            all.push(word(vlan, ethernet::HEADER_LEN, 0, u16::from(*priority) << 13, Sums::None));
        }
        let at = self.network;
        let number = match &self.protocol {
            Protocol::Udp => IpProtocol::UDP.0,
            Protocol::TcpSyn => IpProtocol::TCP.0,
            Protocol::Icmp if self.v6 => IpProtocol::ICMPV6.0,
            Protocol::Icmp => IpProtocol::ICMP.0,
            Protocol::Raw(_) => 0,
        };
        let numbers = match &self.protocol {
            Protocol::Raw(numbers) => numbers.0.clone(),
            _ => Generator::Fixed(number.into()),
        };
        let (ttl, protocol) = if self.v6 { (at + 7, at + 6) } else { (at + 8, at + 9) };
        let sums = if self.v6 { Sums::None } else { Sums::Network };
        all.push(plain(&fields.ttl, ttl, 1, sums));
        all.push(plain(&numbers, protocol, 1, sums));
        if self.v6 {
            all.push(word(&fields.tos, at, 4, 0x6000, Sums::None));
            all.push(plain(&fields.source, at + 8, 16, Sums::Transport));
            all.push(plain(&fields.destination, at + 24, 16, Sums::Transport));
        } else {
            all.push(word(&fields.tos, at, 0, u16::from(ipv4::VERSION_IHL) << 8, Sums::Network));
            // ICMP for IPv4 has no pseudo-header (RFC 792).
            let both = if self.protocol_number().is_some() { Sums::Both } else { Sums::Network };
            all.push(plain(&fields.source, at + 12, 4, both));
            all.push(plain(&fields.destination, at + 16, 4, both));
        }
        if matches!(self.protocol, Protocol::Udp | Protocol::TcpSyn) {
            all.push(plain(&fields.source_port, self.transport, 2, Sums::Transport));
            all.push(plain(&fields.destination_port, self.transport + 2, 2, Sums::Transport));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketHeaders, TransportHeader};

    fn number(text: &str) -> Generator {
        text.parse::<super::super::values::Number<65535>>().unwrap().0
    }

    fn addresses(text: &str) -> Generator {
        text.parse::<super::super::values::Addresses>().unwrap().generator
    }

    fn fields(protocol: Protocol, v6: bool, vlan: bool) -> Fields {
        let (source, destination) =
            if v6 { ("fd00::1..fd00::9", "random fd01::/64") } else { ("10.0.0.1", "random 10.1.0.0/16") };
        Fields {
            protocol,
            v6,
            source_mac: Generator::Fixed(0x0200_0000_0001),
            destination_mac: Generator::Steps { first: 2, last: 4, step: 1, next: 2 },
            vlan: vlan.then(|| (number("7..9"), 5)),
            source: addresses(source),
            destination: addresses(destination),
            source_port: number("random 1024..65535"),
            destination_port: number("9,53"),
            ttl: number("1..255"),
            tos: number("random 0..255"),
            checksum: true,
        }
    }

    /// Frame `number` of a template, as the worker makes it.
    fn frame(template: &mut Template, number: u64, size: usize) -> Vec<u8> {
        let len = size - FCS;
        let mut frame = vec![0; len];
        let flow = template.select(number);
        let front = len.min(HEADER_ROOM);
        frame[..front].copy_from_slice(&template.headers(flow)[..front]);
        let mark = Mark { stream: flow as u16, sequence: number as u32, nanos: 77 };
        template.finish(flow, &mut frame, len, Some(mark));
        assert_eq!(Mark::find(&frame), Some(mark), "the receiver finds the mark");
        frame
    }

    /// Every checksum of a frame, made again from its bytes by another implementation.
    fn sums_are_right(frame: &[u8]) {
        let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
        let payload = headers.payload.slice();
        match (headers.net.unwrap(), headers.transport) {
            (etherparse::NetHeaders::Ipv4(ip, _), transport) => {
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                match transport {
                    Some(TransportHeader::Udp(udp)) => {
                        assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap());
                    }
                    Some(TransportHeader::Tcp(tcp)) => {
                        assert!(tcp.syn && !tcp.ack);
                        assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap());
                    }
                    Some(TransportHeader::Icmpv4(icmp)) => {
                        assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload));
                    }
                    other => assert!(other.is_none(), "{other:?}"),
                }
            }
            (etherparse::NetHeaders::Ipv6(ip, _), transport) => match transport {
                Some(TransportHeader::Udp(udp)) => {
                    assert_eq!(udp.checksum, udp.calc_checksum_ipv6(&ip, payload).unwrap());
                }
                Some(TransportHeader::Tcp(tcp)) => {
                    assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload).unwrap());
                }
                Some(TransportHeader::Icmpv6(icmp)) => {
                    let sum = icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload).unwrap();
                    assert_eq!(icmp.checksum, sum);
                }
                other => assert!(other.is_none(), "{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_kind_of_frame_of_every_size_has_right_lengths_and_sums() {
        let raw = Protocol::Raw("100..120".parse().unwrap());
        for protocol in [Protocol::Udp, Protocol::TcpSyn, Protocol::Icmp, raw] {
            for (v6, vlan, flows) in [(false, false, 0), (true, false, 3), (false, true, 5), (true, true, 0)]
            {
                let mut template = Template::new(&fields(protocol.clone(), v6, vlan), flows, 1, 7);
                let shortest = template.shortest(true);
                assert!(shortest <= HEADER_ROOM);
                for (number, size) in
                    [shortest, shortest + 1, 128, 133, 594, 1518].iter().cycle().take(60).enumerate()
                {
                    sums_are_right(&frame(&mut template, number as u64, *size));
                }
            }
        }
    }

    #[test]
    fn a_udp_datagram_over_ipv4_fits_the_shortest_frame_with_its_mark() {
        let template = Template::new(&fields(Protocol::Udp, false, false), 0, 1, 1);
        assert_eq!(template.shortest(true), 62);
    }

    #[test]
    fn flows_take_turns_of_their_length_and_each_is_always_the_same() {
        let mut template = Template::new(&fields(Protocol::Udp, false, false), 4, 3, 1);
        let flows: Vec<usize> = (0..14).map(|number| template.select(number)).collect();
        assert_eq!(flows, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0]);
        let first = *template.headers(0);
        assert_eq!(first, *template.headers(flows[13]));
        assert_ne!(first, *template.headers(flows[3]));
    }

    #[test]
    fn without_checksum_udp_says_that_there_is_none_but_only_over_ipv4() {
        for (v6, none) in [(false, true), (true, false)] {
            let mut fields = fields(Protocol::Udp, v6, false);
            fields.checksum = false;
            let frame = frame(&mut Template::new(&fields, 0, 1, 1), 0, 128);
            let at = if v6 { 14 + 40 + 6 } else { 14 + 20 + 6 };
            assert_eq!(frame[at..at + 2] == [0, 0], none);
        }
    }
}
