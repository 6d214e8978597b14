//! Sockets of this library as the sets see them.

use super::source::{Now, Source};
use crate::socket::{Socket, State};
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// A socket in a set. It is not held: a socket whose last descriptor is closed leaves all sets before it becomes another.
#[derive(Debug, Clone, Copy)]
pub struct Watch(pub &'static Socket);

impl Source for Watch {
    fn now(&self) -> Now {
        let Some(part) = self.0.part() else { return Now::default() };
        let mut events = part.readiness();
        if events & libc::EPOLLOUT as u32 == 0 {
            // News are owed when there is room; there may be some by now.
            part.want_room();
            events = part.readiness();
        }
        let worker = &part.cell.worker;
        let arrivals = match part.cell.flags().intersects(flumen_ipc::Flags::LISTENING) {
            true => u64::from(worker.seq.load(Acquire)),
            false => worker.rx_tail.load(Acquire),
        };
        Now {
            events,
            arrivals,
            refusals: self.0.refusals.load(Relaxed),
            notices: crate::zero_copy::made(self.0),
        }
    }

    fn identity(&self) -> usize {
        core::ptr::from_ref(self.0) as usize
    }

    fn slot(&self) -> Option<u32> {
        self.0.part().map(|part| part.slot)
    }

    fn told(&self) -> u64 {
        self.0.part().map_or(0, |part| part.cell.worker.told.load(Relaxed))
    }

    fn has_kernel_part(&self) -> bool {
        matches!(self.0.state(), State::Undecided | State::Both)
    }

    fn is_closed(&self) -> bool {
        self.0.references.load(Acquire) == 0
    }
}
