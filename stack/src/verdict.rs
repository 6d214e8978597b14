//! Every end of a packet is a value. A drop has a reason, and every reason has exactly one counter.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Why a packet ended here. [`DropReason::name`] is the label of its counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The label of the counter: words with hyphens between them, the same in `show drops` and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)+ }
            }

            /// One sentence for the operator: what was wrong with the packet.
            pub const fn describe(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

drop_reasons! {
    // Link layer
    /// The frame is shorter than an Ethernet header.
    EthernetTooShort => "ethernet-too-short",
    /// The destination is another station's address: the port hears it because it is promiscuous.
    EthernetOtherStation => "ethernet-other-station",
    /// The source address is a group address or all zeros.
    EthernetBadSource => "ethernet-bad-source",
    /// The EtherType is one that this data plane does not speak.
    EthernetUnknownType => "ethernet-unknown-type",
    /// The frame is tagged for a VLAN that none of ours is.
    EthernetUnknownVlan => "ethernet-unknown-vlan",
    /// The port is administratively or physically down.
    PortDown => "port-down",
    /// The out port's transmit queue is full.
    TxQueueFull => "tx-queue-full",
    /// The port refused the packet: longer than it can transmit.
    TxRefused => "tx-refused",
    /// The pool had no frame for a packet that we had to originate.
    NoFrame => "no-frame",
    /// The headroom in front of the packet is too small for the link header.
    NoHeadroom => "no-headroom",
    /// The ring to the worker that owns the flow or the port is full.
    HandoffFull => "handoff-full",
    /// The data plane stops, and the packet still waited: for a port, for a neighbour, or for another worker.
    Stopping => "stopping",

    // ARP and neighbour discovery
    /// The ARP packet is malformed or not Ethernet/IPv4.
    ArpMalformed => "arp-malformed",
    /// The ARP packet asks for or announces an address that is not ours to answer or learn.
    ArpNotForUs => "arp-not-for-us",
    /// The ARP sender claims an address that is ours.
    ArpConflict => "arp-conflict",
    /// The neighbour discovery message fails the checks of RFC 4861 sections 6.1 and 7.1.
    NdMalformed => "nd-malformed",
    /// The neighbour discovery message is about an address that is not ours to answer or learn.
    NdNotForUs => "nd-not-for-us",
    /// The sender of a neighbour advertisement claims an address that is ours.
    NdConflict => "nd-conflict",
    /// It is for an address of ours that is still being checked for duplicates, or that is one.
    AddressTentative => "address-tentative",
    /// The neighbour did not answer in time.
    NeighbourUnreachable => "neighbour-unreachable",
    /// Too many packets wait for this neighbour already; the oldest gave way.
    NeighbourQueueFull => "neighbour-queue-full",
    /// The neighbour table is full of entries in use.
    NeighbourTableFull => "neighbour-table-full",
    /// Resolving one more neighbour would exceed the configured rate of broadcast solicitations.
    NeighbourRateLimited => "neighbour-rate-limited",
    /// The next hop is not an address that one station can have.
    NeighbourNotUnicast => "neighbour-not-unicast",

    // IPv4 input
    /// The packet is shorter than its IPv4 header says.
    Ipv4Truncated => "ipv4-truncated",
    /// The version is not 4 or the header length is below 20 bytes.
    Ipv4BadHeader => "ipv4-bad-header",
    /// The IPv4 header checksum is wrong.
    Ipv4BadChecksum => "ipv4-bad-checksum",
    /// The source is one that no packet on the wire may have: multicast, broadcast, loopback, class E or ours.
    Ipv4MartianSource => "ipv4-martian-source",
    /// The destination is one that no packet on the wire may have: this network, loopback or class E.
    Ipv4MartianDestination => "ipv4-martian-destination",
    /// An IPv4 option is malformed.
    Ipv4BadOption => "ipv4-bad-option",
    /// An IPv4 option (source routing) is refused by policy.
    Ipv4OptionRefused => "ipv4-option-refused",

    // IPv6 input
    /// The packet is shorter than its IPv6 header says.
    Ipv6Truncated => "ipv6-truncated",
    /// The version is not 6.
    Ipv6BadHeader => "ipv6-bad-header",
    /// The source is one that no packet on the wire may have: multicast, loopback, IPv4-mapped or ours.
    Ipv6MartianSource => "ipv6-martian-source",
    /// The destination is one that no packet on the wire may have: unspecified, loopback or of wrong scope.
    Ipv6MartianDestination => "ipv6-martian-destination",
    /// The extension header chain is longer than the bound, out of order, or malformed.
    Ipv6BadExtension => "ipv6-bad-extension",
    /// An IPv6 option or routing header of an unknown kind asks for the packet to be discarded.
    Ipv6UnknownOption => "ipv6-unknown-option",

    // Both families, forwarding and local delivery
    /// The hop limit or TTL ran out here.
    HopLimitExceeded => "hop-limit-exceeded",
    /// No route leads to the destination.
    NoRoute => "no-route",
    /// A blackhole route leads to the destination.
    RouteBlackhole => "route-blackhole",
    /// An unreachable route leads to the destination.
    RouteUnreachable => "route-unreachable",
    /// A prohibit route leads to the destination.
    RouteProhibit => "route-prohibit",
    /// The packet came in on a port that the way back to its source does not use.
    ReversePath => "reverse-path",
    /// The packet is longer than the next link's MTU and must not be fragmented here.
    PacketTooBig => "packet-too-big",
    /// The packet came as a link-layer broadcast or multicast, or has a group destination, and is not forwarded.
    NotForwardable => "not-forwardable",
    /// Forwarding is switched off on the port it came in on.
    ForwardingOff => "forwarding-off",
    /// The packet had to be fragmented, and the pool had no frames for the fragments.
    FragmentationFailed => "fragmentation-failed",
    /// The link-local source or destination must not leave its link.
    LinkLocalScope => "link-local-scope",
    /// A fragment arrived for us, and its datagram was given up already.
    FragmentDropped => "fragment-dropped",
    /// A fragment for us is empty, not a multiple of 8 bytes long, or reaches beyond the longest datagram.
    FragmentMalformed => "fragment-malformed",
    /// A first fragment for us lacks the transport header, as no link would cut it.
    FragmentTiny => "fragment-tiny",
    /// A fragment for us overlaps or contradicts another; its datagram is given up.
    FragmentOverlap => "fragment-overlap",
    /// A fragment for us repeats what is here already.
    FragmentDuplicate => "fragment-duplicate",
    /// A fragment for us found no room: too many fragments, datagrams, or bytes of them wait.
    ReassemblyFull => "reassembly-full",
    /// Nobody here listens for this protocol.
    ProtocolUnreachable => "protocol-unreachable",
    /// Nobody here listens on this port.
    PortUnreachable => "port-unreachable",
    /// The group is not one that this port joined.
    NotJoined => "not-joined",
    /// A packet to a group came in by another port than its source or its route wants.
    MulticastWrongPort => "multicast-wrong-port",
    /// The TTL of a packet to a group is not above the threshold of any port that it would leave by.
    MulticastScope => "multicast-scope",

    // Upper layers
    /// The ICMP message is shorter than its type requires.
    IcmpTruncated => "icmp-truncated",
    /// The ICMP or ICMPv6 checksum is wrong.
    IcmpBadChecksum => "icmp-bad-checksum",
    /// The ICMP type or code is unknown or not for us to act on.
    IcmpDiscarded => "icmp-discarded",
    /// An echo request to a broadcast or multicast address, which policy leaves unanswered.
    IcmpEchoIgnored => "icmp-echo-ignored",
    /// A redirect that policy, or who sent it, forbids to follow.
    IcmpRedirectRefused => "icmp-redirect-refused",
    /// An address mask reply tells another mask than ours.
    IcmpMaskWrong => "icmp-mask-wrong",
    /// More echo requests arrived than the configured rate of replies.
    IcmpEchoLimited => "icmp-echo-limited",
    /// The IGMP or MLD message is truncated, damaged, or does not come from the link.
    IgmpMalformed => "igmp-malformed",
    /// The transport header is truncated or malformed.
    TransportMalformed => "transport-malformed",
    /// The UDP, UDP-Lite or TCP checksum is wrong.
    TransportBadChecksum => "transport-bad-checksum",
    /// The checksum of a UDP-Lite datagram covers less of it than its socket asks for (UDPLITE_RECV_CSCOV).
    UdpLiteCoverage => "udplite-coverage",

    // TCP
    /// To a broadcast or multicast address (RFC 9293 section 3.9.2.3).
    TcpToGroup => "tcp-to-group",
    /// A segment outside of the window (RFC 9293 section 3.10.7.4, first check).
    TcpOutOfWindow => "tcp-out-of-window",
    /// A timestamp older than one that came before (RFC 7323 section 5.3).
    TcpOldTimestamp => "tcp-old-timestamp",
    /// A reset or SYN that was challenged instead of believed (RFC 5961).
    TcpChallenged => "tcp-challenged",
    /// It acknowledges what was never sent, or what was long ago (RFC 5961 section 5).
    TcpBadAck => "tcp-bad-ack",
    /// Neither SYN, ACK nor RST where one is needed.
    TcpNoFlags => "tcp-no-flags",
    /// No memory for its data, or for the connection that it would begin.
    TcpNoMemory => "tcp-no-memory",
    /// For a connection that is over.
    TcpClosed => "tcp-closed",
    /// A listener did not take it: its queues are full, or it makes no sense there.
    TcpListenRefused => "tcp-listen-refused",
    /// Signed wrongly, or not signed as agreed (RFC 2385, RFC 5925).
    TcpBadSignature => "tcp-bad-signature",
    /// Farther away than its connection allows (IP_MINTTL; RFC 5082).
    TcpMinTtl => "tcp-min-ttl",

    // Sockets
    /// The socket holds as much received data as it may.
    SocketQueueFull => "socket-queue-full",
    /// The pool that received data lies in is empty.
    SocketNoMemory => "socket-no-memory",
    /// Too many of our own packets wait to be delivered to ourselves.
    LoopbackFull => "loopback-full",

    // Consumed: an end that is not a fault, so that every received packet has exactly one end on record
    /// A packet that was for us and was acted upon: ARP, neighbour discovery, ICMP, or taken in by a socket.
    Consumed => "consumed",
    /// A packet for a socket of another worker: it goes on there.
    HandedOver => "handed-over",
    /// A fragment for us was taken; it goes on as part of its datagram.
    FragmentTaken => "fragment-taken",
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_counter_and_label() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
