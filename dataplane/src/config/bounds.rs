//! Every bound of the configuration that is not one of the stack's (`flumen_stack::limits`), with its
//! reason. A value beyond a bound is an error that names the bound; each is tested at its edge.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Bytes of a configuration file. The largest sensible one (64 ports, 64 cores, thousands of routes) is a
/// tenth of this; larger tables belong in a `routes_file`.
pub const MAX_FILE: usize = 4 << 20;

/// Problems that are kept and shown; of the rest only the number. Nobody reads more in one go.
pub const MAX_PROBLEMS: usize = 50;

/// Bytes of a port's name: it is a column of every table.
pub const MAX_NAME: usize = 32;

/// Bytes of an interface's name (Linux: IFNAMSIZ is 16 with the closing zero).
pub const MAX_INTERFACE: usize = 15;

/// Queue numbers of an interface are below this: a core polls each in turn, and cards stop at a few hundred.
pub const MAX_QUEUES: u16 = 256;

/// Descriptors in a ring. Below 64 a ring holds less than a burst; the kernel takes far more than 32,768,
/// but at 64 bytes a packet that is already 20 ms of a full 1 Gbit/s link, and 64 MiB of frames.
pub const RING: RangeInclusive<i64> = 64..=32_768;

/// Frames of a pool. 4 Mi frames of 2 KiB are 8 GiB.
pub const FRAMES: RangeInclusive<i64> = 64..=4_194_304;

/// Packets in a port's software transmit queue.
pub const TX_QUEUE: RangeInclusive<i64> = 0..=32_768;

/// Rules in `claim`, and in `never`. The XDP program tries them one after the other for every packet, and
/// the assembled program must stay small enough for the verifier.
pub const MAX_RULES: usize = 32;

/// Port ranges in one rule; for the same reason.
pub const MAX_PORT_RANGES: usize = 8;

/// Next hops of one route: what one cache line of buckets can spread flows over.
pub const MAX_NEXT_HOPS: usize = 16;

/// Share of one next hop.
pub const WEIGHT: RangeInclusive<i64> = 1..=256;

/// Files with routes.
pub const MAX_ROUTES_FILES: usize = 16;

/// Bytes of a routes file: 4 million long lines.
pub const MAX_ROUTES_FILE: usize = 512 << 20;

/// Longest sleep of an idle worker. Beyond it, a ping that a person waits for looks wrong.
pub const MAX_LATENCY: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_millis(100);

/// One busy poll. Longer holds up the other ports of the worker.
pub const BUSY_POLL: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_millis(1);

/// Packets a busy poll (the kernel's NAPI weight is 64).
pub const BUSY_BUDGET: RangeInclusive<i64> = 1..=64;

/// Empty polls before the interrupt is enabled again.
pub const HARD_IRQS: RangeInclusive<i64> = 1..=1000;

/// How long packets gather in the kernel.
pub const GRO_FLUSH: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_millis(10);

/// IPv4 routes: the Internet has about 1.05 million and grows by some 50,000 a year.
pub const ROUTES_IPV4: RangeInclusive<i64> = 1..=4_194_304;

/// IPv6 routes: the Internet has about 250,000.
pub const ROUTES_IPV6: RangeInclusive<i64> = 1..=1_048_576;

/// Route cache entries per worker, 0 or a power of two.
pub const ROUTE_CACHE: RangeInclusive<i64> = 0..=1_048_576;

/// Neighbours. A /16 full of stations is 65,536.
pub const NEIGHBOURS: RangeInclusive<i64> = 16..=65_536;

/// Packets that wait for one neighbour (RFC 1122 section 2.3.2.2 asks for at least one).
pub const PENDING_PER_NEIGHBOUR: RangeInclusive<i64> = 1..=64;

/// Packets of one worker that wait for neighbours.
pub const PENDING: RangeInclusive<i64> = 1..=16_384;

/// Packets between two workers, a power of two: at least a burst.
pub const HANDOFF: RangeInclusive<i64> = 64..=16_384;

/// Bytes for fragments that wait, per worker: what the stack can make use of.
pub const REASSEMBLY_MEMORY: RangeInclusive<i64> =
    flumen_stack::limits::MIN_REASSEMBLY_MEMORY as i64..=flumen_stack::limits::MAX_REASSEMBLY_MEMORY as i64;

/// Seconds that fragments wait. RFC 1122 section 3.3.2 asks for 60 to 120, RFC 791 for 15; beyond two minutes a number may
/// be used again (RFC 6864 section 4.2).
pub const REASSEMBLY_SECONDS: RangeInclusive<i64> = 1..=120;

/// ICMP packets a second and at once.
pub const ICMP_RATE: RangeInclusive<i64> = 0..=10_000_000;
