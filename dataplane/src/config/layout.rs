//! The layout: who polls what, with how many frames: a [`Config`] laid over the facts of one machine.
//!
//! ```text
//!   [[core]] cpu = 1, ports = ["lan"]      lan has queues 0 and 1, says the machine
//!         └──> CoreLayout { cpu: 1, queues: [lan:0, lan:1], frames: sum of the named uses }
//! ```
//!
//! Invariants
//! 1. Each queue of each port stands in the list of exactly one core.
//! 2. The frames of a core are at least as many as the sum of its uses, so that no ring, queue or burst ever
//!    waits for a frame that another one holds.

use super::assign::{known_queues, report_left, show_queues};
use super::frames::{chunk_for, frames_needed, single_buffer_mtu};
use super::host::Host;
use super::model::{
    AfXdp, ChecksumPolicy, Config, Core, MultiBuffer, PacketRule, Port, PortKind, Queues, RouteAction, Tap,
};
use super::problem::{Problem, Problems};
use super::vlans;
use flumen_stack::{MacAddr, PortId, limits};

/// A configuration that fits the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// What is known of each port of the configuration, in its order.
    pub ports: Vec<PortLayout>,
    /// What each core of the configuration does, in its order.
    pub cores: Vec<CoreLayout>,
}

/// What is known of a port once its interface is.
#[derive(Debug, Clone, PartialEq)]
pub struct PortLayout {
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Our link-layer address.
    pub mac: MacAddr,
    /// Queues that we poll, ascending. Ports of other kinds than `af_xdp` have queue 0.
    pub queues: Vec<u16>,
    /// True when packets may come and go as chains.
    pub multi_buffer: bool,
    /// What to do about checksums: never `Auto`.
    pub checksum: ChecksumPolicy,
    /// Packets that are never ours (`never`, with the kernel's addresses put in).
    pub never: Vec<PacketRule>,
    /// False when the interface is not there, so that the above is assumed (only in a check).
    pub present: bool,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreLayout {
    /// The processor.
    pub cpu: usize,
    /// What it polls, in the order of the file. Each queue stands in the list of exactly one core.
    pub queues: Vec<QueueRef>,
    /// Frames of its pool: at least as many as `uses` add up to.
    pub frames: usize,
    /// Bytes of a frame.
    pub chunk: usize,
    /// What the frames are for.
    pub uses: Vec<FrameUse>,
}

impl CoreLayout {
    /// Frames that the uses add up to.
    pub fn needed(&self) -> usize {
        self.uses.iter().map(|named| named.frames).sum()
    }
}

/// One queue of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueRef {
    /// The port.
    pub port: PortId,
    /// The queue.
    pub queue: u16,
}

/// Why a pool has some of its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameUse {
    /// What they are for, for a person: `fill ring of lan:0`.
    pub what: String,
    /// How many, in frames (chunks).
    pub frames: usize,
}

/// How to take an interface or a processor that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A warning: the file is being checked, perhaps on another machine.
    Warn,
    /// An error: the data plane is about to start.
    Refuse,
}

/// Lays `config` over `host`. `None` when there is an error. What is found is added to `problems`.
pub fn plan(config: &Config, host: &Host, missing: Missing, problems: &mut Problems) -> Option<Layout> {
    let before = problems.errors();
    check_cpus(config, host, missing, problems);
    let mut ports: Vec<PortLayout> = config
        .ports_with_ids()
        .map(|(id, port)| plan_port(config, host, id, port, missing, problems))
        .collect();
    plan_vlans(config, &mut ports, problems);
    let mut cores: Vec<CoreLayout> = config
        .cores
        .iter()
        .map(|core| CoreLayout {
            cpu: core.cpu,
            queues: core
                .serves
                .iter()
                .flat_map(|serves| {
                    let queues: &[u16] = match &serves.queues {
                        Queues::These(queues) => queues,
                        Queues::All => ports.get(serves.port.index()).map_or(&[], |port| &port.queues),
                    };
                    queues.iter().map(|queue| QueueRef { port: serves.port, queue: *queue })
                })
                .collect(),
            frames: 0,
            chunk: chunk_of(config, host, core),
            uses: Vec::new(),
        })
        .collect();
    for (core, layout) in config.cores.iter().zip(&mut cores) {
        layout.uses = frames_needed(config, &ports, core, layout.chunk, &layout.queues);
        let needed = layout.needed();
        layout.frames = core.frames.unwrap_or(needed);
        if layout.frames < needed {
            problems.push(
                Problem::error(
                    core.frames_at,
                    format!("{} frames are too few for cpu {}", layout.frames, core.cpu),
                )
                .label(format!("{needed} are needed"))
                .help(format!(
                    "say `frames = {needed}`, or leave it out, or make something smaller:\n{}",
                    show_uses(&layout.uses)
                )),
            );
        }
        check_chunks(config, &ports, layout.chunk, &layout.queues, problems);
    }
    check_routes(config, host, problems);
    (problems.errors() == before).then_some(Layout { ports, cores })
}

/// The uses of frames, one a line.
pub fn show_uses(uses: &[FrameUse]) -> String {
    let lines: Vec<String> =
        uses.iter().map(|named| format!("{:>8}  {}", named.frames, named.what)).collect();
    lines.join("\n")
}

fn absent(missing: Missing, at: super::problem::At, message: String) -> Problem {
    match missing {
        Missing::Warn => Problem::warning(at, message),
        Missing::Refuse => Problem::error(at, message),
    }
}

fn check_cpus(config: &Config, host: &Host, missing: Missing, problems: &mut Problems) {
    for core in &config.cores {
        if !host.cpus.contains(&core.cpu) {
            let cpus = host.cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            problems.push(
                absent(missing, core.at, format!("this machine has no cpu {} for us", core.cpu))
                    .help(format!("the cpus that this process may use are {cpus}")),
            );
        }
    }
}

fn plan_port(
    config: &Config,
    host: &Host,
    id: PortId,
    port: &Port,
    missing: Missing,
    problems: &mut Problems,
) -> PortLayout {
    let made_up = PortLayout {
        mtu: port.mtu.unwrap_or(1500),
        mac: port.mac.unwrap_or(local_mac(id)),
        queues: known_queues(port).map_or_else(|| named_queues(config, id), <[u16]>::to_vec),
        multi_buffer: true,
        checksum: port.checksum.for_driver(None),
        never: Vec::new(),
        present: true,
    };
    let af_xdp = match &port.kind {
        PortKind::AfXdp(af_xdp) => af_xdp,
        PortKind::Tap(tap) => return plan_tap(config, host, (id, port), tap, made_up, problems),
        PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Vlan(_) => return made_up,
    };
    let mut layout = made_up;
    if let Some(interface) = host.interfaces.get(&af_xdp.interface) {
        let has = interface.rx_queues.min(interface.tx_queues);
        if interface.rx_queues > interface.tx_queues {
            problems.push(
                Problem::warning(
                    af_xdp.queues_at,
                    format!(
                        "interface {} has {} receive queues and {} transmit queues",
                        af_xdp.interface, interface.rx_queues, interface.tx_queues
                    ),
                )
                .help(format!(
                    "what comes in on queue {has} and above stays with the kernel: `ethtool -L {}` makes them equal",
                    af_xdp.interface
                )),
            );
        }
        layout.queues = plan_queues(config, id, port, af_xdp, has, problems);
        layout.mtu = plan_mtu(port, af_xdp, interface.mtu, problems);
        layout.mac = port.mac.or(interface.mac).unwrap_or(local_mac(id));
        layout.checksum = port.checksum.for_driver(interface.driver.as_deref());
        layout.never = af_xdp.never.rules(&interface.addresses);
        if !interface.up {
            problems.push(
                Problem::warning(af_xdp.interface_at, format!("interface {} is down", af_xdp.interface))
                    .help(format!("`ip link set {} up`; the port waits for its carrier", af_xdp.interface)),
            );
        }
    } else {
        layout.present = false;
        let known: Vec<&str> = host.interfaces.keys().map(String::as_str).collect();
        problems.push(
            absent(missing, af_xdp.interface_at, format!("there is no interface {} here", af_xdp.interface))
                .help(match missing {
                    Missing::Warn => "its queues, MTU and address could not be checked".to_owned(),
                    Missing::Refuse => {
                        super::read::suggest(&af_xdp.interface, &known, "the interfaces here are")
                    }
                }),
        );
    }
    let fits = layout.mtu <= smallest_single_buffer_mtu(config, host, id);
    layout.multi_buffer = match af_xdp.multi_buffer {
        MultiBuffer::On => true,
        MultiBuffer::Off => false,
        MultiBuffer::Auto => !fits,
    };
    if layout.mtu < limits::MIN_MTU_IPV6 && port.has_ipv6() && port.mtu.is_none() {
        problems.push(
            Problem::error(
                af_xdp.interface_at,
                format!("the MTU of {} ({}) is too small for IPv6", af_xdp.interface, layout.mtu),
            )
            .help(format!(
                "raise it to {} (RFC 8200 section 5) or take the IPv6 addresses out",
                limits::MIN_MTU_IPV6
            )),
        );
    }
    layout
}

/// A TAP that is there already has an MTU; packets must fit a chunk, because one read brings one.
fn plan_tap(
    config: &Config,
    host: &Host,
    (id, port): (PortId, &Port),
    tap: &Tap,
    made_up: PortLayout,
    problems: &mut Problems,
) -> PortLayout {
    let there = host.interfaces.get(&tap.interface);
    let most = smallest_single_buffer_mtu(config, host, id);
    let mtu = port.mtu.or(there.and_then(|one| u16::try_from(one.mtu).ok())).unwrap_or(1500);
    if mtu > most {
        problems.push(
            Problem::error(
                tap.mtu_at,
                format!("packets of port `{}` (MTU {mtu}) do not fit a chunk", port.name),
            )
            .label(format!("up to {most} fit"))
            .help("say a smaller `mtu` here and on the interface, or a larger `chunk` for the core"),
        );
    }
    PortLayout {
        mtu,
        multi_buffer: false,
        // The kernel's own end has the interface's address: ours must be another.
        mac: port.mac.unwrap_or(local_mac(id)),
        checksum: port.checksum.for_driver(Some("tap")),
        ..made_up
    }
}

/// VLANs have what their ports have, but for an MTU of their own.
fn plan_vlans(config: &Config, ports: &mut [PortLayout], problems: &mut Problems) {
    for (id, port) in config.ports_with_ids() {
        let PortKind::Vlan(_) = port.kind else { continue };
        let wire = vlans::wire_of(config, id).and_then(|(wire, _)| ports.get(wire.index())).cloned();
        let (Some(wire), Some(plan)) = (wire, ports.get_mut(id.index())) else { continue };
        let mtu = port.mtu.unwrap_or(wire.mtu);
        if mtu > wire.mtu {
            problems.push(
                Problem::error(port.at, format!("an MTU of {mtu} is more than its port has ({})", wire.mtu))
                    .help("a tag makes frames longer, not packets: raise the MTU of the port, or lower this one"),
            );
        }
        *plan = PortLayout { mtu, queues: Vec::new(), never: Vec::new(), ..wire };
    }
}

/// The queues that cores name, for an interface that is not here: else one.
fn named_queues(config: &Config, id: PortId) -> Vec<u16> {
    let mut queues: Vec<u16> = served(config, id)
        .filter_map(|queues| match queues {
            Queues::These(queues) => Some(queues.iter().copied()),
            Queues::All => None,
        })
        .flatten()
        .collect();
    queues.sort_unstable();
    if queues.is_empty() { vec![0] } else { queues }
}

fn served(config: &Config, id: PortId) -> impl Iterator<Item = &Queues> {
    config
        .cores
        .iter()
        .flat_map(|core| &core.serves)
        .filter(move |serves| serves.port == id)
        .map(|serves| &serves.queues)
}

/// The queues of a port whose interface has queues `0..has`.
fn plan_queues(
    config: &Config,
    id: PortId,
    port: &Port,
    af_xdp: &AfXdp,
    has: u16,
    problems: &mut Problems,
) -> Vec<u16> {
    let all: Vec<u16> = (0..has.min(super::bounds::MAX_QUEUES)).collect();
    let lacks = |at, queue: u16| {
        Problem::error(at, format!("interface {} has no queue {queue}", af_xdp.interface)).help(format!(
            "it has {has} ({}): name one of them, or give it more with `ethtool -L {} combined {}`",
            show_queues(&all),
            af_xdp.interface,
            queue + 1
        ))
    };
    match &af_xdp.queues {
        Queues::These(queues) => {
            for queue in queues.iter().filter(|queue| **queue >= has) {
                problems.push(lacks(af_xdp.queues_at, *queue));
            }
            queues.clone()
        }
        Queues::All => {
            let mut polled = Vec::new();
            for serves in config.cores.iter().flat_map(|core| &core.serves).filter(|serves| serves.port == id)
            {
                match &serves.queues {
                    Queues::All => return all,
                    Queues::These(queues) => {
                        for queue in queues {
                            if *queue >= has {
                                problems.push(lacks(serves.at, *queue));
                            }
                            polled.push(*queue);
                        }
                    }
                }
            }
            let left: Vec<u16> = all.iter().copied().filter(|queue| !polled.contains(queue)).collect();
            report_left(port, &left, problems);
            all
        }
    }
}

fn plan_mtu(port: &Port, af_xdp: &AfXdp, interface: u32, problems: &mut Problems) -> u16 {
    let most = u32::from(limits::MAX_MTU);
    if let Some(mtu) = port.mtu {
        if u32::from(mtu) > interface {
            problems.push(
                Problem::error(
                    af_xdp.mtu_at,
                    format!("an MTU of {mtu} is more than interface {} has ({interface})", af_xdp.interface),
                )
                .help(format!("`ip link set {} mtu {mtu}`, or a smaller one here", af_xdp.interface)),
            );
        }
        return mtu;
    }
    if interface > most {
        problems.push(
            Problem::warning(
                af_xdp.interface_at,
                format!("interface {} has an MTU of {interface}; the port uses {most}", af_xdp.interface),
            )
            .help("say `mtu` to choose another one"),
        );
    }
    u16::try_from(interface.min(most)).unwrap_or(limits::MAX_MTU)
}

/// The largest MTU whose packets fit one chunk on every core that serves the port.
fn smallest_single_buffer_mtu(config: &Config, host: &Host, id: PortId) -> u16 {
    config
        .cores
        .iter()
        .filter(|core| core.serves.iter().any(|serves| serves.port == id))
        .map(|core| single_buffer_mtu(chunk_of(config, host, core)))
        .min()
        .unwrap_or(limits::MAX_MTU)
}

/// The bytes of a core's frames: as the configuration says, or as the longest packets of its ports want it.
fn chunk_of(config: &Config, host: &Host, core: &Core) -> usize {
    core.chunk.unwrap_or_else(|| {
        let ports = core.serves.iter().filter_map(|serves| config.port(serves.port));
        chunk_for(ports.map(|port| longest_packet(host, port)).max().unwrap_or(0))
    })
}

/// The MTU that a port is going to have, as far as that is known before it is planned.
fn longest_packet(host: &Host, port: &Port) -> u16 {
    let interface = match &port.kind {
        PortKind::AfXdp(af_xdp) => Some(&af_xdp.interface),
        PortKind::Tap(tap) => Some(&tap.interface),
        PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Vlan(_) => None,
    };
    let has = interface.and_then(|name| host.interfaces.get(name)).map(|one| one.mtu);
    let most = limits::MAX_MTU;
    port.mtu.unwrap_or_else(|| u16::try_from(has.unwrap_or(1500)).unwrap_or(most).min(most))
}

fn check_chunks(
    config: &Config,
    ports: &[PortLayout],
    chunk: usize,
    queues: &[QueueRef],
    problems: &mut Problems,
) {
    let most = single_buffer_mtu(chunk);
    let mut last = None;
    for id in queues.iter().map(|queue| queue.port) {
        let (Some(port), Some(layout)) = (config.port(id), ports.get(id.index())) else { continue };
        let PortKind::AfXdp(af_xdp) = &port.kind else { continue };
        if last == Some(id) || layout.multi_buffer || layout.mtu <= most {
            continue;
        }
        last = Some(id);
        problems.push(
            Problem::error(
                af_xdp.mtu_at,
                format!(
                    "packets of port `{}` (MTU {}) do not fit a chunk of {chunk} bytes",
                    port.name, layout.mtu
                ),
            )
            .label(format!("up to {most} fit"))
            .help("say `multi_buffer = \"auto\"`, a larger `chunk` for the core, or a smaller `mtu`"),
        );
    }
}

/// Routes whose only way out is a port that is down.
fn check_routes(config: &Config, host: &Host, problems: &mut Problems) {
    let is_down: Vec<bool> = config
        .ports
        .iter()
        .map(|port| match &port.kind {
            PortKind::AfXdp(af_xdp) => {
                host.interfaces.get(&af_xdp.interface).is_some_and(|interface| !interface.up)
            }
            PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Tap(_) | PortKind::Vlan(_) => false,
        })
        .collect();
    if !is_down.contains(&true) {
        return;
    }
    for route in &config.routes {
        let RouteAction::Unicast(next_hops) = &route.action else { continue };
        if next_hops.iter().all(|hop| is_down.get(hop.port.index()) == Some(&true)) {
            problems.push(
                Problem::warning(
                    route.at,
                    format!("the route to {} leads through a port that is down", route.to),
                )
                .help("it is used as soon as the interface has a carrier"),
            );
        }
    }
}

/// The address of a port that has no interface: locally administered, one for each port.
fn local_mac(id: PortId) -> MacAddr {
    MacAddr([0x02, 0xf1, 0x00, 0x00, 0x00, u8::try_from(id.index()).unwrap_or(u8::MAX)])
}
