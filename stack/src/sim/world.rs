//! The world: nodes on wires, and the time.

use super::{Node, Wire};
use crate::port::PortId;
use crate::time::Instant;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// How often a node may fill its queues at one moment.
const ROUNDS: usize = 64;

/// A frame that arrived at a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Its place among all that was ever put on a wire: of two that arrive at once, the older comes first.
    pub number: u64,
    /// Where.
    pub node: usize,
    /// By which of its ports.
    pub port: PortId,
    /// What is left of it.
    pub frame: Vec<u8>,
}

/// One end of a wire: a node's number and its port.
pub type End = (usize, PortId);

/// A network.
#[derive(Debug, Default)]
pub struct World {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The wires, each with its two ends.
    pub wires: Vec<(Wire, [End; 2])>,
    /// The time.
    pub now: Instant,
    /// Frames that were put on wires.
    pub carried: u64,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    number: u64,
}

impl World {
    /// An empty world at this time.
    pub fn new(now: Instant) -> World {
        World { now, ..World::default() }
    }

    /// Lets time pass until `end`; `watch` sees every frame that arrives, before the node does, and the world after
    /// each step is whole: frames are conserved, and what nodes sent is on the wires.
    pub fn run_until(&mut self, end: Instant, mut watch: impl FnMut(&Arrival)) {
        while self.step(end, &mut watch) {}
        self.now = self.now.max(end);
    }

    /// Does the next thing that happens by `end`: one frame arrives, or what is due is done. False: nothing more
    /// does by then, and the time stays where it is.
    pub fn step(&mut self, end: Instant, mut watch: impl FnMut(&Arrival)) -> bool {
        self.collect();
        if let Some(next) = self.next_moment().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            let due = self.arrivals.peek().is_some_and(|Reverse(first)| first.at <= self.now);
            if due && let Some(Reverse(arrival)) = self.arrivals.pop() {
                watch(&arrival);
                let Arrival { node, port, frame, .. } = arrival;
                if let Some(node) = self.nodes.get_mut(node) {
                    node.input(port, &frame, self.now);
                }
            } else {
                for node in &mut self.nodes {
                    if node.stack.next_deadline() <= self.now {
                        node.timers(self.now);
                    }
                }
            }
            self.collect();
            return true;
        }
        false
    }

    /// True when nothing is on any wire.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// True when every node has all of its frames.
    pub fn is_conserved(&self) -> bool {
        self.nodes.iter().all(Node::is_conserved)
    }

    /// The next arrival or timer.
    fn next_moment(&self) -> Option<Instant> {
        let arrival = self.arrivals.peek().map(|Reverse(first)| first.at);
        let timers = self.nodes.iter().map(|node| node.stack.next_deadline());
        timers.chain(arrival).min().filter(|next| *next != Instant::NEVER)
    }

    /// Puts what the nodes sent on the wires. A port without a wire sends into the air.
    fn collect(&mut self) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            // What does not fit the queues is sent as soon as they are empty again: wires take at once.
            for _ in 0..ROUNDS {
                if node.is_quiet() {
                    break;
                }
                node.output(self.now);
                for (port, frame) in node.sent() {
                    self.carried += 1;
                    let here = (index, port);
                    let Some((wire, ends)) = self.wires.iter_mut().find(|(_, ends)| ends.contains(&here))
                    else {
                        continue;
                    };
                    let from = usize::from(ends[0] != here);
                    let there = ends[1 - from];
                    let carried = wire.carry(frame, from, self.now);
                    let arrivals = carried.arrivals.into_iter().map(|arrival| (there, arrival));
                    for ((node, port), (at, frame)) in
                        arrivals.chain(carried.answer.map(|answer| (here, answer)))
                    {
                        self.number += 1;
                        self.arrivals.push(Reverse(Arrival { at, number: self.number, node, port, frame }));
                    }
                }
            }
        }
    }
}
