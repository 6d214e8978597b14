//! What becomes of the decisions about our own addresses: packets, and which addresses an interface has.

use super::{Deed, FIRST_PROBE_WAIT, duplicate, first_step, up_to};
use crate::counters::Counter;
use crate::frame::{Frame, FramePool};
use crate::interface::Interface;
use crate::ipv6::autoconf::Notice;
use crate::limits::{NEIGHBOUR_FACTS, NOTICES};
use crate::port::PortId;
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::{ipv4, ipv6};
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use ipnet::IpNet;

impl<F: Frame> Stack<F> {
    /// Begins the checks and announcements of every port that is up: once, when the sockets of services are open (which
    /// may then be bound to addresses that are not usable yet).
    pub fn check_addresses(&mut self, now: Instant) {
        for port in (0..self.interfaces.len()).filter_map(PortId::new) {
            self.check_port(now, port, Duration::ZERO);
        }
    }

    /// The link of a port came up: what others did meanwhile nobody knows (RFC 4862 section 5.4, RFC 5227 section 2.1).
    pub(crate) fn recheck_port(&mut self, now: Instant, port: PortId) {
        let wait = up_to(FIRST_PROBE_WAIT, u64::from(self.next_random_u32()));
        self.check_port(now, port, wait);
    }

    fn check_port(&mut self, now: Instant, port: PortId, wait: Duration) {
        let Some(interface) = self.interfaces.get(port).filter(|one| one.up) else { return };
        let nets: arrayvec::ArrayVec<IpNet, { 2 * crate::limits::MAX_ADDRESSES }> = interface
            .ipv4
            .iter()
            .map(|net| IpNet::V4(*net))
            .chain(interface.ipv6.iter().map(|net| IpNet::V6(*net)))
            .collect();
        for net in nets {
            self.begin_address(now, port, net, wait);
        }
        self.begin_advertising(now + wait, port);
    }

    /// An address that the interface has, begins.
    fn begin_address(&mut self, now: Instant, port: PortId, net: IpNet, wait: Duration) {
        let Some(interface) = self.interfaces.get_mut(port) else { return };
        let Some((step, usable)) = first_step(interface, net.addr()) else { return };
        if self.checks.begin(port, net, step, now + wait) && !usable {
            interface.put_aside(net);
            self.addresses_changed();
        }
    }

    /// The control thread gives a port an address (autoconfiguration), which is checked like any other. False when the
    /// port has as many as it can.
    pub fn add_address(&mut self, now: Instant, port: PortId, net: IpNet) -> bool {
        let Some(interface) = self.interfaces.get_mut(port) else { return false };
        if interface.owns(net.addr()) || interface.is_put_aside(net.addr()) {
            return true;
        }
        if !interface.adopt(net) {
            return false;
        }
        self.begin_address(now, port, net, Duration::ZERO);
        self.addresses_changed();
        true
    }

    /// The control thread takes an address away.
    pub fn remove_address(&mut self, port: PortId, address: IpAddr) {
        self.checks.forget(port, address);
        if let Some(interface) = self.interfaces.get_mut(port) {
            interface.drop_address(address);
            self.addresses_changed();
        }
    }

    /// The control thread says whether an address should begin conversations.
    pub fn deprecate_address(&mut self, port: PortId, address: Ipv6Addr, deprecated: bool) {
        let Some(interface) = self.interfaces.get_mut(port) else { return };
        interface.deprecated.retain(|one| *one != address);
        if deprecated && interface.owns_ipv6(address) {
            interface.deprecated.push(address);
        }
        self.cache_epoch += 1; // sources are chosen anew
    }

    /// The control thread changes the MTU of a port's link.
    pub fn set_mtu(&mut self, port: PortId, mtu: u16) {
        if let Some(interface) = self.interfaces.get_mut(port) {
            interface.mtu = mtu;
            self.addresses_changed();
        }
    }

    /// The link of a port went down: nothing is asked or announced there.
    pub(crate) fn leave_addresses(&mut self, port: PortId) {
        self.checks.forget_port(port);
        self.begin_advertising(Instant::NEVER, port);
        // What was tentative is an address like the others again, to be checked when the link is back.
        if let Some(interface) = self.interfaces.get_mut(port) {
            interface.take_back();
        }
        self.addresses_changed();
    }

    /// What remembers paths looks again, and whether any address may not be used.
    fn addresses_changed(&mut self) {
        self.cache_epoch += 1;
        self.checks.some_unusable = self.interfaces.iter().any(|one| !one.tentative.is_empty());
    }

    /// True when packets to an address that the routes call ours are not to be taken.
    #[inline]
    pub(crate) fn is_unusable(&self, address: IpAddr) -> bool {
        self.checks.some_unusable && self.interfaces.iter().any(|one| one.is_put_aside(address))
    }

    /// Does what is due about addresses.
    pub(crate) fn settle_addresses<P, M>(&mut self, turn: &mut Turn<'_, P, M>)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        loop {
            let interfaces = &self.interfaces;
            let announces = |port| interfaces.get(port).is_some_and(|one: &Interface| one.announce);
            let Some(deed) = self.checks.next(turn.now, announces) else { return };
            let speaks = |port| interfaces.get(port).is_some_and(|one: &Interface| one.speaks);
            match deed {
                Deed::Adopt(port, net) => {
                    if let Some(interface) = self.interfaces.get_mut(port) {
                        interface.use_again(net);
                    }
                    self.addresses_changed();
                    self.notice(Notice::Adopted(port, net.addr()));
                }
                Deed::Probe(port, address) if speaks(port) => match address {
                    IpAddr::V4(address) => ipv4::arp::probe(self, turn, port, address),
                    IpAddr::V6(address) => ipv6::nd::probe(self, turn, port, address),
                },
                Deed::Announce(port, address) if speaks(port) => self.announce(turn, port, address),
                Deed::Probe(..) | Deed::Announce(..) => {}
            }
        }
    }

    fn announce<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, address: IpAddr)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        match address {
            IpAddr::V4(address) => ipv4::arp::announce(self, turn, port, address),
            IpAddr::V6(address) => ipv6::nd::announce(self, turn, port, address),
        }
    }

    /// Somebody else has, or wants, an address that we are checking. True: we are, and it is given up.
    pub(crate) fn give_up_if_checked(&mut self, port: PortId, address: IpAddr) -> bool {
        let given_up = self.checks.is_checked(port, address);
        if given_up {
            self.give_up(port, address);
            if self.facts.len() < NEIGHBOUR_FACTS {
                self.facts.push_back(duplicate(port, address));
            }
        }
        given_up
    }

    /// As another worker, or we, found out: the address is a duplicate. It stays put aside.
    pub(crate) fn give_up(&mut self, port: PortId, address: IpAddr) {
        if !self.checks.forget(port, address) {
            return;
        }
        self.counters.count(Counter::DuplicateAddresses);
        if let Some(interface) = self.interfaces.get_mut(port) {
            interface.put_aside_address(address);
        }
        self.addresses_changed();
        self.notice(Notice::Duplicate(port, address));
    }

    /// Tells the control thread.
    fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES {
            self.notices.push_back(notice);
        }
    }

    /// Another station claims an IPv4 address that we use: everybody hears once more whose it is.
    pub(crate) fn defend<P, M>(&mut self, turn: &mut Turn<'_, P, M>, port: PortId, address: IpAddr)
    where
        P: FramePool<Frame = F>,
        M: Probe,
    {
        let announces = self.interfaces.get(port).is_some_and(|one| one.announce);
        if announces && self.checks.may_defend(port, turn.now) {
            self.announce(turn, port, address);
        }
    }
}
