//! Which worker has which local port: where a packet belongs whose socket is not here.
//!
//! A network card, or the kernel at the other end of a veth, brings a flow to a queue by a hash of its own. Listeners
//! stand on every worker, so whoever gets a client's first packet serves it; but a connection that was opened *from*
//! here, and a socket of a program, are on one worker, and what comes for them may arrive at another.
//!
//! ```text
//!   bind, connect ──> table[port] = this worker
//!   packet, nobody here ──> table[port] ──┬─ another worker: handed over, as it came
//!                                         └─ this one, or nobody: reset, port unreachable
//! ```
//! Port numbers that nobody names are chosen so that each worker has its own (RFC 6056 section 3.3.4's order, every
//! n-th of it): two workers never choose the same. The last who claims a port has it. A claim is never taken back: a
//! worker that has nothing at a port any more answers for it like any other.
//!
//! The table is read only for packets that found no socket, and written by calls of owners: atomic bytes without any
//! order, and no lock.

use super::bound::Rules;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::Arc;

/// Most workers that a table can name.
pub const MAX_WORKERS: usize = u8::MAX as usize;

/// The table of all workers.
#[derive(Debug)]
pub struct PortHomes {
    /// The worker that claimed each port last, plus one; 0: nobody did. TCP's, then UDP's.
    homes: [Box<[AtomicU8]>; 2],
}

impl Default for PortHomes {
    fn default() -> Self {
        let all = || (0..=u16::MAX).map(|_| AtomicU8::new(0)).collect();
        PortHomes { homes: [all(), all()] }
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

    /// True when this worker may choose this port for a socket that names none.
    pub fn may_choose(&self, port: u16) -> bool {
        port % u16::from(self.workers) == u16::from(self.worker)
    }

    /// What comes for this port belongs here from now on.
    pub fn claim(&self, rules: Rules, port: u16) {
        self.table.homes[rules as usize][usize::from(port)].store(self.worker + 1, Relaxed);
    }

    /// The other worker that what comes for this port belongs to.
    pub fn elsewhere(&self, rules: Rules, port: u16) -> Option<usize> {
        let claimed = self.table.homes[rules as usize][usize::from(port)].load(Relaxed);
        let worker = claimed.checked_sub(1)?;
        (worker != self.worker && worker < self.workers).then_some(usize::from(worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_worker_claims_the_others_hand_over_and_the_last_claim_counts() {
        let table = Arc::new(PortHomes::default());
        let [a, b] = [0, 1].map(|worker| Home::new(table.clone(), worker, 2).unwrap());
        assert_eq!((a.elsewhere(Rules::Tcp, 80), b.elsewhere(Rules::Tcp, 80)), (None, None));
        a.claim(Rules::Tcp, 80);
        assert_eq!((a.elsewhere(Rules::Tcp, 80), b.elsewhere(Rules::Tcp, 80)), (None, Some(0)));
        assert_eq!(b.elsewhere(Rules::Udp, 80), None, "ports of another protocol are other ports");
        b.claim(Rules::Tcp, 80);
        assert_eq!((a.elsewhere(Rules::Tcp, 80), b.elsewhere(Rules::Tcp, 80)), (Some(1), None));
    }

    #[test]
    fn each_port_may_be_chosen_by_exactly_one_worker() {
        let table = Arc::new(PortHomes::default());
        let homes: Vec<Home> = (0..3).map(|worker| Home::new(table.clone(), worker, 3).unwrap()).collect();
        assert!((1..=u16::MAX).all(|port| homes.iter().filter(|home| home.may_choose(port)).count() == 1));
        assert!(Home::new(table.clone(), 3, 3).is_none() && Home::new(table, 0, MAX_WORKERS + 1).is_none());
    }
}
