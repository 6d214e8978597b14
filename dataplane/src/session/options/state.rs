//! What was set: one number for each option that is a number, and a box for the few that are more.
//!
//! A number that nobody set has its default, which [`Field::default_of`] knows for each kind of socket. The numbers are
//! those that getsockopt gives back; what the stack makes of them is said in [`super::effect`].

use super::kind::Kinds;
use flumen_stack::PortId;
use flumen_stack::socket::IpOptions;
use flumen_stack::tcp::congestion::Algorithm;
use std::net::IpAddr;

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:literal,)+) => {
        /// An option that is a number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Field { $($(#[doc = $doc])+ $name,)+ }

        impl Field {
            /// All of them, in order.
            pub const ALL: &'static [Field] = &[$(Field::$name,)+];
            const DEFAULTS: &'static [i32] = &[$($default,)+];
        }
    };
}

fields! {
    /// SO_DEBUG.
    Debug = 0,
    /// SO_REUSEADDR.
    ReuseAddress = 0,
    /// SO_REUSEPORT.
    ReusePort = 0,
    /// SO_BROADCAST.
    Broadcast = 0,
    /// SO_SNDBUF, as it is read: doubled.
    SendBuffer = 212_992,
    /// SO_RCVBUF, as it is read: doubled.
    ReceiveBuffer = 212_992,
    /// SO_BUF_LOCK: 1 for a send buffer that was chosen, 2 for a receive buffer.
    BufferLock = 0,
    /// SO_KEEPALIVE.
    KeepAlive = 0,
    /// SO_OOBINLINE.
    OobInline = 0,
    /// SO_NO_CHECK.
    NoCheck = 0,
    /// SO_PRIORITY.
    Priority = 0,
    /// SO_LINGER: on.
    LingerOn = 0,
    /// SO_LINGER: seconds.
    LingerTime = 0,
    /// SO_RCVLOWAT.
    ReceiveLow = 1,
    /// SO_TIMESTAMP and its kin: 0 none, 1 old, 2 old in nanoseconds, 3 new, 4 new in nanoseconds.
    Timestamp = 0,
    /// SO_TIMESTAMP_NEW was used last (the bit stays behind when stamps are switched off).
    TimestampNew = 0,
    /// SO_TIMESTAMPING flags.
    Timestamping = 0,
    /// SO_TIMESTAMPING: `bind_phc`.
    TimestampingClock = 0,
    /// SO_MARK.
    Mark = 0,
    /// SO_RXQ_OVFL.
    ReceiveOverflow = 0,
    /// SO_WIFI_STATUS.
    WifiStatus = 0,
    /// SO_PEEK_OFF.
    PeekOffset = -1,
    /// SO_NOFCS.
    NoFrameCheck = 0,
    /// SO_LOCK_FILTER.
    LockFilter = 0,
    /// SO_SELECT_ERR_QUEUE.
    SelectErrorQueue = 0,
    /// SO_ZEROCOPY.
    ZeroCopy = 0,
    /// SO_BUSY_POLL.
    BusyPoll = 0,
    /// SO_INCOMING_CPU.
    IncomingCpu = -1,
    /// SO_BINDTOIFINDEX, SO_BINDTODEVICE: the kernel's number.
    Device = 0,
    /// SO_PREFER_BUSY_POLL.
    PreferBusyPoll = 0,
    /// SO_BUSY_POLL_BUDGET.
    BusyPollBudget = 0,
    /// SO_TXREHASH.
    TransmitRehash = 1,
    /// TCP_NODELAY.
    NoDelay = 0,
    /// TCP_MAXSEG.
    MaxSegment = 0,
    /// TCP_CORK, UDP_CORK.
    Cork = 0,
    /// TCP_KEEPIDLE.
    KeepIdle = 7200,
    /// TCP_KEEPINTVL.
    KeepInterval = 75,
    /// TCP_KEEPCNT.
    KeepCount = 9,
    /// TCP_SYNCNT.
    SynCount = 6,
    /// TCP_LINGER2.
    Linger2 = 0,
    /// TCP_DEFER_ACCEPT: retransmissions of a SYN-ACK.
    DeferAccept = 0,
    /// TCP_WINDOW_CLAMP.
    WindowClamp = 0,
    /// TCP_QUICKACK.
    QuickAck = 1,
    /// TCP_USER_TIMEOUT.
    UserTimeout = 0,
    /// TCP_FASTOPEN.
    FastOpen = 0,
    /// TCP_NOTSENT_LOWAT.
    NotSentLow = 0,
    /// TCP_FASTOPEN_CONNECT.
    FastOpenConnect = 0,
    /// TCP_FASTOPEN_NO_COOKIE.
    FastOpenNoCookie = 0,
    /// TCP_INQ.
    Inquire = 0,
    /// UDP_NO_CHECK6_TX.
    NoCheck6Tx = 0,
    /// UDP_NO_CHECK6_RX.
    NoCheck6Rx = 0,
    /// UDP_SEGMENT.
    Segment = 0,
    /// UDP_GRO.
    Gro = 0,
    /// UDPLITE_SEND_CSCOV.
    SendCoverage = 0,
    /// UDPLITE_RECV_CSCOV.
    ReceiveCoverage = 0,
    /// IP_TOS.
    Tos = 0,
    /// IP_TTL; -1: the default.
    Ttl = -1,
    /// IP_HDRINCL, IPV6_HDRINCL.
    HeaderIncluded = 0,
    /// IP_ROUTER_ALERT: on.
    RouterAlert = 0,
    /// IP_PKTINFO.
    PacketInfo = 0,
    /// IP_MTU_DISCOVER.
    MtuDiscover = 1,
    /// IP_RECVERR.
    ReceiveErrors = 0,
    /// IP_RECVTTL.
    ReceiveTtl = 0,
    /// IP_RECVTOS.
    ReceiveTos = 0,
    /// IP_RECVOPTS.
    ReceiveOptions = 0,
    /// IP_RETOPTS.
    ReturnOptions = 0,
    /// IP_FREEBIND, IPV6_FREEBIND.
    FreeBind = 0,
    /// IP_RECVORIGDSTADDR.
    ReceiveOriginal = 0,
    /// IP_MINTTL.
    MinTtl = 0,
    /// IP_MULTICAST_TTL.
    MulticastTtl = 1,
    /// IP_MULTICAST_LOOP.
    MulticastLoop = 1,
    /// IP_MULTICAST_ALL.
    MulticastAll = 1,
    /// IP_MULTICAST_IF: the kernel's number.
    MulticastPort = 0,
    /// IP_UNICAST_IF: the kernel's number.
    UnicastPort = 0,
    /// IPV6_UNICAST_HOPS; -1: the default.
    UnicastHops = -1,
    /// IPV6_MULTICAST_HOPS.
    MulticastHops = 1,
    /// IPV6_MULTICAST_LOOP.
    MulticastLoop6 = 1,
    /// IPV6_MULTICAST_ALL.
    MulticastAll6 = 1,
    /// IPV6_MULTICAST_IF: the kernel's number.
    MulticastPort6 = 0,
    /// IPV6_UNICAST_IF: the kernel's number.
    UnicastPort6 = 0,
    /// IPV6_CHECKSUM; -1: none.
    Checksum = -1,
    /// IPV6_ROUTER_ALERT; -1: none.
    RouterAlert6 = -1,
    /// IPV6_ROUTER_ALERT_ISOLATE.
    RouterAlertIsolate = 0,
    /// IPV6_MTU_DISCOVER.
    MtuDiscover6 = 1,
    /// IPV6_RECVERR.
    ReceiveErrors6 = 0,
    /// IPV6_V6ONLY.
    V6Only = 0,
    /// IPV6_RECVPKTINFO.
    PacketInfo6 = 0,
    /// IPV6_2292PKTINFO.
    OldPacketInfo6 = 0,
    /// IPV6_RECVHOPLIMIT.
    ReceiveHopLimit = 0,
    /// IPV6_2292HOPLIMIT.
    OldHopLimit = 0,
    /// IPV6_RECVTCLASS.
    ReceiveTrafficClass = 0,
    /// IPV6_TCLASS.
    TrafficClass = 0,
    /// IPV6_DONTFRAG.
    DontFragment = 0,
    /// IPV6_AUTOFLOWLABEL.
    AutoFlowLabel = 1,
    /// IPV6_ADDR_PREFERENCES.
    AddressPreferences = 0x500,
    /// IPV6_MINHOPCOUNT.
    MinHopCount = 0,
    /// IPV6_RECVORIGDSTADDR.
    ReceiveOriginal6 = 0,
    /// IPV6_RECVPATHMTU.
    ReceivePathMtu = 0,
    /// ICMP_FILTER.
    IcmpFilter = 0,
}

impl Field {
    /// What it is when nobody set it.
    pub fn default_of(self, kinds: Kinds) -> i32 {
        match self {
            // Linux: who has no port numbers shares them.
            Field::ReuseAddress if kinds.meets(Kinds::RAW_AND_PING) => 1,
            Field::SendBuffer if kinds.meets(Kinds::TCP) => 16_384,
            Field::ReceiveBuffer if kinds.meets(Kinds::TCP) => 131_072,
            // Linux: AF_INET6 sockets begin without it (the bit is IPv4's, and only its constructor sets it).
            Field::MulticastAll if kinds.meets(Kinds::V6) => 0,
            _ => Field::DEFAULTS[self as usize],
        }
    }
}

/// What is more than a number.
#[derive(Debug, Clone, Default)]
pub struct More {
    /// SO_RCVTIMEO and SO_SNDTIMEO in microseconds; 0: none.
    pub timeouts: [u64; 2],
    /// SO_MAX_PACING_RATE; `None`: none.
    pub pacing: Option<u64>,
    /// TCP_CONGESTION.
    pub congestion: Option<Algorithm>,
    /// The address of IP_MULTICAST_IF.
    pub multicast_source: Option<IpAddr>,
    /// ICMPV6_FILTER.
    pub icmp6_filter: Option<[u32; 8]>,
    /// IP_OPTIONS.
    pub ip_options: IpOptions,
    /// IPV6_PKTINFO: the address and the kernel's number that datagrams leave by.
    pub sticky: Option<([u8; 16], u32)>,
    /// Keys of TCP_MD5SIG and TCP_AO_ADD_KEY, for a socket that does not stand in the stack.
    pub keys: Vec<super::keys::Key>,
}

/// What was set.
#[derive(Clone)]
pub struct State {
    values: [i32; Field::ALL.len()],
    touched: u128,
    device: Option<PortId>,
    more: Option<Box<More>>,
}

const _: () = assert!(Field::ALL.len() <= 128, "a bit for each field");

impl Default for State {
    fn default() -> Self {
        State { values: [0; Field::ALL.len()], touched: 0, device: None, more: None }
    }
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut map = f.debug_map();
        for field in self.touched() {
            map.entry(&field, &self.values[field as usize]);
        }
        map.finish_non_exhaustive()
    }
}

impl State {
    /// A number.
    pub fn get(&self, field: Field, kinds: Kinds) -> i32 {
        if self.is_touched(field) { self.values[field as usize] } else { field.default_of(kinds) }
    }

    /// Sets a number.
    pub fn set(&mut self, field: Field, value: i32) {
        self.values[field as usize] = value;
        self.touched |= 1 << field as u8;
    }

    /// Makes it the default again.
    pub fn forget(&mut self, field: Field) {
        self.touched &= !(1 << field as u8);
    }

    /// True when somebody set it.
    pub fn is_touched(&self, field: Field) -> bool {
        self.touched & 1 << field as u8 != 0
    }

    /// What somebody set.
    pub fn touched(&self) -> impl Iterator<Item = Field> {
        Field::ALL.iter().copied().filter(|field| self.is_touched(*field))
    }

    /// What is more than a number, if anything of it was set.
    pub fn more(&self) -> Option<&More> {
        self.more.as_deref()
    }

    /// The same, to set it.
    pub fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// SO_REUSEADDR and SO_REUSEPORT of a TCP socket.
    pub fn reuse(&self) -> (bool, bool) {
        let on = |field| self.get(field, Kinds::TCP) != 0;
        (on(Field::ReuseAddress), on(Field::ReusePort))
    }

    /// IPV6_V6ONLY.
    pub fn v6_only(&self) -> bool {
        self.get(Field::V6Only, Kinds::TCP) != 0
    }

    /// SO_BINDTODEVICE.
    pub fn device(&self) -> Option<PortId> {
        self.device
    }

    /// Says which port the number of SO_BINDTOIFINDEX is.
    pub fn set_device(&mut self, port: Option<PortId>) {
        self.device = port;
    }

    /// IP_FREEBIND.
    pub fn free_bind(&self) -> bool {
        self.get(Field::FreeBind, Kinds::TCP) != 0
    }

    /// SO_RCVTIMEO and SO_SNDTIMEO in microseconds; 0: none.
    pub fn timeout(&self, sending: bool) -> u64 {
        self.more().map_or(0, |more| more.timeouts[usize::from(sending)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_set_is_the_default_of_the_kind() {
        let mut state = State::default();
        assert_eq!(state.get(Field::ReuseAddress, Kinds::TCP), 0);
        assert_eq!(state.get(Field::ReuseAddress, Kinds::RAW4), 1);
        state.set(Field::ReuseAddress, 0);
        assert_eq!(state.get(Field::ReuseAddress, Kinds::RAW4), 0);
        assert_eq!(state.touched().collect::<Vec<_>>(), [Field::ReuseAddress]);
        state.forget(Field::ReuseAddress);
        assert_eq!(state.touched().count(), 0);
    }
}
