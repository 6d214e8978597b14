//! Autoconfiguration on its way from what workers heard to what they all do: [`Autoconf`] says what changes, this does it:
//! routes, the interfaces as `show` tells them, and every worker's own.

use super::{Service, WorkerHandle};
use crate::config::Layout;
use crate::config::model::Config;
use crate::worker::Command;
use flumen_stack::PortId;
use flumen_stack::ipv6::autoconf::{Autoconf, Change, Notice};
use flumen_stack::route::{Route, RouteMetrics, Source, TableId, Target};
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv6Addr};

/// What tells this machine from others, and stays the same.
const MACHINE_ID: &str = "/etc/machine-id";

/// The metric of the default route that an advertisement makes, as Linux gives it: behind any that an operator wrote.
const METRIC: u32 = 1024;

/// The machine for the ports that are configured so. `random` takes the place of the machine's own identity where there
/// is none: then addresses change with every start.
pub fn machine(config: &Config, layout: &Layout, random: [u64; 6]) -> Autoconf {
    let mut secret = [0; 32];
    match std::fs::read_to_string(MACHINE_ID) {
        Ok(id) if !id.trim().is_empty() => {
            for (place, byte) in secret.iter_mut().zip(id.trim().bytes()) {
                *place = byte;
            }
        }
        _ => {
            for (place, word) in secret.chunks_exact_mut(8).zip(random) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
        }
    }
    let ports = config.ports_with_ids().zip(&layout.ports).filter(|((_, port), _)| port.manners.autoconf);
    Autoconf::new(secret, ports.map(|((id, port), plan)| (id, port.name.clone(), plan.mtu)))
}

impl Service {
    /// Takes what workers noticed, and lets time pass: to be called every now and then.
    pub fn autoconfigure(&mut self) {
        let now = self.clock.now();
        let mut changes = if self.autoconf.is_idle() { Vec::new() } else { self.autoconf.expire(now) };
        let mut checked = Vec::new();
        for worker in &mut self.workers {
            while let Ok(notice) = worker.notices.pop() {
                changes.extend(self.autoconf.hear(&notice, now));
                checked.push(notice);
            }
        }
        for notice in checked {
            self.withdraw_or_restore(&notice);
        }
        for change in changes {
            self.apply_change(change);
        }
    }

    /// The routes call a duplicate ours no longer, or its owner could not talk to us; when the link came back and nobody
    /// had it any more, they do again.
    fn withdraw_or_restore(&mut self, notice: &Notice) {
        let (port, address, adopted) = match notice {
            Notice::Duplicate(port, address) => (*port, *address, false),
            Notice::Adopted(port, address) => (*port, *address, true),
            Notice::Router(_) => return,
        };
        let prefix = IpNet::from(address);
        let (source, metric) = (Source::Connected, 0);
        let known = self.withdrawn.iter().position(|one| *one == (port, address));
        let result = match (adopted, known) {
            (true, Some(place)) => {
                self.withdrawn.swap_remove(place);
                let (table, metrics) = (TableId::MAIN, RouteMetrics::NONE);
                self.rib.replace(&Route { prefix, target: Target::Local, source, metric, table, metrics })
            }
            (false, None)
                if self
                    .config
                    .port(port)
                    .is_some_and(|one| one.addresses.iter().any(|net| net.addr() == address)) =>
            {
                self.withdrawn.push((port, address));
                let name = self.config.port(port).map_or("", |port| port.name.as_str());
                tracing::error!(port = name, %address, "another station has this address; we do not use it");
                self.rib.remove(prefix, source, metric)
            }
            _ => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!(%address, %error, "the route to an address of ours");
        }
    }

    fn apply_change(&mut self, change: Change) {
        let name = |service: &Service, port: PortId| {
            service.config.port(port).map(|port| port.name.clone()).unwrap_or_default()
        };
        match change {
            Change::Add(port, net) => {
                self.set_route(Ipv6Net::from(net.addr()), Some(Target::Local));
                if let Some(one) = self.interfaces.get_mut(port.index()) {
                    let _as_many_as_can_be = one.ipv6.try_push(net);
                }
                tell(&mut self.workers, || Command::AddAddress(port, IpNet::V6(net)));
                tracing::info!(port = name(self, port), address = %net, "an address by autoconfiguration");
            }
            Change::Remove(port, net) => {
                self.set_route(Ipv6Net::from(net.addr()), None);
                if let Some(one) = self.interfaces.get_mut(port.index()) {
                    one.ipv6.retain(|own| *own != net);
                }
                tell(&mut self.workers, || Command::RemoveAddress(port, IpAddr::V6(net.addr())));
                tracing::info!(port = name(self, port), address = %net, "an address has ended");
            }
            Change::Deprecate(port, address, deprecated) => {
                tell(&mut self.workers, || Command::Deprecate(port, address, deprecated));
            }
            Change::OnLink(port, net, present) => {
                self.set_route(net, present.then_some(Target::Connected { port }));
            }
            Change::Default(router) => {
                let all = Ipv6Net::new(Ipv6Addr::UNSPECIFIED, 0).unwrap_or_default();
                let target = router.map(|(port, via)| Target::Gateway { port, via: IpAddr::V6(via) });
                self.set_route(all, target);
                match router {
                    Some((port, via)) => {
                        tracing::info!(port = name(self, port), %via, "the default router by its advertisement");
                    }
                    None => tracing::warn!("no router advertises itself any more"),
                }
            }
            Change::Mtu(port, mtu) => {
                if let Some(one) = self.interfaces.get_mut(port.index()) {
                    one.mtu = mtu;
                }
                tell(&mut self.workers, || Command::SetMtu(port, mtu));
                tracing::info!(
                    port = name(self, port),
                    mtu,
                    "the MTU of the link by a router's advertisement"
                );
            }
        }
    }

    /// Sets or removes a route that a router spoke of.
    fn set_route(&mut self, prefix: Ipv6Net, target: Option<Target>) {
        let (prefix, source, metric) = (IpNet::V6(prefix), Source::Redirect, METRIC);
        let result = match target {
            Some(target) => {
                let (table, metrics) = (TableId::MAIN, RouteMetrics::NONE);
                self.rib.replace(&Route { prefix, target, source, metric, table, metrics })
            }
            None => self.rib.remove(prefix, source, metric),
        };
        if let Err(error) = result {
            tracing::warn!(%prefix, %error, "a route by router advertisement");
        }
    }
}

fn tell(workers: &mut [WorkerHandle], command: impl Fn() -> Command) {
    for worker in workers {
        if !worker.ask(command()) {
            tracing::error!(cpu = worker.cpu, "a worker does not take commands");
        }
    }
}
