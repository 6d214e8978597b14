//! Counters: plain numbers, one writer. The worker adds, housekeeping publishes a copy; nothing here is
//! atomic. Every counter has one place in one flat array, so that publishing is a loop and adding is one
//! instruction. The MIB names are those of RFC 4293 (IP) and RFC 4884/2011 (ICMP) where they exist.
//!
//! Every packet has one beginning and one end, and both are counted, so the books balance at any moment:
//! ```text
//!   received + originated + no-frame + came back  =  handed to ports + dropped (consumed included) + fragmented + held
//!
//!   originated: ICMP errors, ARP, neighbour discovery, IGMP, MLD, fragments that we made, datagrams that we put
//!               together (their fragments ended when they were taken), what sockets send, what is looped back, and what other workers
//!               handed over (it ended there as handed over).
//!               An echo reply is the request, turned round.
//!   no-frame:   packets that would have been originated; they are among the dropped, too.
//!   came back:  packets handed to a port that did not leave by it after all ([`PortCounters::tx_drops`]).
//!   held:       packets that wait for neighbours, and errors about our own packets that wait to come back to us.
//!   Received and handed to ports: by ports with a wire. Their VLANs count their share of it once more.
//! ```
//! [`Counters::originated`] is that sum; `tests/fuzz_stack` does the books after every burst. They hold for
//! the workers of a process together as well: a packet in a ring between two of them is in neither's books
//! yet, or has been handed to its port by the first.

use crate::limits::MAX_PORTS;
use crate::port::PortId;
use crate::verdict::DropReason;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// An event that the stack counts; drops are counted by [`DropReason`] instead.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }
        impl Counter {
            /// Every counter, in order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];
            /// The label in `show` and in the metrics.
            pub const fn name(self) -> &'static str { match self { $(Counter::$variant => $name,)+ } }
            /// One sentence for the operator: what is counted.
            pub const fn describe(self) -> &'static str {
                match self { $(Counter::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

counters! {
    /// IPv4 packets that arrived (ipSystemStatsInReceives).
    Ipv4Received => "ipv4-received",
    /// IPv4 packets that were for us (ipSystemStatsInDelivers).
    Ipv4Delivered => "ipv4-delivered",
    /// IPv4 packets that left by another port (ipSystemStatsOutForwDatagrams).
    Ipv4Forwarded => "ipv4-forwarded",
    /// IPv4 packets that we originated (ipSystemStatsOutRequests).
    Ipv4Originated => "ipv4-originated",
    /// IPv4 packets that left as fragments (ipSystemStatsOutFragOKs).
    Ipv4Fragmented => "ipv4-fragmented",
    /// IPv4 fragments that we made (ipSystemStatsOutFragCreates).
    Ipv4FragmentsCreated => "ipv4-fragments-created",
    /// IPv4 fragments for us (ipSystemStatsReasmReqds).
    Ipv4FragmentsReceived => "ipv4-fragments-received",
    /// IPv4 datagrams put together (ipSystemStatsReasmOKs).
    Ipv4Reassembled => "ipv4-reassembled",
    /// IPv4 datagrams given up: overlaps, time, room (ipSystemStatsReasmFails).
    Ipv4ReassemblyFailed => "ipv4-reassembly-failed",
    /// IPv6 packets that arrived.
    Ipv6Received => "ipv6-received",
    /// IPv6 packets that were for us.
    Ipv6Delivered => "ipv6-delivered",
    /// IPv6 packets that left by another port.
    Ipv6Forwarded => "ipv6-forwarded",
    /// IPv6 packets that we originated.
    Ipv6Originated => "ipv6-originated",
    /// IPv6 packets of ours that left as fragments.
    Ipv6Fragmented => "ipv6-fragmented",
    /// IPv6 fragments that we made.
    Ipv6FragmentsCreated => "ipv6-fragments-created",
    /// IPv6 fragments for us.
    Ipv6FragmentsReceived => "ipv6-fragments-received",
    /// IPv6 packets put together.
    Ipv6Reassembled => "ipv6-reassembled",
    /// IPv6 packets given up: overlaps, time, room.
    Ipv6ReassemblyFailed => "ipv6-reassembly-failed",
    /// Datagrams of both families whose missing fragments did not come in time.
    ReassemblyTimedOut => "reassembly-timed-out",
    /// Datagrams of both families that made room for fragments of younger ones.
    ReassemblyEvicted => "reassembly-evicted",
    /// ICMP messages for us.
    IcmpIn => "icmp-in",
    /// ICMP echo requests answered.
    IcmpEchoReplies => "icmp-echo-replies",
    /// ICMP timestamp and address mask requests answered.
    IcmpAnswers => "icmp-answers",
    /// ICMP errors sent.
    IcmpErrorsOut => "icmp-errors-out",
    /// ICMP errors not sent because a rate limit said so.
    IcmpErrorsLimited => "icmp-errors-limited",
    /// ICMPv6 messages for us.
    Icmpv6In => "icmpv6-in",
    /// ICMPv6 echo requests answered.
    Icmpv6EchoReplies => "icmpv6-echo-replies",
    /// ICMPv6 errors sent.
    Icmpv6ErrorsOut => "icmpv6-errors-out",
    /// ICMPv6 errors not sent because a rate limit said so.
    Icmpv6ErrorsLimited => "icmpv6-errors-limited",
    /// TCP resets sent; they are among the segments sent, too (tcpOutRsts).
    TcpResetsOut => "tcp-resets-out",
    /// TCP segments that we sent, retransmissions and resets included (tcpOutSegs, tcpRetransSegs, tcpOutRsts).
    TcpOut => "tcp-out",
    /// TCP segments that came for us (tcpInSegs).
    TcpIn => "tcp-in",
    /// ARP packets that arrived.
    ArpIn => "arp-in",
    /// ARP requests sent.
    ArpRequestsOut => "arp-requests-out",
    /// ARP replies sent.
    ArpRepliesOut => "arp-replies-out",
    /// ARP probes and announcements sent (RFC 5227).
    ArpAnnouncementsOut => "arp-announcements-out",
    /// ARP requests and neighbour solicitations answered for others (proxy); they are among the answers, too.
    ProxyAnswers => "proxy-answers",
    /// Addresses of ours that turned out to be somebody else's as well, and are not used.
    DuplicateAddresses => "duplicate-addresses",
    /// Our own probes that the link sent back to us (RFC 7527).
    ProbesLoopedBack => "probes-looped-back",
    /// Neighbour discovery messages that arrived.
    NdIn => "nd-in",
    /// Neighbour solicitations sent.
    NdSolicitationsOut => "nd-solicitations-out",
    /// Neighbour advertisements sent.
    NdAdvertisementsOut => "nd-advertisements-out",
    /// Router advertisements sent.
    NdRouterAdvertisementsOut => "nd-router-advertisements-out",
    /// Router solicitations sent.
    NdRouterSolicitationsOut => "nd-router-solicitations-out",
    /// ICMPv6 redirects sent; those of ICMP are among its errors.
    NdRedirectsOut => "nd-redirects-out",
    /// Redirects of both families that we follow.
    RedirectsLearned => "redirects-learned",
    /// Route cache hits.
    RouteCacheHits => "route-cache-hits",
    /// Route cache misses; each costs one lookup of the forwarding table.
    RouteCacheMisses => "route-cache-misses",
    /// Packets whose partial checksum, left by a local kernel peer, was completed here.
    PartialChecksumsRepaired => "partial-checksums-repaired",
    /// Packets that look as if a local kernel peer left their checksum partial, on a port that does not repair.
    PartialChecksumsSeen => "partial-checksums-seen",
    /// Path MTU reports believed.
    PathMtuLearned => "path-mtu-learned",
    /// UDP datagrams that sockets took in (udpInDatagrams); one for each socket.
    UdpIn => "udp-in",
    /// UDP datagrams that sockets sent (udpOutDatagrams).
    UdpOut => "udp-out",
    /// UDP-Lite datagrams that sockets took in; one for each socket.
    UdpLiteIn => "udplite-in",
    /// UDP-Lite datagrams that sockets sent.
    UdpLiteOut => "udplite-out",
    /// Copies of packets that raw and ping sockets took in.
    RawIn => "raw-in",
    /// Packets that raw and ping sockets sent.
    RawOut => "raw-out",
    /// ICMP errors that reached the socket that caused them.
    IcmpErrorsToSockets => "icmp-errors-to-sockets",
    /// Copies of packets for raw sockets of another worker.
    RawCopies => "raw-copies",
    /// Packets that other workers handed to this one, whose sockets they are for.
    TakenOver => "taken-over",
    /// Packets of ours that were delivered to ourselves: to our own addresses, or copies of what went to groups.
    LoopedBack => "looped-back",
    /// IGMP messages that arrived.
    IgmpIn => "igmp-in",
    /// IGMP messages sent.
    IgmpOut => "igmp-out",
    /// MLD messages that arrived.
    MldIn => "mld-in",
    /// MLD messages sent.
    MldOut => "mld-out",
    /// Packets to groups that were forwarded, however many copies left.
    MulticastForwarded => "multicast-forwarded",
    /// Copies of packets to groups that were asked of the pool.
    MulticastCopies => "multicast-copies",
    /// Messages about groups that another worker did not hear, because the ring to it was full.
    GroupMessagesUntold => "group-messages-untold",
    /// Reports about groups for which there was no room.
    MulticastGroupsRefused => "multicast-groups-refused",
}

/// What is counted for each port.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received, link header included.
    pub rx_bytes: u64,
    /// Packets handed to the port for transmission.
    pub tx_packets: u64,
    /// Bytes handed to the port for transmission, link header included.
    pub tx_bytes: u64,
    /// Received packets that were dropped, whatever the reason.
    pub drops: u64,
    /// Packets handed to the port that did not leave by it after all; each is counted under its reason, too.
    pub tx_drops: u64,
}

/// All counters of one stack.
#[derive(Debug, Clone)]
pub struct Counters {
    events: [u64; Counter::ALL.len()],
    drops: [u64; DropReason::COUNT],
    ports: [PortCounters; MAX_PORTS],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            events: [0; Counter::ALL.len()],
            drops: [0; DropReason::COUNT],
            ports: [PortCounters::default(); MAX_PORTS],
        }
    }
}

impl Counters {
    /// Counts one event.
    #[inline]
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `n` events at once.
    #[inline]
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.events[counter as usize] += n;
    }

    /// Counts one drop.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts the end of a packet of `bytes` bytes that arrived at a port and was dropped before the stack
    /// looked at it.
    pub fn drop_arrived(&mut self, port: PortId, bytes: usize, reason: DropReason) {
        self.drop(reason);
        let port = self.port_mut(port);
        port.rx_packets += 1;
        port.rx_bytes += bytes as u64;
        port.drops += 1;
    }

    /// Counts the end of a packet that was handed to a port, and counted there, and did not leave by it.
    #[cold]
    pub fn drop_unsent(&mut self, port: PortId, reason: DropReason) {
        self.drop(reason);
        self.port_mut(port).tx_drops += 1;
    }

    /// How often an event happened.
    pub fn get(&self, counter: Counter) -> u64 {
        self.events[counter as usize]
    }

    /// How many packets ended for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// All drops, of every reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Packets that began here: see the books at the top.
    pub fn originated(&self) -> u64 {
        const ORIGINATED: [Counter; 24] = [
            Counter::IcmpErrorsOut,
            Counter::Icmpv6ErrorsOut,
            Counter::TcpOut,
            Counter::ArpRequestsOut,
            Counter::ArpRepliesOut,
            Counter::ArpAnnouncementsOut,
            Counter::NdSolicitationsOut,
            Counter::NdAdvertisementsOut,
            Counter::NdRedirectsOut,
            Counter::NdRouterAdvertisementsOut,
            Counter::NdRouterSolicitationsOut,
            Counter::Ipv4FragmentsCreated,
            Counter::Ipv6FragmentsCreated,
            Counter::UdpOut,
            Counter::UdpLiteOut,
            Counter::RawOut,
            Counter::LoopedBack,
            Counter::RawCopies,
            Counter::TakenOver,
            Counter::IgmpOut,
            Counter::MldOut,
            Counter::MulticastCopies,
            Counter::Ipv4Reassembled,
            Counter::Ipv6Reassembled,
        ];
        ORIGINATED.iter().map(|counter| self.get(*counter)).sum()
    }

    /// Packets that ended by being cut into fragments.
    pub fn fragmented(&self) -> u64 {
        self.get(Counter::Ipv4Fragmented) + self.get(Counter::Ipv6Fragmented)
    }

    /// The counters of a port.
    #[inline]
    pub fn port(&self, port: PortId) -> &PortCounters {
        &self.ports[port.index() % MAX_PORTS]
    }

    /// The counters of a port, to add to.
    #[inline]
    pub fn port_mut(&mut self, port: PortId) -> &mut PortCounters {
        &mut self.ports[port.index() % MAX_PORTS]
    }

    /// Events, then drops, as flat numbers in the order of [`Counter::ALL`] and [`DropReason::ALL`].
    pub fn flat(&self) -> impl Iterator<Item = u64> + '_ {
        self.events.iter().chain(self.drops.iter()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_and_each_drop_has_a_place_of_its_own() {
        let mut counters = Counters::default();
        counters.count(Counter::Ipv4Forwarded);
        counters.add(Counter::PathMtuLearned, 2);
        counters.drop(DropReason::NoRoute);
        assert_eq!(counters.get(Counter::Ipv4Forwarded), 1);
        assert_eq!(counters.get(Counter::PathMtuLearned), 2);
        assert_eq!((counters.dropped(DropReason::NoRoute), counters.dropped_in_all()), (1, 1));
        assert_eq!(counters.flat().sum::<u64>(), 4);
    }
}
