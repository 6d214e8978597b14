//! The links of the ports, watched from the control thread: a carrier that comes or goes, an interface that
//! disappears. Workers forward on meanwhile; they are told what changed.

use super::Service;
use crate::config::model::PortKind;
use crate::config::vlans;
use crate::worker::Command;
use flumen_stack::PortId;
use std::fs;
use std::path::Path;

/// What can be seen of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It carries packets.
    Up,
    /// The interface is there, and down or without a carrier.
    Down,
    /// The interface is not there any more.
    Gone,
}

/// The last known state of every port's link.
#[derive(Debug)]
pub struct Links {
    known: Vec<Link>,
    folder: &'static Path,
}

impl Links {
    /// All links taken for up; the first look corrects that.
    pub fn new(ports: usize) -> Links {
        Links { known: vec![Link::Up; ports], folder: Path::new("/sys/class/net") }
    }

    /// The state of a port's link.
    pub fn of(&self, service: &Service, port: PortId) -> Link {
        // A VLAN has its port's.
        let port = vlans::wire_of(&service.config, port).map_or(port, |(wire, _)| wire);
        self.known.get(port.index()).copied().unwrap_or(Link::Gone)
    }

    /// Looks at every link, tells workers and routes what changed, and says so on the log.
    pub fn watch(&mut self, service: &mut Service) {
        for index in 0..self.known.len() {
            let Some(port) = PortId::new(index) else { break };
            let Some(found) = self.look(service, port) else { continue };
            let before = core::mem::replace(&mut self.known[index], found);
            if before != found {
                announce(service, port, before, found);
            }
        }
    }

    /// What a link looks like now; `None` for ports that have none.
    fn look(&self, service: &Service, port: PortId) -> Option<Link> {
        let (interface, tap) = match &service.config.port(port)?.kind {
            PortKind::AfXdp(af_xdp) => (&af_xdp.interface, false),
            PortKind::Tap(tap) => (&tap.interface, true),
            PortKind::Pcap(_) | PortKind::Memory(_) | PortKind::Vlan(_) => return None,
        };
        let folder = self.folder.join(interface);
        let read = |file: &str| fs::read_to_string(folder.join(file));
        let same = match service.attached.get(port.index()) {
            Some(Some(attached)) => read("ifindex")
                .is_ok_and(|text| text.trim().parse() == Ok(attached.attachment.interface().index)),
            // A TAP cannot go away while we hold it, but it can be deleted.
            _ => tap && folder.exists(),
        };
        if !same {
            // Another interface of the same name is not the one that we are attached to.
            return Some(Link::Gone);
        }
        // Reading `carrier` of an interface that is administratively down fails.
        let up = read("carrier").is_ok_and(|text| text.trim() == "1");
        Some(if up { Link::Up } else { Link::Down })
    }
}

fn announce(service: &mut Service, port: PortId, before: Link, now: Link) {
    let name = service.config.port(port).map(|port| port.name.clone()).unwrap_or_default();
    let up = now == Link::Up;
    // Its VLANs come and go with it; the workers know that, the routes are told.
    let is_on_it = |id: &PortId| vlans::wire_of(&service.config, *id).is_some_and(|(wire, _)| wire == port);
    let ports: Vec<PortId> = service.config.ports_with_ids().map(|(id, _)| id).filter(is_on_it).collect();
    // Down: routes first, so that packets find another way before this one is cut. Up: the other way round.
    if !up {
        for port in &ports {
            service.rib.set_port_up(*port, false);
        }
    }
    if !service.tell_all(|| Command::PortUp(port, up)) {
        tracing::error!(port = name, "a worker does not take commands");
    }
    if now == Link::Gone && !service.tell_all(|| Command::PortGone(port)) {
        tracing::error!(port = name, "a worker does not take commands");
    }
    if up {
        for port in &ports {
            service.rib.set_port_up(*port, true);
        }
    }
    match (before, now) {
        (_, Link::Up) => tracing::info!(port = name, "the link is up"),
        (_, Link::Down) => tracing::warn!(port = name, "the link is down; its routes are withdrawn"),
        (_, Link::Gone) => tracing::error!(
            port = name,
            "the interface is gone; its routes are withdrawn. When it is back, restart to serve it again"
        ),
    }
}
