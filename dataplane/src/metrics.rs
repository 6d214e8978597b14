//! What a worker tells the world: numbers that it publishes now and then, and anyone may read at any time.
//!
//! The worker counts in plain memory of its own ([`flumen_stack::Counters`], [`Runtime`]) and copies all of
//! it here in housekeeping. Each number has one writer; readers see numbers that are each whole, of one
//! publication or of two neighbouring ones. Nothing on the packet path is atomic.

use core::sync::atomic::{AtomicU64, Ordering};
use flumen_stack::counters::{Counter, Counters, PortCounters};
use flumen_stack::limits::MAX_PORTS;
use flumen_stack::{DropReason, PortId, Probe, Stage};

/// Numbers kept for each port.
const PORT_FIELDS: usize = 6;

/// Where the parts lie in the flat array.
const EVENTS: usize = 0;
const DROPS: usize = EVENTS + Counter::ALL.len();
const PORTS: usize = DROPS + DropReason::COUNT;
const RUNTIME: usize = PORTS + MAX_PORTS * PORT_FIELDS;
const STAGES: usize = RUNTIME + Runtime::FIELDS;
const LEN: usize = STAGES + Stage::ALL.len();

/// How a worker spends its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Runtime {
    /// Turns of the loop.
    pub turns: u64,
    /// Turns in which something arrived or left.
    pub busy_turns: u64,
    /// Bursts received.
    pub bursts: u64,
    /// Packets received.
    pub packets: u64,
    /// Packets that left by the worker's own ports.
    pub transmitted: u64,
    /// Packets handed to other workers.
    pub handed_over: u64,
    /// Packets taken over from other workers.
    pub taken_over: u64,
    /// Times that the worker slept.
    pub sleeps: u64,
    /// Processor cycles (time stamp counter) of busy turns.
    pub busy_cycles: u64,
    /// Frames of the pool.
    pub frames: u64,
    /// Frames on the free list.
    pub frames_free: u64,
    /// Frames in rings that the kernel shares.
    pub frames_in_rings: u64,
    /// Frames that the worker holds: in transmit queues and waiting for neighbours.
    pub frames_held: u64,
    /// Frames of sockets that were closed while the kernel might still write to them.
    pub frames_quarantined: u64,
    /// 1 when the frames did not add up at some time: a bug.
    pub frames_unbalanced: u64,
    /// Neighbours in the table.
    pub neighbours: u64,
    /// TCP connections, whatever their state but TIME-WAIT.
    pub connections: u64,
    /// Sockets of programs.
    pub program_sockets: u64,
    /// Bytes of memory that the buffers of sockets hold.
    pub socket_memory: u64,
}

impl Runtime {
    const FIELDS: usize = 19;

    const fn to_array(self) -> [u64; Self::FIELDS] {
        let Runtime {
            turns,
            busy_turns,
            bursts,
            packets,
            transmitted,
            handed_over,
            taken_over,
            sleeps,
            busy_cycles,
            frames,
            frames_free,
            frames_in_rings,
            frames_held,
            frames_quarantined,
            frames_unbalanced,
            neighbours,
            connections,
            program_sockets,
            socket_memory,
        } = self;
        [
            turns,
            busy_turns,
            bursts,
            packets,
            transmitted,
            handed_over,
            taken_over,
            sleeps,
            busy_cycles,
            frames,
            frames_free,
            frames_in_rings,
            frames_held,
            frames_quarantined,
            frames_unbalanced,
            neighbours,
            connections,
            program_sockets,
            socket_memory,
        ]
    }

    const fn from_array(array: [u64; Self::FIELDS]) -> Runtime {
        let [
            turns,
            busy_turns,
            bursts,
            packets,
            transmitted,
            handed_over,
            taken_over,
            sleeps,
            busy_cycles,
            frames,
            frames_free,
            frames_in_rings,
            frames_held,
            frames_quarantined,
            frames_unbalanced,
            neighbours,
            connections,
            program_sockets,
            socket_memory,
        ] = array;
        Runtime {
            turns,
            busy_turns,
            bursts,
            packets,
            transmitted,
            handed_over,
            taken_over,
            sleeps,
            busy_cycles,
            frames,
            frames_free,
            frames_in_rings,
            frames_held,
            frames_quarantined,
            frames_unbalanced,
            neighbours,
            connections,
            program_sockets,
            socket_memory,
        }
    }
}

/// A stop-watch of the worker: cycles by stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct StageClock {
    /// Cycles spent in each stage, in the order of [`Stage::ALL`].
    pub cycles: [u64; Stage::ALL.len()],
    last: u64,
}

impl StageClock {
    /// Starts the watch; returns the cycle counter.
    #[inline]
    pub fn start(&mut self) -> u64 {
        self.last = af_xdp::cycles::now();
        self.last
    }
}

impl Probe for StageClock {
    #[inline]
    fn mark(&mut self, stage: Stage) {
        let now = af_xdp::cycles::now();
        self.cycles[stage as usize] += now.wrapping_sub(self.last);
        self.last = now;
    }
}

/// The published numbers of one worker.
#[derive(Debug)]
pub struct Metrics {
    numbers: Box<[AtomicU64]>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { numbers: (0..LEN).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Metrics {
    /// Publishes; only the worker that the numbers are about calls this.
    pub fn publish(&self, counters: &Counters, ports: usize, runtime: &Runtime, stages: &StageClock) {
        for (place, value) in self.numbers.iter().zip(counters.flat()) {
            place.store(value, Ordering::Relaxed);
        }
        for index in 0..ports {
            let Some(port) = PortId::new(index) else { break };
            let PortCounters { rx_packets, rx_bytes, tx_packets, tx_bytes, drops, tx_drops } =
                *counters.port(port);
            let numbers = [rx_packets, rx_bytes, tx_packets, tx_bytes, drops, tx_drops];
            self.store(PORTS + index * PORT_FIELDS, &numbers);
        }
        self.store(RUNTIME, &runtime.to_array());
        self.store(STAGES, &stages.cycles);
    }

    fn store(&self, at: usize, values: &[u64]) {
        for (place, value) in self.numbers[at..].iter().zip(values) {
            // Relaxed: a number says nothing about other memory, so there is no partner to order with.
            place.store(*value, Ordering::Relaxed);
        }
    }

    fn load(&self, at: usize) -> u64 {
        self.numbers[at].load(Ordering::Relaxed)
    }

    /// How often an event happened.
    pub fn event(&self, counter: Counter) -> u64 {
        self.load(EVENTS + counter as usize)
    }

    /// How many packets ended for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.load(DROPS + reason as usize)
    }

    /// The counters of a port.
    pub fn port(&self, port: PortId) -> PortCounters {
        let at = PORTS + port.index() * PORT_FIELDS;
        PortCounters {
            rx_packets: self.load(at),
            rx_bytes: self.load(at + 1),
            tx_packets: self.load(at + 2),
            tx_bytes: self.load(at + 3),
            drops: self.load(at + 4),
            tx_drops: self.load(at + 5),
        }
    }

    /// How the worker spends its time.
    pub fn runtime(&self) -> Runtime {
        Runtime::from_array(core::array::from_fn(|field| self.load(RUNTIME + field)))
    }

    /// Cycles spent in a stage.
    pub fn stage(&self, stage: Stage) -> u64 {
        self.load(STAGES + stage as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_is_read() {
        let metrics = Metrics::default();
        let mut counters = Counters::default();
        counters.add(Counter::PathMtuLearned, 3);
        counters.drop(DropReason::Consumed);
        let last = PortId::new(MAX_PORTS - 1).unwrap();
        counters.port_mut(last).drops = 9;
        counters.port_mut(last).tx_drops = 10;
        let runtime = Runtime { turns: 1, neighbours: 16, connections: 17, ..Runtime::default() };
        let mut stages = StageClock::default();
        stages.cycles[Stage::Housekeeping as usize] = 77;
        metrics.publish(&counters, MAX_PORTS, &runtime, &stages);
        assert_eq!(metrics.event(Counter::PathMtuLearned), 3);
        assert_eq!(metrics.dropped(DropReason::Consumed), 1);
        assert_eq!((metrics.port(last).drops, metrics.port(last).tx_drops), (9, 10));
        assert_eq!(metrics.runtime(), runtime);
        assert_eq!(metrics.stage(Stage::Housekeeping), 77);
    }
}
