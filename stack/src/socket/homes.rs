//! Which worker a local port lives on: where a packet belongs whose socket is not here.
//!
//! A network card, or the kernel at the other end of a veth, brings a flow to a queue by a hash of its own. What is the same
//! on every worker, the listeners of built-in services, serves whoever comes. All other sockets are on one worker, and which
//! one their port says:
//!
//! ```text
//!   home of port p  =  worker  p mod n                      (TCP, UDP, UDP-Lite; the identifiers of ping sockets)
//!
//!   bind to p: only on the home of p, so that who may have a port is known where all its sockets are
//!   no port named: the worker where the socket is chooses one of its own (RFC 6056 section 3.3.4's order, every n-th of it)
//!   packet for p, nobody here ──> delivered by the home of p, if anything was ever there
//! ```
//! A rule, and not a table of who came first: so no two workers ever disagree, nothing is to be given back, what is left
//! of old connections (TIME-WAIT) is where the next listener will be, and a program can find out by itself which worker to
//! ask. What the rule costs is that a port's load cannot move.
//!
//! Packets for ports where nothing ever was are not handed over: whoever gets them answers. That is what is remembered
//! here, in atomic bytes without any order, written by calls of owners and read only for packets that found no socket.
//!
//! Raw sockets have no port: they live on worker [`RAW_HOME`], and the other workers send it a copy of each packet whose
//! protocol one of them speaks, as long as there is one.

use super::bound::Rules;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

/// Most workers that there can be.
pub const MAX_WORKERS: usize = u8::MAX as usize;

/// The worker of all raw sockets.
pub const RAW_HOME: usize = 0;

/// Whose numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// TCP's ports.
    Tcp,
    /// UDP's.
    Udp,
    /// UDP-Lite's.
    UdpLite,
    /// The identifiers of ping sockets.
    Ping,
}

impl From<Rules> for Numbers {
    fn from(rules: Rules) -> Numbers {
        match rules {
            Rules::Tcp => Numbers::Tcp,
            Rules::Udp => Numbers::Udp,
            Rules::UdpLite => Numbers::UdpLite,
        }
    }
}

/// What all workers know of ports and protocols: where something ever was.
#[derive(Debug)]
pub struct PortHomes {
    /// By [`Numbers`].
    used: [Box<[AtomicBool]>; 4],
    /// Protocols of the raw sockets that there are. Written by their home alone.
    raw: [AtomicBool; 256],
    /// How many protocols these are.
    raw_protocols: AtomicU32,
}

impl Default for PortHomes {
    fn default() -> Self {
        let all = || (0..=u16::MAX).map(|_| AtomicBool::new(false)).collect();
        PortHomes {
            used: [all(), all(), all(), all()],
            raw: [const { AtomicBool::new(false) }; 256],
            raw_protocols: AtomicU32::new(0),
        }
    }
}

/// The table as one worker sees it.
#[derive(Debug, Clone)]
pub struct Home {
    table: Arc<PortHomes>,
    worker: u8,
    workers: u8,
}

impl Home {
    /// That of worker `worker` of `workers`; `None` when there are more than [`MAX_WORKERS`], or it is not among them.
    pub fn new(table: Arc<PortHomes>, worker: usize, workers: usize) -> Option<Home> {
        let workers = u8::try_from(workers).ok()?;
        let worker = u8::try_from(worker).ok().filter(|worker| *worker < workers)?;
        Some(Home { table, worker, workers })
    }

    /// The worker that a port lives on.
    #[inline]
    fn of(&self, port: u16) -> u8 {
        // Fewer than 256.
        (port % u16::from(self.workers)) as u8
    }

    /// True when a port lives here.
    #[inline]
    pub fn is_here(&self, port: u16) -> bool {
        self.of(port) == self.worker
    }

    /// Something is at this port from now on.
    #[inline]
    pub fn settle(&self, of: impl Into<Numbers>, port: u16) {
        self.table.used[of.into() as usize][usize::from(port)].store(true, Relaxed);
    }

    /// The other worker that what comes for this port belongs to.
    #[inline]
    pub fn elsewhere(&self, of: impl Into<Numbers>, port: u16) -> Option<usize> {
        let used = &self.table.used[of.into() as usize];
        let elsewhere = !self.is_here(port) && used[usize::from(port)].load(Relaxed);
        elsewhere.then(|| usize::from(self.of(port)))
    }

    /// From now on there is a raw socket that speaks this protocol, or there is none any more. By the home of raw sockets.
    pub fn settle_raw(&self, protocol: u8, there: bool) {
        let PortHomes { raw, raw_protocols, .. } = &*self.table;
        if raw[usize::from(protocol)].swap(there, Relaxed) != there {
            let before = raw_protocols.load(Relaxed);
            raw_protocols.store(if there { before + 1 } else { before.saturating_sub(1) }, Relaxed);
        }
    }

    /// True when raw sockets live on this worker.
    pub fn is_raw_home(&self) -> bool {
        usize::from(self.worker) == RAW_HOME
    }

    /// True when another worker has raw sockets.
    #[inline]
    pub fn has_raw_elsewhere(&self) -> bool {
        !self.is_raw_home() && self.table.raw_protocols.load(Relaxed) > 0
    }

    /// True when another worker has raw sockets that speak this protocol.
    pub fn is_raw_elsewhere(&self, protocol: u8) -> bool {
        self.has_raw_elsewhere() && self.table.raw[usize::from(protocol)].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes<const N: usize>() -> [Home; N] {
        let table = Arc::new(PortHomes::default());
        core::array::from_fn(|worker| Home::new(Arc::clone(&table), worker, N).unwrap())
    }

    #[test]
    fn what_is_at_a_port_is_for_its_worker_and_the_others_hand_it_over() {
        let [even, odd] = homes();
        assert_eq!(
            (even.elsewhere(Rules::Tcp, 80), odd.elsewhere(Rules::Tcp, 80)),
            (None, None),
            "nothing is there"
        );
        even.settle(Rules::Tcp, 80);
        assert_eq!((even.elsewhere(Rules::Tcp, 80), odd.elsewhere(Rules::Tcp, 80)), (None, Some(0)));
        assert_eq!(odd.elsewhere(Rules::Udp, 80), None, "ports of another protocol are other ports");
        odd.settle(Rules::Udp, 443);
        assert_eq!((even.elsewhere(Rules::Udp, 443), odd.elsewhere(Rules::Udp, 443)), (Some(1), None));
    }

    #[test]
    fn each_port_lives_on_exactly_one_worker() {
        let homes = homes::<3>();
        assert!((0..=u16::MAX).all(|port| homes.iter().filter(|home| home.is_here(port)).count() == 1));
        let table = Arc::new(PortHomes::default());
        assert!(
            Home::new(Arc::clone(&table), 3, 3).is_none() && Home::new(table, 0, MAX_WORKERS + 1).is_none()
        );
    }

    #[test]
    fn raw_sockets_are_on_one_worker_and_the_others_know_which_protocols_they_speak() {
        let [first, second] = homes();
        assert!(!second.has_raw_elsewhere());
        for protocol in [1, 1, 17] {
            first.settle_raw(protocol, true);
        }
        assert!(second.has_raw_elsewhere() && second.is_raw_elsewhere(1) && !second.is_raw_elsewhere(89));
        assert!(!first.has_raw_elsewhere() && !first.is_raw_elsewhere(1), "they are here");
        first.settle_raw(1, false);
        assert!(second.has_raw_elsewhere() && !second.is_raw_elsewhere(1) && second.is_raw_elsewhere(17));
        first.settle_raw(17, false);
        assert!(!second.has_raw_elsewhere(), "the last one is gone");
    }
}
