//! The XDP program: which packets come to us, decided in the driver, assembled from the configuration.
//!
//! ```text
//!   packet --> exclusions --match--> XDP_PASS (the kernel)
//!                 | no
//!              claims (in order) --match--> bpf_redirect_map(xsks[queue]), XDP_PASS when the slot is empty
//!                 | no
//!              whole port: redirect        only claims: XDP_PASS
//! ```
//!
//! Decisions, where a packet alone does not say to whom it belongs
//! * **ARP** (RFC 826): decided by the target address, for requests and replies alike. A reply to a request of ours
//!   carries our address there, a reply to the kernel's carries the kernel's, so both get theirs, though XDP cannot
//!   copy a packet. Gratuitous ARP about other hosts goes to the kernel; our entries are refreshed by unreachability
//!   detection.
//! * **Neighbour discovery** (RFC 4861): a solicitation is decided by its target, an advertisement by its destination; one
//!   sent to all nodes goes to the kernel.
//! * An address that the kernel also has is [`Ownership::Shared`]: ARP, ND and fragments stay with the kernel, and the data
//!   plane learns its neighbours from the kernel's table or the configuration.
//! * **Fragments** carry ports only in the first one, and a datagram must not be torn apart. So all fragments of a
//!   datagram, the first too, go one way, by address and protocol alone: a claim on ports takes them when its address is
//!   `Ours` and leaves them when it is `Shared`; an exclusion passes them when it names an address, and not when it is
//!   for any address (or a router could not forward a fragment of TCP).
//! * **IPv4 options** are stepped over. **IPv6 extension headers** are walked, at most [`MAX_EXTENSIONS`] of them; behind more,
//!   the protocol counts as unknown: only claims on whole addresses match.
//! * **VLAN tags** that are in the bytes: not claimed by address; the whole port takes them.
//! * Too short to be looked at: the whole port takes it, otherwise the kernel gets it.

use crate::bpf::asm::{Assembler, Cond, Instruction, Label, Reg, Size, TooLong};
use Cond::{Equal, Greater, Less, NotEqual};
use Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;

/// Claims and exclusions of one port at most: with the worst of them (an IPv6 prefix with ports) the jumps of the
/// program stay within the 15 bits that an instruction has for them.
pub const MAX_RULES: usize = 512;

/// IPv6 extension headers that are walked. Hop-by-hop, routing, fragment and destination options: one of each
/// (RFC 8200 section 4.1).
pub const MAX_EXTENSIONS: usize = 4;

const XDP_PASS: i32 = 2;
const REDIRECT_MAP: i32 = 51;
/// Value of the port register when no port is visible: larger than any.
const NO_PORT: i32 = 0x1_0000;
/// Value of the protocol register when the walk ended before the protocol (RFC 5237: reserved).
const UNKNOWN_PROTOCOL: i32 = 255;
/// Where things are in an Ethernet frame.
const ETHERNET: i16 = 14;
const IPV4_END: i32 = 34;
const IPV6_END: i32 = 54;
const ARP_END: i32 = 42;

/// Addresses that start with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The prefix of `len` bits; bits behind them do not matter. `None` when the address has fewer.
    pub fn new(address: IpAddr, len: u8) -> Option<Prefix> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (len <= bits).then_some(Prefix { address, len })
    }

    /// One address.
    pub fn host(address: IpAddr) -> Prefix {
        Prefix { address, len: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Words and their masks, as loads from a packet give them.
    fn words(&self) -> Vec<(u32, u32)> {
        let octets = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut left = u32::from(self.len);
        octets
            .chunks_exact(4)
            .map(|word| {
                let bits = left.min(32);
                left -= bits;
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0).to_be();
                (u32::from_ne_bytes([word[0], word[1], word[2], word[3]]) & mask, mask)
            })
            .collect()
    }
}

/// Whose an address is: who answers ARP and ND for it, and who gets fragments without ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// In a claim: ours alone. In an exclusion: the kernel's alone.
    Sole,
    /// Both use it: ARP, ND and fragments go as if the rule were not there; for a claim, to the kernel.
    Shared,
}

/// Packets to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Their destination.
    pub destination: Prefix,
    /// Their IP protocol; any when `None`.
    pub protocol: Option<u8>,
    /// Their destination ports (TCP, UDP, UDP-Lite, DCCP, SCTP); any when `None`.
    pub ports: Option<RangeInclusive<u16>>,
    /// Whether the address is ours alone.
    pub ownership: Ownership,
}

/// Packets never to take: the way in for the operator. Exclusions win over claims, and over the whole port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// Their destination; any when `None`.
    pub address: Option<Prefix>,
    /// Their IP protocol; any when `None`.
    pub protocol: Option<u8>,
    /// Their destination ports (as in a claim); any when `None`.
    pub ports: Option<RangeInclusive<u16>>,
    /// `Sole`: ARP and ND for the address go to the kernel too. Without an address this says nothing.
    pub ownership: Ownership,
}

/// What to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claims {
    /// Everything that arrives.
    WholePort,
    /// Only this; the first claim that fits an address decides about its ARP and ND.
    Only(Vec<Claim>),
}

/// What comes to us and what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What to take.
    pub claims: Claims,
    /// What never to take.
    pub exclusions: Vec<Exclusion>,
}

impl Rules {
    /// Everything, without exception.
    pub fn whole_port() -> Rules {
        Rules { claims: Claims::WholePort, exclusions: Vec::new() }
    }
}

/// Why there is no program for some rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Too many.
    #[error(
        "{0} claims and exclusions on one port: at most {MAX_RULES}; use wider prefixes or claim the whole port"
    )]
    TooMany(usize),
    /// Ports from high to low.
    #[error("a claim or exclusion of ports {0} to {1} is empty")]
    EmptyRange(u16, u16),
    /// Jumps too far apart; not reached below [`MAX_RULES`].
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// The program for `rules`, which redirects into the XSKMAP `map`.
///
/// # Errors
/// When there are too many rules or an empty one.
pub fn assemble(rules: &Rules, map: RawFd) -> Result<Vec<Instruction>, RuleError> {
    let claims: &[Claim] = match &rules.claims {
        Claims::WholePort => &[],
        Claims::Only(claims) => claims,
    };
    let count = claims.len() + rules.exclusions.len();
    if count > MAX_RULES {
        return Err(RuleError::TooMany(count));
    }
    let claimed = claims.iter().filter_map(|claim| claim.ports.as_ref());
    let excluded = rules.exclusions.iter().filter_map(|exclusion| exclusion.ports.as_ref());
    if let Some(range) = claimed.chain(excluded).find(|range| range.is_empty()) {
        return Err(RuleError::EmptyRange(*range.start(), *range.end()));
    }
    let mut asm = Assembler::default();
    let (take, pass) = (asm.label(), asm.label());
    let whole = rules.claims == Claims::WholePort;
    let mut writer = Writer {
        claims,
        exclusions: &rules.exclusions,
        take,
        pass,
        otherwise: if whole { take } else { pass },
        asm,
    };
    writer.asm.copy(R6, R1);
    if count > 0 {
        writer.classify();
    } else if !whole {
        writer.asm.jump(pass);
    }
    Ok(writer.verdicts(map)?)
}

/// Writes the program.
///
/// R6 is the context, R2 and R3 the start and end of the packet, R4 an IPv4 address, R7 the protocol, R8 the
/// destination port, R9 whether it is a fragment; R0, R1 and R5 are scratch.
struct Writer<'a> {
    claims: &'a [Claim],
    exclusions: &'a [Exclusion],
    take: Label,
    pass: Label,
    otherwise: Label,
    asm: Assembler,
}

/// Where the address to be matched is.
#[derive(Clone, Copy)]
enum Address {
    /// An IPv4 address in R4.
    V4,
    /// An IPv6 address in the packet.
    V6 { base: Reg, offset: i16 },
}

impl Writer<'_> {
    fn classify(&mut self) {
        let (arp, ipv4, ipv6) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.load(Size::Word, R2, R6, 0);
        self.asm.load(Size::Word, R3, R6, 4);
        self.need(R2, i32::from(ETHERNET), self.otherwise);
        self.asm.load(Size::Half, R5, R2, 12);
        for (ethertype, label) in [(0x0806u16, arp), (0x0800, ipv4), (0x86dd, ipv6)] {
            self.asm.jump_if(Equal, R5, ethertype.to_be().into(), label);
        }
        self.asm.jump(self.otherwise);
        self.asm.place(arp);
        self.arp();
        self.asm.place(ipv4);
        self.ipv4();
        self.asm.place(ipv6);
        self.ipv6();
    }

    /// Goes to `short` unless the packet has `bytes` bytes from `from` on.
    fn need(&mut self, from: Reg, bytes: i32, short: Label) {
        self.asm.copy(R5, from);
        self.asm.add(R5, bytes);
        self.asm.jump_if_reg(Greater, R5, R3, short);
    }

    fn arp(&mut self) {
        self.need(R2, ARP_END, self.otherwise);
        // Ethernet (1) and IPv4 (0x0800), addresses of 6 and 4 bytes.
        self.asm.load(Size::Word, R5, R2, ETHERNET);
        self.asm.jump_if(NotEqual, R5, u32::from_ne_bytes([0, 1, 8, 0]), self.otherwise);
        self.asm.load(Size::Half, R5, R2, ETHERNET + 4);
        self.asm.jump_if(NotEqual, R5, u16::from_ne_bytes([6, 4]).into(), self.otherwise);
        self.asm.load(Size::Word, R4, R2, ETHERNET + 24);
        self.neighbours(Address::V4);
    }

    fn ipv4(&mut self) {
        let decide = self.asm.label();
        self.need(R2, IPV4_END, self.otherwise);
        self.asm.load(Size::Byte, R0, R2, ETHERNET);
        self.asm.jump_if(Less, R0, 0x45, self.otherwise); // version below 4, or a header below 20 bytes
        self.asm.jump_if(Greater, R0, 0x4f, self.otherwise);
        self.asm.load(Size::Word, R4, R2, ETHERNET + 16);
        self.asm.load(Size::Byte, R7, R2, ETHERNET + 9);
        self.asm.set(R8, NO_PORT);
        self.asm.set(R9, 1);
        self.asm.load(Size::Half, R5, R2, ETHERNET + 6);
        // More fragments, or an offset (RFC 791 section 3.1).
        self.asm.jump_if_any(R5, 0x3fffu16.to_be().into(), decide);
        self.asm.set(R9, 0);
        self.asm.and(R0, 0x0f);
        self.asm.shift_left(R0, 2);
        self.asm.copy(R1, R2);
        self.asm.add(R1, i32::from(ETHERNET));
        self.asm.add_reg(R1, R0);
        self.port(decide);
        self.asm.place(decide);
        self.decide(Address::V4);
    }

    fn ipv6(&mut self) {
        let (decide, upper, unknown) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.need(R2, IPV6_END, self.otherwise);
        self.asm.load(Size::Byte, R0, R2, ETHERNET);
        self.asm.and(R0, 0xf0);
        self.asm.jump_if(NotEqual, R0, 0x60, self.otherwise);
        self.asm.load(Size::Byte, R7, R2, ETHERNET + 6);
        self.asm.set(R8, NO_PORT);
        self.asm.set(R9, 0);
        self.asm.copy(R1, R2);
        self.asm.add(R1, IPV6_END);
        for _ in 0..MAX_EXTENSIONS {
            self.extension(upper, unknown, decide);
        }
        for extension in [0, 43, 44, 60] {
            self.asm.jump_if(Equal, R7, extension, unknown);
        }
        self.asm.place(upper);
        self.neighbour_discovery();
        self.port(decide);
        self.asm.jump(decide);
        self.asm.place(unknown);
        self.asm.set(R7, UNKNOWN_PROTOCOL);
        self.asm.place(decide);
        self.decide(Address::V6 { base: R2, offset: ETHERNET + 24 });
    }

    /// Steps over one extension header at R1, or goes to `upper` when it is none.
    fn extension(&mut self, upper: Label, unknown: Label, decide: Label) {
        let (options, fragment, next) = (self.asm.label(), self.asm.label(), self.asm.label());
        for header in [0, 43, 60] {
            self.asm.jump_if(Equal, R7, header, options);
        }
        self.asm.jump_if(Equal, R7, 44, fragment);
        self.asm.jump(upper);

        self.asm.place(options); // RFC 8200 section 4.2: next header, length in 8 bytes not counting the first 8
        self.need(R1, 8, unknown);
        self.asm.load(Size::Byte, R7, R1, 0);
        self.asm.load(Size::Byte, R0, R1, 1);
        self.asm.shift_left(R0, 3);
        self.asm.add_reg(R1, R0);
        self.asm.add(R1, 8);
        self.asm.jump(next);

        self.asm.place(fragment); // RFC 8200 section 4.5; one that is all of its datagram is no fragment (RFC 6946)
        self.need(R1, 8, unknown);
        self.asm.load(Size::Byte, R7, R1, 0);
        self.asm.load(Size::Half, R5, R1, 2);
        self.asm.set(R9, 1);
        self.asm.jump_if_any(R5, 0xfff9u16.to_be().into(), decide);
        self.asm.set(R9, 0);
        self.asm.add(R1, 8);
        self.asm.place(next);
    }

    /// Decides about solicitations and advertisements; everything else goes on.
    fn neighbour_discovery(&mut self) {
        let (not_nd, advertisement) = (self.asm.label(), self.asm.label());
        self.asm.jump_if(NotEqual, R7, 58, not_nd);
        self.need(R1, 24, not_nd);
        self.asm.load(Size::Byte, R5, R1, 0);
        self.asm.jump_if(Equal, R5, 136, advertisement);
        self.asm.jump_if(NotEqual, R5, 135, not_nd);
        self.neighbours(Address::V6 { base: R1, offset: 8 });
        self.asm.place(advertisement);
        self.neighbours(Address::V6 { base: R2, offset: ETHERNET + 24 });
        self.asm.place(not_nd);
    }

    /// R8 = the destination port of the transport header at R1, when the protocol has ports and they are there.
    fn port(&mut self, none: Label) {
        let has_ports = self.asm.label();
        for protocol in [6, 17, 33, 132, 136] {
            self.asm.jump_if(Equal, R7, protocol, has_ports);
        }
        self.asm.jump(none);
        self.asm.place(has_ports);
        self.need(R1, 4, none);
        self.asm.load(Size::Half, R8, R1, 2);
        self.asm.from_network_16(R8);
    }

    /// The end of ARP and ND: who has the address?
    fn neighbours(&mut self, address: Address) {
        for exclusion in self.exclusions {
            if let (Some(prefix), Ownership::Sole) = (&exclusion.address, exclusion.ownership) {
                let next = self.asm.label();
                if self.unless_in(prefix, address, next) {
                    self.asm.jump(self.pass);
                }
                self.asm.place(next);
            }
        }
        for claim in self.claims {
            let next = self.asm.label();
            if self.unless_in(&claim.destination, address, next) {
                self.asm.jump(if claim.ownership == Ownership::Sole { self.take } else { self.pass });
            }
            self.asm.place(next);
        }
        self.asm.jump(self.otherwise);
    }

    /// The end of IP: exclusions, claims, otherwise.
    fn decide(&mut self, address: Address) {
        for exclusion in self.exclusions {
            let next = self.asm.label();
            let possible = match &exclusion.address {
                Some(prefix) => self.unless_in(prefix, address, next),
                None => {
                    self.asm.jump_if(NotEqual, R9, 0, next); // see "Fragments" above
                    true
                }
            };
            if possible {
                if let Some(protocol) = exclusion.protocol {
                    self.asm.jump_if(NotEqual, R7, protocol.into(), next);
                }
                if let Some(ports) = &exclusion.ports {
                    self.asm.jump_if(NotEqual, R9, 0, self.pass); // only reached with an address
                    self.asm.jump_if(Less, R8, (*ports.start()).into(), next);
                    self.asm.jump_if(Greater, R8, (*ports.end()).into(), next);
                }
                self.asm.jump(self.pass);
            }
            self.asm.place(next);
        }
        for claim in self.claims {
            let next = self.asm.label();
            if self.unless_in(&claim.destination, address, next) {
                if let Some(protocol) = claim.protocol {
                    self.asm.jump_if(NotEqual, R7, protocol.into(), next);
                }
                if let Some(ports) = &claim.ports {
                    let fragments = if claim.ownership == Ownership::Sole { self.take } else { next };
                    self.asm.jump_if(NotEqual, R9, 0, fragments);
                    self.asm.jump_if(Less, R8, (*ports.start()).into(), next);
                    self.asm.jump_if(Greater, R8, (*ports.end()).into(), next);
                }
                self.asm.jump(self.take);
            }
            self.asm.place(next);
        }
        self.asm.jump(self.otherwise);
    }

    /// Goes to `next` unless the address is in the prefix. Returns false, writing nothing, when the prefix is of the
    /// other family, so that it never is.
    fn unless_in(&mut self, prefix: &Prefix, address: Address, next: Label) -> bool {
        match (address, prefix.address) {
            (Address::V4, IpAddr::V4(_)) | (Address::V6 { .. }, IpAddr::V6(_)) => {}
            _ => return false,
        }
        for (index, (value, mask)) in prefix.words().into_iter().enumerate() {
            if mask == 0 {
                break;
            }
            match address {
                Address::V4 => self.asm.copy(R5, R4),
                Address::V6 { base, offset } => {
                    self.asm.load(Size::Word, R5, base, offset + 4 * index as i16)
                }
            }
            if mask != u32::MAX {
                self.asm.and(R5, mask);
            }
            self.asm.jump_if(NotEqual, R5, value, next);
        }
        true
    }

    /// The two ends of the program.
    fn verdicts(mut self, map: RawFd) -> Result<Vec<Instruction>, TooLong> {
        self.asm.place(self.take);
        self.asm.load(Size::Word, R2, R6, 16); // ctx->rx_queue_index
        self.asm.load_map(R1, map);
        self.asm.set(R3, XDP_PASS);
        self.asm.call(REDIRECT_MAP);
        self.asm.exit();
        self.asm.place(self.pass);
        self.asm.set(R0, XDP_PASS);
        self.asm.exit();
        self.asm.finish()
    }
}

#[cfg(test)]
mod tests;
