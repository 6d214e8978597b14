//! What follows from an option in the stack: decided here, done in [`perform`].
//!
//! A number of the table becomes a word of the stack's: [`SocketOption`] for a connection, [`Opt`] for a datagram socket.
//! Options of IPPROTO_IP on a socket of AF_INET6 concern what it exchanges over IPv4, and nothing else.

use super::About;
use super::asked::Asked;
use super::groups::{Change, Place};
use super::kind::{Facts, Kinds, Stage};
use super::limits::stamping;
use super::state::{Field, State};
use crate::builtin::host::Host;
use crate::session::socket::{Kind, Socket};
use crate::session::{Errno, errno};
use arrayvec::ArrayVec;
use flumen_ipc::limits::MAX_IP_OPTIONS;
use flumen_stack::groups::Filter;
use flumen_stack::socket::{Error, MtuDiscovery, Opt, SocketId, StampKinds, StampOptions};
use flumen_stack::tcp::congestion::Algorithm;
use flumen_stack::tcp::listen::ListenSettings;
use flumen_stack::tcp::signature::{Md5Key, Prefix};
use flumen_stack::tcp::sockets::PeerKey;
use flumen_stack::tcp::user::SocketOption;
use flumen_stack::{FramePool, PortId, Probe};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// What is to be done in the stack.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Nothing.
    None,
    /// Tell the connection, if there is one.
    Tcp(SocketOption),
    /// Tell the listener.
    Listener,
    /// Tell the datagram socket.
    Opt(Opt),
    /// Tell it for what it exchanges over IPv4.
    Mapped(Opt),
    /// IP_MULTICAST_IF by the address of an interface.
    MulticastAddress(Ipv4Addr),
    /// IP_OPTIONS.
    IpOptions(ArrayVec<u8, MAX_IP_OPTIONS>),
    /// Change a group.
    Group(Change),
    /// Add a key, or take it away.
    Key(Prefix, Option<Md5Key>),
}

impl Effect {
    /// SO_MAX_PACING_RATE in bytes a second.
    pub fn pacing(rate: u64) -> Effect {
        Effect::Tcp(SocketOption::MaxPacingRate(rate))
    }

    /// TCP_CONGESTION.
    pub fn congestion(algorithm: Algorithm) -> Effect {
        Effect::Tcp(SocketOption::Congestion(algorithm))
    }
}

/// ICMPV6_FILTER.
pub fn icmp6_filter(words: [u32; 8]) -> Effect {
    Effect::Opt(Opt::Icmp6Filter(words))
}

/// IPV6_PKTINFO.
pub fn sticky(asked: &Asked<'_>) -> Effect {
    let (address, index) = asked.state.more().and_then(|more| more.sticky).unwrap_or_default();
    let source = (address != [0; 16]).then(|| IpAddr::V6(address.into()));
    Effect::Opt(Opt::Sticky(source, asked.links.by_number(index)))
}

/// What follows from a number that was set.
pub fn of(field: Field, asked: &Asked<'_>) -> Effect {
    let value = asked.value(field);
    if !asked.facts.is_tcp() {
        return of_datagram(field, value, asked);
    }
    match asked.facts.stage {
        Stage::Listening => Effect::Listener,
        _ => of_connection(field, asked.state, asked.facts).map_or(Effect::None, Effect::Tcp),
    }
}

fn seconds(value: i32) -> Duration {
    Duration::from_secs(value.unsigned_abs().into())
}

/// What a connection is told.
fn of_connection(field: Field, state: &State, facts: &Facts) -> Option<SocketOption> {
    let value = state.get(field, facts.kinds);
    let on = value != 0;
    Some(match field {
        Field::KeepAlive => SocketOption::KeepAlive(on),
        Field::OobInline => SocketOption::OobInline(on),
        Field::LingerOn => SocketOption::Linger(
            on.then(|| Duration::from_secs((state.get(Field::LingerTime, facts.kinds) as u32).into())),
        ),
        // Linux counts its own overhead too, and doubles for it; the stack counts data.
        Field::SendBuffer => SocketOption::SendBuffer((value / 2) as u32),
        Field::ReceiveBuffer => SocketOption::ReceiveBuffer((value / 2) as u32),
        Field::ReceiveLow => SocketOption::ReceiveLow(value as u32),
        Field::NoDelay => SocketOption::NoDelay(on),
        Field::Cork => SocketOption::Cork(on),
        // The SYN says it; later it is too late.
        Field::MaxSegment if facts.stage == Stage::Connecting => SocketOption::MaxSegment(value as u16),
        Field::KeepIdle => SocketOption::KeepIdle(seconds(value)),
        Field::KeepInterval => SocketOption::KeepInterval(seconds(value)),
        Field::KeepCount => SocketOption::KeepCount(value as u8),
        Field::SynCount => SocketOption::SynRetries(value as u8),
        Field::Linger2 => SocketOption::Linger2(match value {
            0 => Some(Duration::from_secs(60)),
            ..0 => None,
            _ => Some(seconds(value)),
        }),
        Field::WindowClamp => SocketOption::WindowClamp(value as u32),
        Field::QuickAck => SocketOption::QuickAck(on),
        Field::UserTimeout => SocketOption::UserTimeout(Duration::from_millis(value as u64)),
        Field::NotSentLow => SocketOption::NotSentLow(if on { value as u32 } else { u32::MAX }),
        Field::Tos if facts.over_ipv4 => SocketOption::Tos(value as u8),
        Field::TrafficClass if !facts.over_ipv4 => SocketOption::Tos(value as u8),
        Field::Ttl if facts.over_ipv4 => SocketOption::Ttl(u8::try_from(value).ok()),
        Field::UnicastHops if !facts.over_ipv4 => SocketOption::Ttl(u8::try_from(value).ok()),
        Field::MinTtl if facts.over_ipv4 => SocketOption::MinTtl(value as u8),
        Field::MinHopCount if !facts.over_ipv4 => SocketOption::MinTtl(value as u8),
        Field::MtuDiscover if facts.over_ipv4 => SocketOption::PathMtuDiscovery((1..=3).contains(&value)),
        Field::MtuDiscover6 if !facts.over_ipv4 => SocketOption::PathMtuDiscovery((1..=3).contains(&value)),
        _ => return None,
    })
}

/// What a datagram socket is told.
fn of_datagram(field: Field, value: i32, asked: &Asked<'_>) -> Effect {
    let on = value != 0;
    let port = |index: i32| asked.links.by_number(index as u32);
    let hops = u8::try_from(value).ok();
    // IPPROTO_IP: all that an AF_INET socket exchanges, and what one of AF_INET6 exchanges over IPv4.
    let ipv4 = |option| if asked.facts.is_v6() { Effect::Mapped(option) } else { Effect::Opt(option) };
    let option = match field {
        Field::ReuseAddress => Opt::ReuseAddress(on),
        Field::ReusePort => Opt::ReusePort(on),
        Field::Broadcast => Opt::Broadcast(on),
        Field::ReceiveBuffer => Opt::ReceiveBuffer((value / 2) as usize),
        Field::Device => Opt::Device(port(value)),
        Field::FreeBind => Opt::FreeBind(on),
        Field::NoCheck if asked.is(Kinds::UDP) => Opt::NoChecksum(on),
        Field::Cork => Opt::Cork(on),
        Field::NoCheck6Tx => Opt::NoChecksum6Tx(on),
        Field::NoCheck6Rx => Opt::NoChecksum6Rx(on),
        Field::Segment => Opt::Segment(value as u16),
        Field::Gro => Opt::Gro(on),
        Field::SendCoverage => Opt::SendCoverage(value as u16),
        Field::ReceiveCoverage => Opt::ReceiveCoverage(value as u16),
        Field::HeaderIncluded => Opt::HeaderIncluded(on),
        Field::IcmpFilter => Opt::IcmpFilter(value as u32),
        Field::Checksum => Opt::Checksum(u16::try_from(value).ok()),
        Field::Timestamping => Opt::Stamps(stamps(value)),
        Field::RouterAlert => Opt::RouterAlert(on.then_some(0)),
        Field::RouterAlert6 => Opt::RouterAlert(u16::try_from(value).ok()),
        Field::Tos => return ipv4(Opt::Tos(value as u8)),
        Field::Ttl => return ipv4(Opt::Ttl(hops)),
        Field::MulticastTtl => return ipv4(Opt::MulticastTtl(value as u8)),
        Field::MulticastLoop => return ipv4(Opt::MulticastLoop(on)),
        Field::MulticastAll => return ipv4(Opt::MulticastAll(on)),
        Field::MulticastPort => {
            let source = asked.state.more().and_then(|more| more.multicast_source);
            return ipv4(Opt::MulticastInterface(port(value), source));
        }
        Field::UnicastPort => return ipv4(Opt::UnicastInterface(port(value))),
        Field::ReceiveErrors => return ipv4(Opt::ReceiveErrors(on)),
        Field::MtuDiscover => return ipv4(Opt::MtuDiscover(discovery(value))),
        Field::TrafficClass => Opt::Tos(value as u8),
        Field::UnicastHops => Opt::Ttl(hops),
        Field::MulticastHops => Opt::MulticastTtl(hops.unwrap_or(1)),
        Field::MulticastLoop6 => Opt::MulticastLoop(on),
        Field::MulticastAll6 => Opt::MulticastAll(on),
        Field::MulticastPort6 => Opt::MulticastInterface(port(value), None),
        Field::UnicastPort6 => Opt::UnicastInterface(port(value)),
        Field::ReceiveErrors6 => Opt::ReceiveErrors(on),
        Field::MtuDiscover6 => Opt::MtuDiscover(discovery(value)),
        Field::DontFragment => Opt::DontFragment(on),
        Field::V6Only => Opt::V6Only(on),
        _ => return Effect::None,
    };
    Effect::Opt(option)
}

/// What SO_TIMESTAMPING says of what is sent.
fn stamps(flags: i32) -> StampOptions {
    let has = |bit| flags & bit != 0;
    StampOptions {
        kinds: stamp_kinds(flags),
        keyed: has(stamping::OPT_ID),
        times_only: has(stamping::OPT_TSONLY),
    }
}

/// The stamps that words of SO_TIMESTAMPING ask for.
pub fn stamp_kinds(flags: i32) -> StampKinds {
    let has = |bit| flags & bit != 0;
    StampKinds {
        scheduled: has(stamping::TX_SCHED),
        sent: has(stamping::TX_SOFTWARE),
        acknowledged: has(stamping::TX_ACK),
        figures: has(stamping::OPT_STATS),
    }
}

fn discovery(value: i32) -> MtuDiscovery {
    match value {
        0 => MtuDiscovery::Dont,
        2 => MtuDiscovery::Do,
        3 => MtuDiscovery::Probe,
        4 => MtuDiscovery::Interface,
        5 => MtuDiscovery::Omit,
        _ => MtuDiscovery::Want,
    }
}

/// Does it.
///
/// # Errors
/// Linux's.
pub fn perform<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &mut Socket,
    facts: &Facts,
    effect: Effect,
) -> Result<(), Errno> {
    match (effect, socket.kind) {
        (Effect::None, _) => Ok(()),
        (Effect::Tcp(option), Kind::Tcp(handle)) => match host.tcp().tcp_set_option(handle, option) {
            // The SYN is out, or the connection is gone: the option stands for what comes after.
            Err(Error::BadHandle) => Ok(()),
            Err(_) if matches!(option, SocketOption::MaxSegment(_)) => Ok(()),
            other => other.map_err(errno),
        },
        (Effect::Tcp(_), Kind::Listener(_)) | (Effect::Listener, _) => tell_listener(host, socket, facts),
        (Effect::Tcp(_), _) => Ok(()),
        (Effect::Opt(option), Kind::Udp(handle)) => {
            host.stack.udp_set(host.turn, handle, option).map_err(errno)
        }
        (Effect::Opt(option), Kind::Raw(handle) | Kind::Ping(handle)) => {
            host.stack.raw_set(handle, option).map_err(errno)
        }
        (Effect::Mapped(option), Kind::Udp(handle)) => {
            host.stack.udp_set_mapped(handle, option).map_err(errno)
        }
        (Effect::Mapped(option), Kind::Raw(handle) | Kind::Ping(handle)) => {
            host.stack.raw_set_mapped(handle, option).map_err(errno)
        }
        (Effect::IpOptions(options), _) => {
            let made = host.stack.options_to_send(&options, facts.privileged).map_err(errno)?;
            socket.options.more_mut().ip_options = made;
            let option = Opt::IpOptions(made);
            let effect = if facts.is_v6() { Effect::Mapped(option) } else { Effect::Opt(option) };
            perform(host, about, socket, facts, effect)
        }
        (Effect::MulticastAddress(address), _) => multicast_address(host, about, socket, facts, address),
        (Effect::Group(change), Kind::Udp(handle)) => change_group(host, SocketId::Udp(handle), change),
        (Effect::Group(change), Kind::Raw(handle) | Kind::Ping(handle)) => {
            change_group(host, SocketId::Raw(handle), change)
        }
        (Effect::Key(prefix, key), Kind::Listener(handle)) => {
            host.tcp().tcp_listen_key(handle, prefix, key.map(PeerKey::Md5)).map_err(errno)
        }
        // Kept until the socket is something in the stack.
        (Effect::Opt(_) | Effect::Mapped(_) | Effect::Group(_) | Effect::Key(..), _) => Ok(()),
    }
}

/// The port with an address of ours.
fn owner<P: FramePool, M: Probe>(host: &Host<'_, '_, P, M>, address: Ipv4Addr) -> Option<PortId> {
    host.stack
        .interfaces
        .iter()
        .find(|interface| interface.owns(address.into()))
        .map(|interface| interface.id)
}

fn multicast_address<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    about: &About<'_>,
    socket: &mut Socket,
    facts: &Facts,
    address: Ipv4Addr,
) -> Result<(), Errno> {
    let port = owner(host, address).ok_or(Errno::ADDRNOTAVAIL)?;
    let index = about.links.number(port) as i32;
    let device = socket.options.get(Field::Device, facts.kinds);
    if device != 0 && device != index {
        return Err(Errno::INVAL);
    }
    socket.options.more_mut().multicast_source = Some(IpAddr::V4(address));
    let mut asked = Asked { state: &mut socket.options, facts, links: about.links };
    let effect = asked.store(Field::MulticastPort, index);
    perform(host, about, socket, facts, effect)
}

fn change_group<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: SocketId,
    change: Change,
) -> Result<(), Errno> {
    let place_of = |host: &Host<'_, '_, P, M>, place| match place {
        Place::Any => Ok(None),
        Place::Port(port) => Ok(Some(port)),
        Place::Address(address) => owner(host, address).map(Some).ok_or(Errno::NODEV),
    };
    let done = match change {
        Change::Member { place, group, join } => {
            let port = place_of(host, place)?;
            if join {
                host.stack.group_join(host.turn, socket, port, group)
            } else {
                host.stack.group_leave(host.turn, socket, port, group)
            }
        }
        Change::Source { place, group, source, change } => {
            let port = place_of(host, place)?;
            host.stack.group_source(host.turn, socket, port, group, source, change)
        }
        Change::Filter { place, group, filter } => {
            let port = place_of(host, place)?;
            set_filter(host, socket, port, group, filter)
        }
    };
    done.map_err(errno)
}

/// Linux: a filter is of a membership that is there; the empty one of mode INCLUDE ends it.
fn set_filter<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: SocketId,
    port: Option<PortId>,
    group: IpAddr,
    filter: Filter,
) -> Result<(), Error> {
    host.stack.group_filter_of(socket, port, group)?.ok_or(Error::InvalidArgument)?;
    host.stack.group_filter(host.turn, socket, port, group, filter)
}

/// Everything that a connection is told of what was set, in the order of the fields.
pub fn of_all(state: &State, facts: &Facts) -> impl Iterator<Item = SocketOption> {
    let more = state.more();
    let congestion = more.and_then(|more| more.congestion).map(SocketOption::Congestion);
    let pacing = more.and_then(|more| more.pacing).map(SocketOption::MaxPacingRate);
    let numbers = state.touched().filter_map(|field| of_connection(field, state, facts));
    numbers.chain(congestion).chain(pacing)
}

/// Tells a listener everything.
pub fn tell_listener<P: FramePool, M: Probe>(
    host: &mut Host<'_, '_, P, M>,
    socket: &Socket,
    facts: &Facts,
) -> Result<(), Errno> {
    let Kind::Listener(handle) = socket.kind else { return Ok(()) };
    let state = &socket.options;
    let value = |field| state.get(field, facts.kinds);
    let options: Vec<SocketOption> = of_all(state, facts).collect();
    let change = |settings: &mut ListenSettings| {
        settings.defer_accept = seconds(super::table::seconds_of(value(Field::DeferAccept)));
        settings.fast_open = value(Field::FastOpen) as usize;
        settings.fast_open_without_cookie = value(Field::FastOpenNoCookie) != 0;
        settings.max_segment = u16::try_from(value(Field::MaxSegment)).ok().filter(|bytes| *bytes != 0);
    };
    host.tcp().tcp_listen_change(handle, options, change).map_err(errno)
}
