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

/// Programs at a time: each has two descriptors of the service.
pub const PROGRAMS: RangeInclusive<i64> = 1..=crate::session::limits::MAX_PROGRAMS as i64;

/// Sockets of one program: what a dirty tree has numbers for.
pub const PROGRAM_SOCKETS: RangeInclusive<i64> = 64..=flumen_ipc::limits::MAX_SLOTS as i64;

/// Bytes of a ring of a program's socket: from what holds the longest datagram with its head to what no window needs more than.
pub const SOCKET_RING: RangeInclusive<i64> = 131_072..=flumen_ipc::limits::MAX_RING as i64;

/// Users and groups, as Linux counts them; the last is nobody's (it means "leave it as it is").
pub const USER_ID: RangeInclusive<i64> = 0..=4_294_967_294;

/// Users that are named in a list.
pub const MAX_USERS: usize = 64;

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

/// Routes of one family in a table beside the main one: such tables are tries, made for few.
pub const TABLE_ROUTES: RangeInclusive<i64> = 16..=1_048_576;

/// Smallest and largest MTU that a route may set (RFC 791 section 3.2; the largest packet).
pub const ROUTE_MTU: RangeInclusive<i64> = 68..=65_535;

/// Smallest and largest segment that a route may ask peers for (Linux: TCP_MIN_MSS; the largest packet less headers).
pub const ROUTE_ADVMSS: RangeInclusive<i64> = 88..=65_495;

/// Smallest and largest window that a route may allow: a segment or so; 16 MiB, what its field holds.
pub const ROUTE_WINDOW: RangeInclusive<i64> = 536..=16_777_215;

/// Smallest and largest initial window that a route may set, in segments.
pub const ROUTE_INITCWND: RangeInclusive<i64> = 1..=255;

/// Messages about groups of which all but one may be lost (RFC 9776 section 8.1: at least 1; its field has 3 bits).
pub const ROBUSTNESS: RangeInclusive<i64> = 1..=7;

/// Between two questions for all groups. What the field of a query can say is the most.
pub const QUERY_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(31_744);

/// Within what hosts answer: a tenth of a second is one unit of IGMP.
pub const RESPONSE_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3174);

/// Within what hosts answer when somebody leaves.
pub const LAST_MEMBER_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3174);

/// TTL thresholds of ways out: 1 lets all pass that may be forwarded, 255 none.
pub const TTL_THRESHOLD: RangeInclusive<i64> = 1..=255;

/// Share of one next hop.
pub const WEIGHT: RangeInclusive<i64> = 1..=256;

/// Time between two router advertisements (RFC 4861 section 6.2.1: MaxRtrAdvInterval).
pub const ADVERTISE_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(4)..=Duration::from_secs(1800);

/// Lifetime of an advertised router (the same: AdvDefaultLifetime).
pub const ADVERTISE_LIFETIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(9000);

/// Lifetimes of advertised prefixes: up to what is called for ever.
pub const PREFIX_LIFETIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(0xffff_ffff);

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

/// TCP connections of a worker: a million cost a GiB or so when they are there.
pub const CONNECTIONS: RangeInclusive<i64> = 1..=4_194_304;

/// TCP listeners of a worker.
pub const LISTENERS: RangeInclusive<i64> = 1..=65_536;

/// Connections in the making; each is 128 bytes.
pub const REQUESTS: RangeInclusive<i64> = 16..=1_048_576;

/// Connections in TIME-WAIT; each is 64 bytes.
pub const TIME_WAIT: RangeInclusive<i64> = 0..=4_194_304;

/// UDP sockets of a worker.
pub const UDP_SOCKETS: RangeInclusive<i64> = 1..=65_536;

/// Raw and ping sockets: every packet for this node is compared with those of its protocol.
pub const RAW_SOCKETS: RangeInclusive<i64> = 1..=4096;

/// MiB of memory for what is in sockets' buffers. With less than one a single connection could not fill its window.
pub const SOCKET_MEMORY: RangeInclusive<i64> = 1..=65_536;

/// Port numbers that sockets get: below 1024 they belong to services that everybody knows.
pub const LOCAL_PORT: RangeInclusive<i64> = 1024..=65_535;

/// Bytes that a datagram socket may hold: one small datagram at least, and at most twice Linux's rmem_max.
pub const UDP_RECEIVE_BUFFER: RangeInclusive<i64> = 2304..=425_984;

/// Segments at the start: RFC 6928 allows 10, content networks use up to 32.
pub const INITIAL_WINDOW: RangeInclusive<i64> = 1..=64;

/// Retransmission timeouts: a millisecond is what timers resolve; Linux has a bound of 120 s.
pub const RTO: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(120);

/// Retransmissions of one segment: from the 8th on the timeout is the longest, so 30 are an hour.
pub const RETRIES: RangeInclusive<i64> = 0..=30;

/// Segments of reordering.
pub const REORDERING: RangeInclusive<i64> = 1..=1000;

/// Per cent of window over round trip (Linux: 0 to 1000; with none nothing would be sent).
pub const PACING_RATIO: RangeInclusive<i64> = 1..=1000;

/// Bytes of a buffer: at least a segment or two; at most what a ring holds.
pub const BUFFER: RangeInclusive<i64> = 2048..=67_108_864;

/// Bytes of a window (RFC 7323 section 2.3: below 1 GiB; a ring holds 64 MiB).
pub const WINDOW: RangeInclusive<i64> = 2048..=67_108_864;

/// How long a connection that its owner closed may wait for the peer to close.
pub const FIN_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Keepalive (Linux: 1 to 32767 s).
pub const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);

/// Keepalive probes (Linux: 1 to 127).
pub const KEEPALIVE_PROBES: RangeInclusive<i64> = 1..=127;

/// Between two answers to what is out of the window; 0 limits nothing.
pub const INVALID_RATELIMIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);

/// Segments: 48 is Linux's bound below, which keeps a byte of data in reach of all options; 9176 fits MTU 9216.
pub const MSS: RangeInclusive<i64> = 48..=9176;

/// Bytes that may wait unsent.
pub const NOTSENT_LOWAT: RangeInclusive<i64> = 1..=67_108_864;

/// Challenge ACKs a second.
pub const CHALLENGE_ACKS: RangeInclusive<i64> = 0..=1_000_000;

/// Destinations that are remembered.
pub const METRICS: RangeInclusive<i64> = 4..=1_048_576;

/// Services.
pub const MAX_SERVICES: usize = 64;

/// Addresses at which one service listens: as many as one port may have of both families.
pub const MAX_LISTEN: usize = 128;

/// Connections that may wait to be accepted (Linux's somaxconn is 4096).
pub const BACKLOG: RangeInclusive<i64> = 1..=flumen_stack::limits::MAX_BACKLOG as i64;

/// How long a client of a service may be silent.
pub const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Bytes of a body of HTTP, there and back: a terabyte.
pub const HTTP_BODY: RangeInclusive<i64> = 0..=1 << 40;

/// Paths with a size.
pub const MAX_HTTP_RESPONSES: usize = 64;

/// Bytes of a path.
pub const MAX_HTTP_PATH: usize = 1024;

/// Files of one web server, over all folders.
pub const MAX_HTTP_FILES: usize = 1024;

/// Folders inside of each other.
pub const MAX_HTTP_DEPTH: usize = 8;

/// Bytes of a file. They lie in memory.
pub const MAX_HTTP_FILE: u64 = 16 << 20;

/// Bytes of all files of one web server.
pub const MAX_HTTP_TOTAL: u64 = 128 << 20;
