//! ICMP errors find the socket that caused them (row I3; RFC 1122 section 3.2.2, RFC 4443 section 2.4, RFC 5927).
//!
//! An error quotes the packet that it is about. It is believed only when that packet could have come from a socket
//! that is there now: from one of our addresses, the socket's own port number, to where the socket sends. What
//! the socket then hears is what Linux tells it (`icmp_err_convert`):
//!
//! ```text
//!   hard (port, protocol, prohibited) ─> connected sockets, and whoever asked for reports (IP_RECVERR)
//!   soft (network, host, time exceeded) ─> whoever asked for reports
//! ```

use super::blocks::BlockPool;
use super::control::Origin;
use super::endpoint::{Endpoint, Report};
use super::error::Error;
use super::homes::RAW_HOME;
use super::options::MtuDiscovery;
use crate::counters::Counter;
use crate::frame::Frame;
use crate::limits::{MIN_MTU_IPV6, MIN_PATH_MTU_IPV4};
use crate::port::PortId;
use crate::stack::Stack;
use crate::tcp::error::SocketError;
use crate::tcp::input::Unreachable;
use crate::time::Instant;
use crate::udp;
use crate::wire::icmpv4::{self, UnreachableCode};
use crate::wire::icmpv6;
use crate::wire::ipv4;
use core::net::{IpAddr, SocketAddr};

/// The packet that an error is about, as far as it is quoted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a> {
    /// Our address.
    pub(crate) source: IpAddr,
    /// Where it went.
    pub(crate) destination: IpAddr,
    /// What it carried.
    pub(crate) protocol: u8,
    /// From the transport header on.
    pub(crate) upper: &'a [u8],
    /// Where the error came in.
    pub(crate) port: PortId,
}

/// What an error says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    error: Error,
    /// It ends a connection attempt and is told to connected sockets.
    hard: bool,
    /// The path is narrower than the packet: the MTU.
    pub(crate) mtu: Option<u32>,
    info: u32,
    icmp: (u8, u8),
    origin: Origin,
    offender: IpAddr,
    port: PortId,
    now: Instant,
}

/// TCP's number among the IP protocols.
const TCP: u8 = 6;

impl Fault {
    /// What a connection hears.
    fn for_tcp(&self, ipv4: bool) -> Unreachable {
        if let Some(mtu) = self.mtu {
            // A router of before RFC 1191 says 0; smaller than the minimum nobody is believed.
            let (least, headers) = if ipv4 { (MIN_PATH_MTU_IPV4, 40) } else { (MIN_MTU_IPV6, 60) };
            let mtu = u16::try_from(mtu).unwrap_or(u16::MAX).max(least);
            return Unreachable::TooBig(mtu - headers);
        }
        let error = match self.error {
            Error::NetworkUnreachable => SocketError::NetworkUnreachable,
            Error::ConnectionRefused => SocketError::Refused,
            Error::ProtocolUnreachable => SocketError::ProtocolUnreachable,
            Error::AccessDenied => SocketError::Forbidden,
            _ => SocketError::HostUnreachable,
        };
        if self.hard { Unreachable::Hard(error) } else { Unreachable::Soft(error) }
    }

    /// Tells a socket; `to` is where the packet went, `payload` what is quoted of its payload. True: it has news.
    pub(crate) fn tell(
        &self,
        end: &mut Endpoint,
        blocks: &mut BlockPool,
        to: SocketAddr,
        payload: &[u8],
    ) -> bool {
        let options = end.options_for(to.ip());
        let believes_mtu = !matches!(options.mtu_discover, MtuDiscovery::Interface | MtuDiscovery::Omit);
        if self.mtu.is_some() && !believes_mtu {
            return false;
        }
        // A socket that lets its datagrams be cut does not care how narrow the path is.
        let hard = match self.mtu {
            Some(_) => options.mtu_discover != MtuDiscovery::Dont,
            None => self.hard,
        };
        if options.receive_errors {
            let report = Report {
                error: self.error,
                origin: self.origin,
                icmp: self.icmp,
                info: self.info,
                data: 0,
                offender: Some(self.offender),
                to,
                port: self.port,
                now: self.now,
            };
            end.report(blocks, &report, payload);
        } else if !hard || end.peer.is_none() {
            return false;
        }
        end.error = Some(self.error);
        true
    }
}

/// The error of a code of destination unreachable, and whether it is hard (RFC 1122 section 3.2.2.1).
const fn unreachable4(code: UnreachableCode) -> (Error, bool) {
    use UnreachableCode::*;
    match code {
        Network | NetworkForService => (Error::NetworkUnreachable, false),
        Host | HostForService => (Error::HostUnreachable, false),
        Protocol => (Error::ProtocolUnreachable, true),
        Port => (Error::ConnectionRefused, true),
        FragmentationNeeded => (Error::MessageTooLong, false),
        SourceRouteFailed => (Error::NotSupported, false),
        NetworkUnknown => (Error::NetworkUnreachable, true),
        HostUnknown => (Error::HostDown, true),
        SourceHostIsolated => (Error::NotOnNetwork, true),
        NetworkProhibited => (Error::NetworkUnreachable, true),
        HostProhibited | CommunicationProhibited | HostPrecedenceViolation | PrecedenceCutoff => {
            (Error::HostUnreachable, true)
        }
    }
}

/// An ICMP error (from its type on, checksum known to be right) that `offender` sent. True: somebody here sent the
/// packet that it quotes, and was told if it wants to know.
pub(crate) fn icmp4<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    port: PortId,
    offender: IpAddr,
    message: &[u8],
) -> bool {
    use icmpv4::{Message, Problem};
    let Ok(Message::Error { problem, quoted, .. }) = icmpv4::parse(message) else { return false };
    let Some((header, _)) = ipv4::Header::parse(quoted).ok() else { return false };
    let (source, destination) = (header.source(), header.destination());
    // A later fragment quotes no transport header.
    if header.check_version().is_err() || header.fragment_offset() != 0 || !stack.is_local4(source) {
        return false;
    }
    let (error, hard, mtu, info) = match problem {
        Problem::Unreachable(code) => {
            let (error, hard) = unreachable4(code);
            (error, hard, None, 0)
        }
        Problem::FragmentationNeeded { mtu } => {
            (Error::MessageTooLong, false, Some(u32::from(mtu)), u32::from(mtu))
        }
        Problem::TtlExceeded | Problem::ReassemblyTimeExceeded => (Error::HostUnreachable, false, None, 0),
        Problem::ParameterProblem { pointer } => (Error::ProtocolError, true, None, u32::from(pointer)),
        Problem::RequiredOptionMissing => (Error::ProtocolError, true, None, 0),
        // Redirects change routes, not sockets.
        Problem::Redirect { .. } => return false,
    };
    let icmp = (message[0], message[1]);
    let fault = Fault { error, hard, mtu, info, icmp, origin: Origin::Icmp, offender, port, now };
    let quoted = Quoted {
        source: IpAddr::V4(source),
        destination: IpAddr::V4(destination),
        protocol: header.protocol().0,
        upper: quoted.get(header.header_len()..).unwrap_or_default(),
        port,
    };
    dispatch(stack, &quoted, &fault)
}

/// The same for ICMPv6.
pub(crate) fn icmp6<F: Frame>(
    stack: &mut Stack<F>,
    now: Instant,
    port: PortId,
    offender: IpAddr,
    message: &[u8],
) -> bool {
    use icmpv6::{Message, Problem, UnreachableCode as Code};
    let Ok(Message::Error { problem, quoted, .. }) = icmpv6::parse(message) else { return false };
    let Some(header) = quoted.first_chunk::<40>() else { return false };
    let (source, destination) = (crate::ip::flow::source6(header), crate::ip::flow::destination6(header));
    if !stack.is_local6(source, port) {
        return false;
    }
    let Some((protocol, offset)) = crate::ipv6::extension::upper_layer(quoted) else { return false };
    let (error, hard, mtu, info) = match problem {
        Problem::Unreachable(Code::NoRoute) => (Error::NetworkUnreachable, false, None, 0),
        Problem::Unreachable(Code::Prohibited | Code::SourcePolicy | Code::RejectRoute) => {
            (Error::AccessDenied, true, None, 0)
        }
        Problem::Unreachable(Code::BeyondScope | Code::Address) => (Error::HostUnreachable, false, None, 0),
        Problem::Unreachable(Code::Port) => (Error::ConnectionRefused, true, None, 0),
        Problem::PacketTooBig { mtu } => (Error::MessageTooLong, false, Some(mtu), mtu),
        Problem::HopLimitExceeded | Problem::ReassemblyTimeExceeded => {
            (Error::HostUnreachable, false, None, 0)
        }
        Problem::Parameter { pointer, .. } => (Error::ProtocolError, true, None, pointer),
    };
    let icmp = (message[0], message[1]);
    let fault = Fault { error, hard, mtu, info, icmp, origin: Origin::Icmp6, offender, port, now };
    let quoted = Quoted {
        source: IpAddr::V6(source),
        destination: IpAddr::V6(destination),
        protocol,
        upper: quoted.get(offset..).unwrap_or_default(),
        port,
    };
    dispatch(stack, &quoted, &fault)
}

/// The other worker whose socket sent what an ICMP error quotes; the error is `message`.
pub(crate) fn elsewhere<F: Frame>(stack: &Stack<F>, message: &[u8]) -> Option<usize> {
    let quoted = message.get(8..)?;
    let (protocol, offset) = match quoted.first()? >> 4 {
        4 => (*quoted.get(9)?, usize::from(quoted[0] & 15) * 4),
        _ => crate::ipv6::extension::upper_layer(quoted)?,
    };
    let number = |at: usize| Some(u16::from_be_bytes(*quoted.get(offset + at..)?.first_chunk()?));
    match protocol {
        TCP => stack.tcp.elsewhere(number(0)?),
        // The identifier of a ping; other messages of ICMP are nobody's, or raw sockets'.
        crate::raw::ICMP | crate::raw::ICMPV6 => stack.raw.ping_elsewhere(number(4)?),
        other => match udp::Protocol::of_number(other) {
            Some(protocol) => stack.udp.elsewhere(protocol, number(0)?),
            None => stack.raw.is_raw_elsewhere(other).then_some(RAW_HOME),
        },
    }
}

fn dispatch<F: Frame>(stack: &mut Stack<F>, quoted: &Quoted<'_>, fault: &Fault) -> bool {
    let by_transport = match quoted.protocol {
        TCP => crate::tcp::sockets::on_icmp(stack, fault.now, quoted, fault.for_tcp(quoted.source.is_ipv4())),
        other => udp::Protocol::of_number(other)
            .is_some_and(|protocol| udp::on_error(stack, protocol, quoted, fault)),
    };
    let heard = crate::raw::on_error(stack, quoted, fault) || by_transport;
    if heard {
        stack.counters.count(Counter::IcmpErrorsToSockets);
        if let Some(mtu) = fault.mtu {
            let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
            if stack.path_mtus.learn(quoted.destination, mtu, fault.now) {
                stack.counters.count(Counter::PathMtuLearned);
            }
        }
    }
    heard
}
