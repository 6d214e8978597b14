//! What one turn of the worker lends to the stack: the time, the pool, the way out, and a stage clock.

use crate::egress::Egress;
use crate::frame::FramePool;
use crate::time::Instant;

/// A stage of the packet's way, for `show runtime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Receiving from the port.
    Receive,
    /// Link layer: destination filter, EtherType.
    Ethernet,
    /// Header checks of IPv4 and IPv6.
    IpInput,
    /// Route cache and forwarding table.
    Route,
    /// Forwarding and local delivery: TTL, MTU, rewrite; ICMP, ARP, neighbour discovery.
    Forward,
    /// Timers.
    Timers,
    /// Services and what sockets send.
    Output,
    /// Handing frames to the ports, the kick, and completions.
    Transmit,
    /// Handoff between workers.
    Handoff,
    /// Publishing counters, taking commands.
    Housekeeping,
}

impl Stage {
    /// Every stage, in the order of the packet's way.
    pub const ALL: &'static [Stage] = &[
        Stage::Receive,
        Stage::Ethernet,
        Stage::IpInput,
        Stage::Route,
        Stage::Forward,
        Stage::Timers,
        Stage::Output,
        Stage::Transmit,
        Stage::Handoff,
        Stage::Housekeeping,
    ];

    /// The label in `show runtime`.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Ethernet => "ethernet",
            Stage::IpInput => "ip-input",
            Stage::Route => "route",
            Stage::Forward => "forward",
            Stage::Timers => "timers",
            Stage::Output => "output",
            Stage::Transmit => "transmit",
            Stage::Handoff => "handoff",
            Stage::Housekeeping => "housekeeping",
        }
    }
}

/// A stop-watch that the worker lends: the stack says which stage just ended, the worker knows the clock.
pub trait Probe {
    /// The time since the last mark was spent in `stage`.
    fn mark(&mut self, stage: Stage);
}

/// No stop-watch: the marks compile to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    #[inline(always)]
    fn mark(&mut self, _stage: Stage) {}
}

/// What the stack borrows for one call.
#[derive(Debug)]
pub struct Turn<'a, P: FramePool, M: Probe = NoProbe> {
    /// The moment of this turn; one reading serves a whole burst.
    pub now: Instant,
    /// Where frames for what we originate come from.
    pub pool: &'a mut P,
    /// Where complete frames go.
    pub egress: &'a mut Egress<P::Frame>,
    /// The stop-watch.
    pub probe: &'a mut M,
}
