//! The ports of a configuration: XDP programs, interfaces, files and wires, and who reaches which.

use super::StartError;
use crate::config::layout::{Layout, PortLayout, QueueRef};
use crate::config::model::{
    self, AfXdp, Claim, Config, Distribute, PacketRule, PortKind, Protocol, TxChecksum, XdpMode,
};
use crate::doctor::undo::{self, Changed, Setting, UndoError};
use crate::handoff::Doorbell;
use crate::packet_ring::packet_ring;
use crate::port::memory::MemoryPort;
use crate::port::pcap::{Capture, PcapPort, Replay, Sink};
use crate::port::tap::TapPort;
use crate::worker::Way;
use af_xdp::nic::deferral::{self, NapiDeferral, Settings};
use af_xdp::sqpoll::SqPollOptions;
use af_xdp::{
    AttachOptions, Attachment, BusyPoll, Claims, Exclusion, Mode, Ownership, Prefix, Rules, SocketOptions,
    Transmit,
};
use core::ops::RangeInclusive;
use flumen_stack::ethernet::vlan::Vlan;
use flumen_stack::interface::{ChecksumPolicy, ReversePathFilter};
use flumen_stack::ipv6::advertise::{Advertise, Advertised};
use flumen_stack::wire::address::link_local_from_mac;
use flumen_stack::{Interface, PortId};
use ipnet::{IpNet, Ipv6Net};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of link header that a port must take besides the packet, VLAN tags included.
const LINK_OVERHEAD: usize = 22;

/// How long the io_uring kernel thread polls after the last kick before it sleeps.
const SQPOLL_IDLE_MS: u32 = 1000;

/// The XDP program of a port and the settings of its interface; dropped, both are gone.
#[derive(Debug)]
pub struct Attached {
    /// The program.
    pub attachment: Arc<Attachment>,
    /// NAPI deferral, if it was asked for.
    pub deferral: Option<NapiDeferral>,
}

/// Attaches the XDP programs of all AF_XDP ports.
pub fn attach_all(
    config: &Config,
    layout: &Layout,
    undo: &Path,
) -> Result<Vec<Option<Attached>>, StartError> {
    config.ports.iter().zip(&layout.ports).map(|(port, plan)| attach(port, plan, undo)).collect()
}

/// Puts back the NIC settings of a run that could not do so itself.
pub fn restore_after_a_crash(undo: &Path) {
    match undo::restore(undo) {
        Ok(settings) => {
            for (changed, fate) in settings {
                tracing::warn!(?changed, ?fate, "a setting that a crashed run had changed");
            }
        }
        Err(UndoError::Nothing(_)) => {}
        Err(error) => tracing::warn!(%error, "NIC settings of an earlier run are not restored"),
    }
}

fn attach(port: &model::Port, plan: &PortLayout, undo: &Path) -> Result<Option<Attached>, StartError> {
    let PortKind::AfXdp(af_xdp) = &port.kind else { return Ok(None) };
    let mode = match af_xdp.mode {
        XdpMode::Auto => Mode::Auto,
        XdpMode::ZeroCopy => Mode::ZeroCopy,
        XdpMode::Native => Mode::NativeCopy,
        XdpMode::Generic => Mode::Generic,
    };
    let options = AttachOptions { mode, rules: rules(port, af_xdp, plan), multi_buffer: plan.multi_buffer };
    let attachment = Attachment::attach(&af_xdp.interface, &options)
        .map_err(|source| StartError::Attach { port: port.name.clone(), source })?;
    let deferral = match af_xdp.napi_defer {
        None => None,
        Some(defer) => {
            let settings = Settings {
                defer_hard_irqs: defer.hard_irqs,
                gro_flush_timeout: defer.gro_flush_timeout.as_nanos() as u64,
            };
            let nic = |source| StartError::Nic { port: port.name.clone(), source };
            let before = deferral::read(&af_xdp.interface).map_err(nic)?;
            let changed =
                |setting, old, new| Changed { interface: af_xdp.interface.clone(), setting, old, new };
            undo::record(
                undo,
                &[
                    changed(
                        Setting::NapiDeferHardIrqs,
                        before.defer_hard_irqs.into(),
                        settings.defer_hard_irqs.into(),
                    ),
                    changed(Setting::GroFlushTimeout, before.gro_flush_timeout, settings.gro_flush_timeout),
                ],
            )?;
            let applied = NapiDeferral::apply(&af_xdp.interface, settings).map_err(nic)?;
            Some(applied)
        }
    };
    Ok(Some(Attached { attachment: Arc::new(attachment), deferral }))
}

/// What the XDP program takes and what it leaves.
fn rules(port: &model::Port, af_xdp: &AfXdp, plan: &PortLayout) -> Rules {
    let ours = |prefix: &IpNet| port.addresses.iter().any(|net| prefix.contains(&net.addr()));
    let claims = match &af_xdp.claim {
        Claim::Port => Claims::WholePort,
        Claim::Rules(rules) => Claims::Only(
            rules
                .iter()
                .flat_map(|rule| destinations(rule).into_iter().map(move |to| (rule, to)))
                .flat_map(|(rule, to)| {
                    let ownership = if ours(&to) { Ownership::Sole } else { Ownership::Shared };
                    let protocol = rule.protocol.map(|Protocol(number)| number);
                    port_ranges(rule).into_iter().filter_map(move |ports| {
                        let destination = Prefix::new(to.addr(), to.prefix_len())?;
                        Some(af_xdp::Claim { destination, protocol, ports, ownership })
                    })
                })
                .collect(),
        ),
    };
    let exclusions = plan.never.iter().flat_map(|rule| exclusions(port, rule)).collect();
    Rules { claims, exclusions }
}

fn destinations(rule: &PacketRule) -> Vec<IpNet> {
    match rule.destination {
        Some(net) => vec![net],
        None => [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
            .into_iter()
            .filter_map(|any| IpNet::new(any, 0).ok())
            .collect(),
    }
}

/// One rule of `never`. An address that is the kernel's alone keeps its ARP and ND with the kernel; one that
/// is ours too has them here, and the kernel must be told its neighbours.
fn exclusions(port: &model::Port, rule: &PacketRule) -> Vec<Exclusion> {
    let shared =
        rule.destination.is_some_and(|net| port.addresses.iter().any(|own| net.contains(&own.addr())));
    if shared {
        tracing::warn!(
            port = port.name,
            "`never` names an address that is ours as well: ARP and ND for it come to us, so the kernel needs \
             its neighbours told (`ip neigh replace …`) to answer"
        );
    }
    let ownership = if shared { Ownership::Shared } else { Ownership::Sole };
    let address = rule.destination.and_then(|net| Prefix::new(net.addr(), net.prefix_len()));
    let protocol = rule.protocol.map(|Protocol(number)| number);
    port_ranges(rule).into_iter().map(|ports| Exclusion { address, protocol, ports, ownership }).collect()
}

/// The ranges of a rule; one that is `None` for a rule without ports.
fn port_ranges(rule: &PacketRule) -> Vec<Option<RangeInclusive<u16>>> {
    match rule.ports.as_slice() {
        [] => vec![None],
        some => some.iter().map(|range| Some(range.first..=range.last)).collect(),
    }
}

/// The interfaces as the stack knows them.
pub fn interfaces(config: &Config, layout: &Layout) -> Vec<Interface> {
    config
        .ports_with_ids()
        .zip(&layout.ports)
        .map(|((id, port), plan)| {
            let mut one = Interface::new(id, &port.name, plan.mac, plan.mtu);
            for net in &port.addresses {
                // The configuration bounds addresses per port by the same limit.
                let _ = match net {
                    IpNet::V4(net) => one.ipv4.try_push(*net).is_ok(),
                    IpNet::V6(net) => one.ipv6.try_push(*net).is_ok(),
                };
            }
            if port.has_ipv6()
                && one.link_local().is_none()
                && let Ok(net) = Ipv6Net::new(link_local_from_mac(plan.mac), 64)
            {
                let _ = one.ipv6.try_push(net);
            }
            one.forwarding = port.forwarding;
            one.accept_redirects = port.manners.accept_redirects;
            one.send_redirects = port.manners.send_redirects;
            one.mask_replies = port.manners.address_mask_replies;
            one.detection = port.manners.dad;
            one.arp_probe = port.manners.arp_probe;
            one.announce = port.manners.announce;
            one.proxy_arp = port.manners.proxy_arp;
            one.proxy_nd.clone_from(&port.manners.proxy_nd);
            one.autoconf = port.manners.autoconf;
            one.advertise = port.manners.advertise.as_ref().map(|said| Arc::new(advertised(port, said)));
            if let PortKind::Vlan(model::Vlan { parent, protocol, id, priority }) = port.kind {
                one.vlan = Some(Vlan { parent, protocol, id, priority });
            }
            one.rp_filter = match port.rp_filter {
                model::RpFilter::Off => ReversePathFilter::Off,
                model::RpFilter::Strict => ReversePathFilter::Strict,
                model::RpFilter::Loose => ReversePathFilter::Loose,
            };
            one.checksum = match plan.checksum {
                model::ChecksumPolicy::Repair => ChecksumPolicy::Repair,
                model::ChecksumPolicy::Trust => ChecksumPolicy::Trust,
                model::ChecksumPolicy::Verify | model::ChecksumPolicy::Auto => ChecksumPolicy::Verify,
            };
            one
        })
        .collect()
}

/// What a port advertises: the prefixes of its addresses unless others are named.
fn advertised(port: &model::Port, said: &model::RouterAdvertisement) -> Advertise {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let own = || {
        let nets = port.addresses.iter().filter_map(|net| match net {
            IpNet::V6(net) if !net.addr().is_unicast_link_local() => Some(net.trunc()),
            _ => None,
        });
        nets.collect()
    };
    let prefixes: Vec<Ipv6Net> = said.prefixes.clone().unwrap_or_else(own);
    let advertised = |prefix: Ipv6Net| Advertised {
        prefix,
        on_link: true,
        // Hosts make identifiers of 64 bits.
        autonomous: prefix.prefix_len() == 64,
        lifetimes: (seconds(said.valid), seconds(said.preferred)),
    };
    Advertise {
        interval: (said.interval / 3, said.interval),
        lifetime: u16::try_from(said.lifetime.as_secs()).unwrap_or(u16::MAX),
        hop_limit: 64,
        managed: said.managed,
        other: said.other,
        mtu: said.mtu,
        prefixes: prefixes.into_iter().map(advertised).collect(),
        dns: (said.dns.clone(), seconds(said.interval * 3)),
    }
}

/// What carries a queue, ready to cross to the worker's thread.
#[derive(Debug)]
pub enum Carrier {
    /// To be opened there.
    AfXdp {
        /// The XDP program that feeds it.
        attachment: Arc<Attachment>,
        /// How.
        options: SocketOptions,
        /// The longest frame that the interface takes, in bytes.
        max_packet: usize,
        /// Kick by io_uring.
        kick: Option<SqPollOptions>,
    },
    /// Opened.
    Pcap(Box<PcapPort>),
    /// Opened.
    Memory(Box<MemoryPort>),
    /// Opened.
    Tap(Box<TapPort>),
}

/// One queue of a worker.
#[derive(Debug)]
pub struct PortSeat {
    /// The port.
    pub port: PortId,
    /// Its name.
    pub name: String,
    /// The queue.
    pub queue: u32,
    /// What carries it.
    pub carrier: Carrier,
    /// Whether checksums are left to it.
    pub tx_checksum: TxChecksum,
}

/// The ends of the wires between memory ports, by port.
pub type Wires = HashMap<PortId, MemoryPort>;

/// All wires of the configuration. `bells` are the workers' doorbells, in the order of the configuration.
pub fn wires(config: &Config, layout: &Layout, bells: &[Arc<Doorbell>]) -> Wires {
    let mut wires = Wires::new();
    let worker_of = |port: PortId| {
        layout.cores.iter().position(|core| core.queues.iter().any(|queue| queue.port == port))
    };
    // A worker that has both ends needs no ringing.
    let bell_of = |peer: PortId, own: PortId| match (worker_of(peer), worker_of(own)) {
        (Some(there), here) if Some(there) != here => bells.get(there).cloned(),
        _ => None,
    };
    for (id, port) in config.ports_with_ids() {
        let PortKind::Memory(memory) = &port.kind else { continue };
        if wires.contains_key(&id) {
            continue;
        }
        let back = match config.port(memory.peer).map(|peer| &peer.kind) {
            Some(PortKind::Memory(peer)) => peer.ring,
            _ => memory.ring,
        };
        let (to_peer, from_us) = packet_ring(memory.ring as usize);
        let (to_us, from_peer) = packet_ring(back as usize);
        wires.insert(id, MemoryPort { from_peer, to_peer, peer_bell: bell_of(memory.peer, id) });
        let peer_bell = bell_of(id, memory.peer);
        wires.insert(memory.peer, MemoryPort { from_peer: from_us, to_peer: to_us, peer_bell });
    }
    wires
}

/// The queues of one worker.
pub fn for_worker(
    config: &Config,
    layout: &Layout,
    attached: &[Option<Attached>],
    wires: &mut Wires,
    queues: &[QueueRef],
) -> Result<Vec<PortSeat>, StartError> {
    let mut seats = Vec::with_capacity(queues.len());
    for &QueueRef { port: id, queue } in queues {
        let (Some(port), Some(plan)) = (config.port(id), layout.ports.get(id.index())) else { continue };
        let pcap = |source| StartError::Pcap { port: port.name.clone(), source };
        let carrier = match &port.kind {
            PortKind::AfXdp(af_xdp) => match attached.get(id.index()) {
                Some(Some(attached)) => carrier(af_xdp, plan, &attached.attachment),
                _ => continue,
            },
            PortKind::Pcap(files) => {
                let replay = match &files.read {
                    Some(path) => Some(Replay::open(path, files.repeat).map_err(pcap)?),
                    None => None,
                };
                let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                let sink = match &files.write {
                    Some(path) => Sink::File(Box::new(Capture::create(path, epoch).map_err(pcap)?)),
                    None => Sink::Discard,
                };
                Carrier::Pcap(Box::new(PcapPort { replay, sink }))
            }
            PortKind::Memory(_) => match wires.remove(&id) {
                Some(end) => Carrier::Memory(Box::new(end)),
                None => continue,
            },
            PortKind::Tap(tap) => {
                let opened = TapPort::open(&tap.interface, usize::from(plan.mtu) + LINK_OVERHEAD);
                let failed = |source| StartError::Tap { port: port.name.clone(), source };
                Carrier::Tap(Box::new(opened.map_err(failed)?))
            }
            PortKind::Vlan(_) => continue,
        };
        let tx_checksum = match &port.kind {
            PortKind::AfXdp(af_xdp) => af_xdp.tx_checksum,
            PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Tap(_) | PortKind::Vlan(_) => TxChecksum::Off,
        };
        let name = port.name.clone();
        seats.push(PortSeat { port: id, name, queue: u32::from(queue), carrier, tx_checksum });
    }
    Ok(seats)
}

fn carrier(af_xdp: &AfXdp, plan: &PortLayout, attachment: &Arc<Attachment>) -> Carrier {
    let rings = af_xdp.rings;
    let options = SocketOptions {
        rx_ring: rings.rx,
        tx_ring: rings.tx,
        fill_ring: rings.fill,
        completion_ring: rings.completion,
        need_wakeup: af_xdp.need_wakeup,
        tx_budget: Some(rings.tx),
        busy_poll: af_xdp.busy_poll.map(|poll| BusyPoll {
            microseconds: u32::try_from(poll.duration.as_micros()).unwrap_or(u32::MAX),
            budget: u32::from(poll.budget),
        }),
        transmit: match (af_xdp.transmit, af_xdp.kick) {
            (model::Transmit::Bulk, _) => Transmit::Bulk,
            // Who wants no system calls wants none for a burst either.
            (model::Transmit::Ring, _) | (_, model::Kick::Sqpoll) => Transmit::Ring,
            (model::Transmit::Auto, model::Kick::Syscall) => Transmit::Auto,
        },
    };
    let kick = match af_xdp.kick {
        model::Kick::Syscall => None,
        model::Kick::Sqpoll => Some(SqPollOptions { idle_milliseconds: SQPOLL_IDLE_MS, cpu: None }),
    };
    let max_packet = usize::from(plan.mtu) + LINK_OVERHEAD;
    Carrier::AfXdp { attachment: Arc::clone(attachment), options, max_packet, kick }
}

/// How worker `number` reaches each port: by its first queue of it, else by the first worker that has one.
pub fn ways(config: &Config, layout: &Layout, number: usize) -> Vec<Way> {
    config
        .ports_with_ids()
        .map(|(id, _)| {
            let place = |worker: usize| {
                layout
                    .cores
                    .get(worker)
                    .and_then(|core| core.queues.iter().position(|queue| queue.port == id))
            };
            match place(number) {
                Some(queue) => Way::Own(queue),
                None => (0..layout.cores.len())
                    .find(|&worker| place(worker).is_some())
                    .map_or(Way::Nowhere, Way::Other),
            }
        })
        .collect()
}

/// Ports of which more than one worker polls queues, a bit for each.
pub fn shared_by_queues(config: &Config, layout: &Layout) -> u64 {
    let polled = |id: PortId| {
        let polls =
            |core: &&crate::config::layout::CoreLayout| core.queues.iter().any(|queue| queue.port == id);
        layout.cores.iter().filter(polls).count()
    };
    config.ports_with_ids().filter(|(id, _)| polled(*id) > 1).fold(0, |bits, (id, _)| bits | 1 << id.index())
}

/// Ports whose packets are shared out by flow, a bit for each; meaningless with one worker.
pub fn shared_by_flow(config: &Config) -> u64 {
    if config.cores.len() < 2 {
        return 0;
    }
    config
        .ports_with_ids()
        .filter(|(_, port)| port.distribute == Distribute::Flow)
        .fold(0, |bits, (id, _)| bits | 1 << id.index())
}

/// Ports of which worker `number` is the first that polls a queue, a bit for each.
pub fn speaks_for(config: &Config, layout: &Layout, number: usize) -> u64 {
    let first = |port: PortId| {
        layout.cores.iter().position(|core| core.queues.iter().any(|queue| queue.port == port))
    };
    let ours = config.ports_with_ids().filter(|(id, _)| first(*id) == Some(number));
    ours.fold(0, |bits, (id, _)| bits | 1 << id.index())
}
