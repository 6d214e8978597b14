//! The way out of the stack: one bounded transmit queue for each port.
//!
//! The stack pushes frames, the worker takes them to the port. A port whose ring is full takes fewer; the
//! rest stay here, in order, and are offered again on the next turn: that is the back pressure (row L6).
//! Only when this queue is full as well is a packet dropped, with its reason.
//!
//! A VLAN has no queue: what is sent there gets its tag and waits in the queue of the port with the wire.

use crate::counters::Counters;
use crate::ethernet::vlan::Vlan;
use crate::frame::Frame;
use crate::limits::MAX_VLAN_TAGS;
use crate::port::PortId;
use crate::verdict::DropReason;
use std::collections::VecDeque;

/// Frames that wait for a port, first in, first out, never more than its capacity.
#[derive(Debug)]
pub struct TxQueue<F> {
    frames: VecDeque<F>,
    capacity: usize,
    /// The port is a VLAN: nothing ever waits here.
    vlan: Option<Vlan>,
}

impl<F> TxQueue<F> {
    fn new(capacity: usize) -> Self {
        TxQueue { frames: VecDeque::with_capacity(capacity), capacity, vlan: None }
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Frames that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Takes the frame that has waited longest.
    #[inline]
    pub fn pop(&mut self) -> Option<F> {
        self.frames.pop_front()
    }

    /// Puts a frame back that the port could not take after all; it will be the next to go.
    pub fn unpop(&mut self, frame: F) {
        self.frames.push_front(frame);
    }

    /// Drops all that wait; returns how many.
    pub fn clear(&mut self) -> usize {
        let count = self.frames.len();
        self.frames.clear();
        count
    }

    /// The frames that wait, longest first.
    pub fn iter(&self) -> impl Iterator<Item = &F> {
        self.frames.iter()
    }

    #[inline]
    fn push(&mut self, frame: F) -> Result<(), F> {
        if self.frames.len() < self.capacity {
            self.frames.push_back(frame);
            Ok(())
        } else {
            Err(frame)
        }
    }
}

/// The transmit queues of one worker, by port.
#[derive(Debug)]
pub struct Egress<F> {
    queues: Vec<TxQueue<F>>,
}

impl<F: Frame> Egress<F> {
    /// A queue for each port, with room for that many frames.
    pub fn new(capacities: impl IntoIterator<Item = usize>) -> Self {
        Egress { queues: capacities.into_iter().map(TxQueue::new).collect() }
    }

    /// From now on a port is a VLAN of another one. The ports are those of [`crate::Interfaces`].
    pub fn set_vlan(&mut self, port: PortId, vlan: Vlan) {
        if let Some(queue) = self.queues.get_mut(port.index()) {
            queue.vlan = Some(vlan);
            queue.capacity = 0;
        }
    }

    /// Queues a complete link-layer frame for a port, or drops it with its reason.
    #[inline(always)]
    pub fn send(&mut self, port: PortId, frame: F, counters: &mut Counters) {
        let bytes = frame.packet_len() as u64;
        let Some(queue) = self.queues.get_mut(port.index()) else {
            counters.drop(DropReason::PortDown);
            return;
        };
        match queue.push(frame) {
            Ok(()) => {
                let port = counters.port_mut(port);
                port.tx_packets += 1;
                port.tx_bytes += bytes;
            }
            Err(frame) => self.send_beyond(port, frame, counters),
        }
    }

    /// A queue that takes nothing is full, or a VLAN's: then the frame gets its tag and goes on to the next.
    #[cold]
    fn send_beyond(&mut self, port: PortId, mut frame: F, counters: &mut Counters) {
        let mut at = port;
        let mut passed = arrayvec::ArrayVec::<(PortId, u64), MAX_VLAN_TAGS>::new();
        while let Some(vlan) = self.queues.get(at.index()).and_then(|queue| queue.vlan) {
            // How many may be nested is checked where interfaces are made.
            if passed.try_push((at, frame.packet_len() as u64)).is_err() || !vlan.put_tag(&mut frame) {
                return counters.drop(DropReason::NoHeadroom);
            }
            at = vlan.parent;
        }
        let bytes = frame.packet_len() as u64;
        match self.queues.get_mut(at.index()).map(|queue| queue.push(frame)) {
            Some(Ok(())) => {
                for (port, bytes) in passed.into_iter().chain([(at, bytes)]) {
                    let port = counters.port_mut(port);
                    port.tx_packets += 1;
                    port.tx_bytes += bytes;
                }
            }
            Some(Err(_full)) => counters.drop(DropReason::TxQueueFull),
            None => counters.drop(DropReason::PortDown),
        }
    }

    /// Queues a frame that another worker counted as sent already and that this one only has the port for.
    pub fn forward(&mut self, port: PortId, frame: F, counters: &mut Counters) {
        match self.queues.get_mut(port.index()).map(|queue| queue.push(frame)) {
            Some(Ok(())) => {}
            Some(Err(_full)) => counters.drop_unsent(port, DropReason::TxQueueFull),
            None => counters.drop_unsent(port, DropReason::PortDown),
        }
    }

    /// Drops all that waits for a port, with this reason.
    pub fn give_up(&mut self, port: PortId, reason: DropReason, counters: &mut Counters) {
        if let Some(queue) = self.queues.get_mut(port.index()) {
            for _ in 0..queue.clear() {
                counters.drop_unsent(port, reason);
            }
        }
    }

    /// Frames that the queue of a port still takes; of a VLAN, that of the port with the wire.
    #[inline]
    pub fn room(&self, port: PortId) -> usize {
        let mut queue = self.queues.get(port.index());
        for _ in 0..MAX_VLAN_TAGS {
            let Some(vlan) = queue.and_then(|queue| queue.vlan) else { break };
            queue = self.queues.get(vlan.parent.index());
        }
        queue.map_or(0, |queue| queue.capacity - queue.frames.len().min(queue.capacity))
    }

    /// The queue of a port.
    #[inline]
    pub fn queue(&mut self, port: PortId) -> Option<&mut TxQueue<F>> {
        self.queues.get_mut(port.index())
    }

    /// Frames that wait, over all ports.
    pub fn len(&self) -> usize {
        self.queues.iter().map(TxQueue::len).sum()
    }

    /// True when no frame waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(TxQueue::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FramePool, heap::HeapPool};

    #[test]
    fn a_full_queue_drops_the_newcomer_with_its_reason_and_keeps_the_order() {
        let mut pool = HeapPool::new(4, 256);
        let mut counters = Counters::default();
        let mut egress = Egress::new([2]);
        let port = PortId::new(0).unwrap();
        for byte in 1..=3u8 {
            egress.send(port, pool.frame(&[byte]).unwrap(), &mut counters);
        }
        assert_eq!(counters.dropped(DropReason::TxQueueFull), 1);
        assert_eq!(counters.port(port).tx_packets, 2);
        let first = egress.queue(port).unwrap().pop().unwrap();
        assert_eq!(&first[..], [1]);
        egress.queue(port).unwrap().unpop(first);
        assert_eq!(&egress.queue(port).unwrap().pop().unwrap()[..], [1]);
        assert_eq!(&egress.queue(port).unwrap().pop().unwrap()[..], [2]);
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn each_port_has_the_room_that_it_was_given() {
        let mut pool = HeapPool::new(16, 256);
        let mut counters = Counters::default();
        let capacities = [3, 0, 5];
        let mut egress = Egress::new(capacities);
        for (index, capacity) in capacities.into_iter().enumerate() {
            let port = PortId::new(index).unwrap();
            for _ in 0..=capacity {
                egress.send(port, pool.frame(&[1]).unwrap(), &mut counters);
            }
            assert_eq!(egress.queue(port).unwrap().len(), capacity);
            assert_eq!(counters.port(port).tx_packets, capacity as u64);
        }
        assert_eq!(counters.dropped(DropReason::TxQueueFull), 3, "one too many for each");
    }

    #[test]
    fn what_is_given_up_is_counted_with_its_reason_and_as_not_sent() {
        let mut pool = HeapPool::new(4, 256);
        let mut counters = Counters::default();
        let mut egress = Egress::new([4, 4]);
        let [given_up, kept] = [0, 1].map(|index| PortId::new(index).unwrap());
        for port in [given_up, given_up, kept] {
            egress.send(port, pool.frame(&[1]).unwrap(), &mut counters);
        }
        egress.give_up(given_up, DropReason::Stopping, &mut counters);
        assert_eq!((egress.len(), pool.available()), (1, 3));
        assert_eq!((counters.dropped(DropReason::Stopping), counters.dropped_in_all()), (2, 2));
        assert_eq!((counters.port(given_up).tx_packets, counters.port(given_up).tx_drops), (2, 2));
        assert_eq!((counters.port(kept).tx_packets, counters.port(kept).tx_drops), (1, 0));
    }
}
