//! The door for programs: what the attach server and the workers' sessions are made with, from `[programs]`.

use super::{StartError, WorkerHandle, descriptors, transport};
use crate::config::model::{self, Claimed, Config, LowPorts, PacketRule, PortKind, Programs, Reservation};
use crate::control::socket_file::BindError;
use crate::session::attach::{self, AttachServer};
use crate::session::links::{FIRST_NUMBER_WITHOUT_INTERFACE, Link, Links};
use crate::session::order::{self, ControlEnds, WorkerEnds};
use crate::session::{self, policy};
use core::ops::RangeInclusive;
use flumen_ipc::wake::Bell;
use flumen_ipc::{Geometry, ServicePage};
use flumen_stack::Interface;
use mio::{Registry, Token};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Backlog of a listener before `listen` says one.
const BACKLOG: u32 = 128;

/// Calls of one program that may be on their way at a time.
const CALLS: u32 = 256;

/// What the sessions of a worker are made with.
pub type SessionSeat = (session::Settings, Arc<ServicePage>, WorkerEnds);

/// The control thread's part, until the attach server takes it.
#[derive(Debug)]
pub struct Door {
    ends: Vec<ControlEnds>,
    answered: Arc<Bell>,
    page: OwnedFd,
}

/// That part and one for each worker; `None` when programs have no sockets here.
///
/// # Errors
/// No descriptor or memory is left.
pub fn prepare(
    config: &Config,
    interfaces: &[Interface],
) -> Result<Option<(Door, Vec<SessionSeat>)>, StartError> {
    let Some(programs) = &config.programs else { return Ok(None) };
    descriptors::make_room(programs.programs, config.cores.len());
    let system = |source| StartError::System { doing: "make what programs share with us", source };
    let (page, page_fd) = ServicePage::create().map_err(system)?;
    let page = Arc::new(page);
    let answered = Arc::new(Bell::new().map_err(system)?);
    let settings = |worker, cpu| session::Settings {
        worker,
        cpu,
        programs: programs.programs,
        sockets: config.sockets.connections
            + config.sockets.listeners
            + config.sockets.udp
            + config.sockets.raw,
        policy: policy_of(programs, interfaces),
        links: links(config),
        listen: transport::listen_settings(&config.tcp, BACKLOG),
    };
    let (mut ends, mut seats) = (Vec::new(), Vec::new());
    for (worker, core) in config.cores.iter().enumerate() {
        let (control, worker_ends) = order::channel(&answered).map_err(system)?;
        ends.push(control);
        seats.push((settings(worker, core.cpu), Arc::clone(&page), worker_ends));
    }
    let door = Door { ends, answered, page: page_fd };
    Ok(Some((door, seats)))
}

impl Door {
    /// Opens it.
    ///
    /// # Errors
    /// Those of a socket file.
    pub fn open(
        self,
        programs: &Programs,
        registry: &Registry,
        first: Token,
    ) -> Result<AttachServer, BindError> {
        let Door { ends, answered, page } = self;
        let geometry = Geometry {
            slots: programs.sockets as u32,
            calls: CALLS,
            rx_bytes: programs.receive_ring as u32,
            tx_bytes: programs.send_ring as u32,
            workers: ends.len() as u32,
        };
        let settings = attach::Settings {
            path: &programs.socket,
            mode: programs.mode,
            owner: (programs.user, programs.group),
            programs: programs.programs,
            programs_per_user: programs.programs_per_user,
            geometry,
        };
        AttachServer::bind(&settings, (ends, answered), page, registry, first)
    }
}

impl WorkerHandle {
    /// Wakes the worker.
    pub fn wake(&self) {
        self.bell.ring();
    }
}

fn policy_of(programs: &Programs, interfaces: &[Interface]) -> policy::Policy {
    let rules =
        |rules: &[PacketRule], ours| rules.iter().map(move |rule| rule_of(rule, ours)).collect::<Vec<_>>();
    let mut all = rules(&programs.never, false);
    let claim = match &programs.claim {
        Claimed::Owned => policy::Claim::Owned,
        Claimed::All => policy::Claim::All,
        Claimed::Rules(claimed) => {
            all.extend(rules(claimed, true));
            policy::Claim::Rules
        }
    };
    let low_ports = match &programs.low_ports {
        LowPorts::All => policy::LowPorts::All,
        LowPorts::Users(users) => policy::LowPorts::Users(users.clone()),
    };
    let ours = |ip: &IpAddr| interfaces.iter().any(|one| one.owns(*ip));
    let kernel = kernel_addresses().into_iter().filter(|ip| !ours(ip)).collect();
    let reserved = programs.reserve.iter().map(reservation_of).collect();
    policy::Policy { claim, rules: all, low_ports, reserved, kernel }
}

fn rule_of(rule: &PacketRule, ours: bool) -> policy::Rule {
    policy::Rule { net: rule.destination, protocol: protocol_of(rule), ports: ports_of(rule), ours }
}

fn reservation_of(reservation: &Reservation) -> policy::Reservation {
    let Reservation { names, users } = reservation;
    policy::Reservation {
        net: names.destination,
        protocol: protocol_of(names),
        ports: ports_of(names),
        users: users.clone(),
    }
}

fn protocol_of(rule: &PacketRule) -> Option<i32> {
    rule.protocol.map(|protocol| i32::from(protocol.0))
}

fn ports_of(rule: &PacketRule) -> Vec<RangeInclusive<u16>> {
    rule.ports.iter().map(|range| range.first..=range.last).collect()
}

/// Addresses of the kernel's interfaces; none when it does not say.
fn kernel_addresses() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.filter_map(|one| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    })
    .collect()
}

/// The ports under the names and numbers of their interfaces.
fn links(config: &Config) -> Links {
    let link = |(port, one): (flumen_stack::PortId, &model::Port)| match &one.kind {
        PortKind::AfXdp(af_xdp) => {
            let number = nix::net::if_::if_nametoindex(af_xdp.interface.as_str()).unwrap_or(0);
            Link { port, name: af_xdp.interface.clone(), number }
        }
        PortKind::Tap(tap) => {
            let number = nix::net::if_::if_nametoindex(tap.interface.as_str()).unwrap_or(0);
            Link { port, name: tap.interface.clone(), number }
        }
        PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Vlan(_) => {
            let number = FIRST_NUMBER_WITHOUT_INTERFACE + port.index() as u32;
            Link { port, name: one.name.clone(), number }
        }
    };
    Links(config.ports_with_ids().map(link).collect())
}
