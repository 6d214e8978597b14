//! Every bound of the stack, named, with its reason. What the configuration may change says so; what is
//! beyond a bound is refused or dropped with a reason, never a panic. Each bound is tested at its edge.

/// Frames in a burst. 64 is what one need-wakeup cycle of a copy-mode AF_XDP socket brings under load, and
/// what keeps a burst's headers (64 × 64 B) within a tenth of the L1 data cache.
pub const BURST: usize = 64;

/// Names of connections from which on a burst's connections are asked from memory in advance: with fewer, all of them fit
/// into a cache of a megabyte or two.
pub const WARM_FROM: usize = 2048;

/// Bytes of a connection with what surrounds it, by itself. The tables take some 60 more of each (names 33, timer 16, what
/// tells old handles from new ones 8, queue 4), and all of it is to stay below 1 KiB.
pub const MAX_CONNECTION_BYTES: usize = 936;

/// Ports (interfaces) of one data plane. A [`crate::PortId`] is below this.
pub const MAX_PORTS: usize = 64;

/// VLAN tags of one frame: a service tag and a customer tag (IEEE 802.1ad). One with more belongs to no port.
pub const MAX_VLAN_TAGS: usize = 2;

/// The largest VLAN number; 0 is no VLAN (a tag that carries a priority alone) and 4095 is reserved.
pub const MAX_VLAN: u16 = 4094;

/// Workers (cores) of one data plane.
pub const MAX_WORKERS: usize = 64;

/// Addresses of one family on one port.
pub const MAX_ADDRESSES: usize = 64;

/// Addresses of one port that come and go while we run (RFC 4862): for each of a few routers' prefixes one.
pub const AUTOCONFIGURED_ADDRESSES: usize = 16;

/// Routers of one port that autoconfiguration remembers.
pub const AUTOCONFIGURED_ROUTERS: usize = 4;

/// Prefixes, and DNS servers, in one router advertisement: of what we say, and of what we hear.
pub const MAX_ADVERTISED: usize = 16;

/// Bytes of the longest router advertisement that we send: it fits the smallest MTU.
pub const ADVERTISEMENT_BYTES: usize = 16 + 8 + 8 + 32 * MAX_ADVERTISED + 8 + 16 * MAX_ADVERTISED;

/// Advertisements and duplicates that wait to be told to the control thread; more are said again by the routers.
pub const NOTICES: usize = 32;

/// IPv6 extension headers that are walked to find the upper-layer protocol (RFC 8200 section 4 allows any
/// number; RFC 8504 section 5.3 lets a node bound it). A chain that is longer is dropped with a reason.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Bytes of extension headers that are walked (RFC 8504 section 5.3).
pub const MAX_EXTENSION_BYTES: usize = 512;

/// Smallest MTU of an IPv4 port in bytes (RFC 791: 68; below it a fragment could carry no data).
pub const MIN_MTU_IPV4: u16 = 68;

/// Smallest MTU of an IPv6 port in bytes (RFC 8200 section 5).
pub const MIN_MTU_IPV6: u16 = 1280;

/// Largest MTU of a port in bytes.
pub const MAX_MTU: u16 = 9216;

/// Neighbours of one worker, both families together. A [`crate::neighbour::NeighbourId`] has 16 bits for the
/// place and 16 for the generation, so that one word holds it and one compare finds a stale one.
pub const MAX_NEIGHBOURS: usize = 1 << 16;

/// Entries of the neighbour table in one hash bucket. With at least two buckets an entry and a keyed hash, 16
/// in one bucket is rarer than a broken machine; a 17th is refused, so that a lookup is at most 16 compares.
pub const MAX_NEIGHBOUR_CHAIN: usize = 16;

/// Packets that wait for neighbours at one worker: one byte's worth of bursts, far more than any pool spares.
pub const MAX_NEIGHBOUR_PENDING: usize = 1 << 16;

/// Solicitations that wait to be sent at the end of a worker's turn. Four bursts: a turn cannot cause more
/// than one a packet and one an expired timer; one that finds no room is made up for by the next retransmission.
pub const NEIGHBOUR_SOLICITS: usize = 256;

/// Solicitations to everybody for a neighbour that does not answer and still gets packets, before the packets' senders are
/// told: with the two numbers below about 100 seconds, in which a switch or a host starts again.
pub const NEIGHBOUR_BACKOFF_PROBES: u8 = 5;

/// How many times longer each of them is waited for (RFC 7048 section 3, BACKOFF_MULTIPLE).
pub const NEIGHBOUR_BACKOFF_MULTIPLE: u32 = 3;

/// The longest of these times (RFC 7048 section 3, MAX_RETRANS_TIMER).
pub const NEIGHBOUR_BACKOFF_MOST: core::time::Duration = core::time::Duration::from_secs(60);

/// Facts for other workers that wait for the end of a turn. One that finds no room is counted and lost: the
/// other workers then ask by themselves.
pub const NEIGHBOUR_FACTS: usize = 256;
/// IPv4 routes (prefixes with their alternatives) of one table, unless configured: a full Internet table
/// (1,000,000) and a fifth more.
pub const MAX_ROUTES_IPV4: usize = 1_200_000;

/// IPv6 routes of one table, unless configured: a full Internet table (250,000) and a fifth more.
pub const MAX_ROUTES_IPV6: usize = 300_000;

/// Groups of 256 entries below /24 in the IPv4 table (1 KiB each), unless configured. One is needed for each
/// /24 in which a longer prefix lies; the Internet's table has almost none, a large site has thousands.
pub const FIB4_GROUPS: usize = 32_768;

/// Nodes of the IPv6 trie (32 bytes each), unless configured: four for each of 250,000 routes. With the lengths of
/// the Internet's table one does for five; a prefix of more than 64 bits needs up to 18 when it is far from others.
pub const FIB6_NODES: usize = 1 << 20;

/// Leaves and tails of the IPv6 trie (8 bytes each), unless configured: sixteen for each of 250,000 routes; a prefix
/// needs 1 to 32, and three for two of them do with the lengths of the Internet's table.
pub const FIB6_LEAVES: usize = 1 << 22;

/// Route tables beside the main one, that policy rules lead to. Each reserves 16 MiB of addresses for the tops of its
/// two tries, of which pages are touched where routes are; the number of a trie is one byte.
pub const MAX_TABLES: usize = 15;

/// IPv4 routes, and IPv6 routes, of a table beside the main one, unless configured.
pub const TABLE_ROUTES: usize = 10_000;

/// Policy rules. They are compared one after the other for packets that the route cache does not know.
pub const MAX_RULES: usize = 256;

/// Different sets of ports, protocol and type of service that rules may ask for: each is one bit of the key under which
/// the route cache remembers what the rules said.
pub const MAX_RULE_TRAITS: usize = 16;

/// Martian packets that one worker takes a note of in a second: enough to see who sends them.
pub const MARTIANS_A_SECOND: u32 = 5;

/// Notes of martian packets that wait to be taken.
pub const MARTIAN_NOTES: usize = 16;

/// Next hops of one table, unless configured; each is 32 bytes. Must stay below 2^24 (the leaves' field).
pub const MAX_NEXT_HOPS: usize = 65_536;

/// Multipath groups of one table, unless configured; each is 1 KiB of buckets.
pub const MAX_MULTIPATH: usize = 1024;

/// Members of a multipath route. Each gets at least one of [`MULTIPATH_BUCKETS`], so shares stay within a
/// sixteenth of what the weights ask for.
pub const MAX_PATHS: usize = 16;

/// Largest weight of a member of a multipath route, as in Linux (rtnh_hops + 1).
pub const MAX_WEIGHT: u16 = 256;

/// Buckets of a multipath group: a share is exact to 1/256.
pub const MULTIPATH_BUCKETS: usize = 256;

/// Readers of one route table: a worker each, and a few for `show` and tests.
pub const MAX_ROUTE_READERS: usize = MAX_WORKERS + 8;

/// Smallest path MTU that is believed for IPv4, in bytes: Linux's min_pmtu. A smaller report is taken as this
/// one and the packets may then be fragmented, so that a forged report cannot make every packet tiny.
pub const MIN_PATH_MTU_IPV4: u16 = 552;

/// Destinations whose path MTU is remembered by one worker; each is 40 bytes. A router originates little.
pub const PATH_MTUS: usize = 1024;

/// Destinations for which one worker follows a redirect; each is 80 bytes. A host talks to few beyond its link.
pub const REDIRECTS: usize = 1024;

/// Bytes from the first readable one to the end of the last placed one in a socket's buffer. TCP cannot use
/// more than its largest window, 1 GiB; Linux's default limit (tcp_rmem) is 6 MiB, and 64 MiB fill 10 Gbit/s
/// over 50 ms.
pub const MAX_RING: usize = 64 << 20;
/// What a datagram socket may hold of received data in bytes, overhead included, unless set: Linux's
/// net.core.rmem_default.
pub const RECEIVE_LIMIT: usize = 212_992;

/// The least that SO_RCVBUF can be set to, doubled as Linux doubles it (SOCK_MIN_RCVBUF): one small datagram
/// and its overhead always fit.
pub const MIN_RECEIVE_LIMIT: usize = 2304;

/// The most that SO_RCVBUF can be set to, doubled (twice net.core.rmem_max of Linux 6.18).
pub const MAX_RECEIVE_LIMIT: usize = 8 << 20;

/// Bytes of reports in a socket's error queue. A report quotes at most 548 bytes or so; a program that never looks
/// keeps the newest hundred from being heard, nothing else.
pub const ERROR_QUEUE_LIMIT: usize = 65_536;

/// Bytes that a stamp of what was sent quotes of its packet: a whole one of an Ethernet with its usual MTU, and its header.
pub const STAMP_QUOTE: usize = 1536;

/// Writes of one connection whose stamps are still to come; a further one takes the place of the oldest.
pub const MAX_STAMPS_ASKED: usize = 1024;

/// Stamps of one connection that wait to be read; further ones are lost, as in Linux when the receive buffer is full.
pub const MAX_STAMPS: usize = 256;

/// UDP sockets of one worker, unless configured; each is about 700 bytes when it holds no data.
pub const UDP_SOCKETS: usize = 4096;

/// Raw and ping sockets of one worker, unless configured. Every packet for this node is compared with those of its
/// protocol, so few.
pub const RAW_SOCKETS: usize = 256;

/// Blocks of the pool that sockets' data lies in, unless configured. Memory is touched when a block is first used.
pub const SOCKET_BLOCKS: usize = 16_384;

/// Packets of our own that wait to be delivered to ourselves (loopback of groups, or of our own addresses): what
/// one send can make at most, 64 segments of UDP_SEGMENT or the fragments of 64 KiB, and as much again.
pub const LOOPBACK: usize = 128;

/// Packets that wait to be handed to other workers: those of one burst, each with a copy for raw sockets, and what was looped
/// back.
pub const STRAYS: usize = 2 * BURST + LOOPBACK;

/// Datagrams that one UDP_SEGMENT send is cut into: UDP_MAX_SEGMENTS of Linux before it was doubled.
pub const UDP_SEGMENTS: usize = 64;

/// Groups that one socket may be in on all ports together (Linux's igmp_max_memberships).
pub const MAX_MEMBERSHIPS: usize = 20;

/// Sources in one socket's filter for one group (Linux: igmp_max_msf 10, mld_max_msf 64).
pub const MAX_SOURCES: usize = 64;

/// Groups that hosts on the links of ports listen to of which we are a router, each port counted. A record is about 1 KiB
/// and allocated at start.
pub const LISTENED_GROUPS: usize = 1024;

/// Sources of one such group that are told apart; with more the whole group is let through.
pub const LISTENED_SOURCES: usize = 32;

/// Static multicast routes. They are compared one after the other for each packet.
pub const MULTICAST_ROUTES: usize = 64;

/// Groups that one worker's ports listen to, all families together.
pub const MAX_GROUPS: usize = 1024;

/// Sources that a query may ask about and that are remembered until the answer: as many as a query in a 1500-byte
/// frame can name would be 366; beyond this the whole group is answered for, which RFC 3376 section 5.2 allows.
pub const MAX_QUERIED_SOURCES: usize = 64;

/// Ranges that one connection received out of order and remembers apart from each other. Each acknowledgement
/// tells of three or four; a sender with so many holes in one window has other troubles. Data that would make
/// one more is dropped, which RFC 9293 allows, and walking them all stays under a microsecond.
pub const MAX_INTERVALS: usize = 64;

/// Bytes of a key of the MD5 signature option: as Linux's TCP_MD5SIG_MAXKEYLEN.
pub const MAX_MD5_KEY: usize = 80;

/// Bytes of a master key of TCP-AO: as Linux's TCP_AO_MAXKEYLEN.
pub const MAX_AO_KEY: usize = 80;

/// AO keys of one peer at a time: the one in use, the next one, and some that are being distributed. A segment names
/// its key by an id, so that this bounds the search for it.
pub const MAX_AO_KEYS: usize = 16;

/// TIME-WAIT records that answer with signatures, and so keep their session's keys. Routing sessions are few and seldom
/// end; when there are more, the record that waited longest gives way.
pub const SIGNED_TIME_WAITS: usize = 128;

/// Signature keys of one listener. They are searched in order of prefix length for each SYN; a router has some
/// hundred sessions at most, and 256 compares of 16 bytes are still cheap next to a signature.
pub const MAX_SIGNATURE_KEYS: usize = 256;

/// Connections that wait in a listener's accept queue: the most that a backlog may ask for, as Linux's somaxconn.
pub const MAX_BACKLOG: usize = 4096;

/// Ends of records (MSG_EOR) that a connection remembers until they are acknowledged; further ones bind nothing.
pub const MAX_RECORD_ENDS: usize = 1024;

/// Runs of a TCP connection's flight that one ACK's SACK blocks may walk over; what is left of the blocks waits
/// for the next ACK, which repeats them. An honest ACK finds its place within a few steps of the last one's; a
/// hostile one costs 256 cache misses (some ten microseconds) at most, however large the flight is.
pub const MAX_SACK_WALK: u32 = 256;

/// Steps in the queue of lost runs to find a run's place in the order of the stream. Runs are found lost almost
/// in that order; one that is out of order by more than this is sent again a little earlier or later.
pub const MAX_LOST_QUEUE_WALK: u32 = 64;

/// Smallest TCP congestion window after a reduction, in segments (RFC 5681 section 3.1 equation 4).
pub const MIN_SSTHRESH: u32 = 2;

/// Buckets in which an entry of a connection table may stand. With half of all slots used the mean is 1.05 and the
/// furthest of 131,072 entries stood 9 away; that 32 buckets get twice their mean, and a run so long comes about, is
/// rarer than one in 10^9 (Poisson). An entry that would need more than 64 is refused: who reaches that knows the key.
pub const MAX_DEMUX_PROBE: usize = 64;

/// Sockets that share one address and port to receive in turn (SO_REUSEPORT): several for each of 64 workers.
/// Linux allows 65,535.
pub const MAX_SHARERS: usize = 1024;
/// Bytes of a block of reassembly memory: a full fragment of a 1500-byte link, with its header, in one.
pub const REASSEMBLY_BLOCK: usize = 2048;

/// Fragments of one datagram. 64 KiB in pieces of 256 bytes, or a 1500-byte packet cut into the smallest pieces
/// there are; what needs more wears us out rather than a link. Repetitions do not count.
pub const REASSEMBLY_FRAGMENTS: usize = 256;

/// Least memory for the reassembly of one worker, in bytes: three of the longest datagrams for each of four sources.
pub const MIN_REASSEMBLY_MEMORY: usize = 1 << 20;

/// Most memory for the reassembly of one worker, in bytes.
pub const MAX_REASSEMBLY_MEMORY: usize = 1 << 28;

/// One source (an IPv4 address, an IPv6 /64) may hold this part of the memory: a quarter.
pub const REASSEMBLY_SOURCE_SHARE: usize = 4;

/// Datagrams in one hash bucket of the reassembly table. With two buckets for each datagram and a keyed hash, 16 in
/// one is rarer than a broken machine; a 17th is refused, so that a lookup is at most 16 compares.
pub const MAX_REASSEMBLY_CHAIN: usize = 16;

/// How long the pieces of an IPv4 datagram wait, in seconds: Linux's ipfrag_time; RFC 791 says 15.
pub const REASSEMBLY_SECONDS_IPV4: u64 = 30;

/// How long the pieces of an IPv6 datagram wait, in seconds (RFC 8200 section 4.5).
pub const REASSEMBLY_SECONDS_IPV6: u64 = 60;

/// Options of one IPv6 hop-by-hop or destination options header, padding not counted, and bytes of one run of
/// padding (RFC 8504 section 5.3; Linux's max_hbh_opts_number and max_dst_opts_number, and its rule for padding).
pub const MAX_IPV6_OPTIONS: usize = 8;
/// See [`MAX_IPV6_OPTIONS`]: more than 7 bytes of padding align nothing.
pub const MAX_IPV6_PADDING: usize = 7;

/// Counters of identifications that we send (4 bytes each): destinations share them by a keyed hash.
pub const IDENTIFICATIONS: usize = 2048;
