//! What TCP counts, by the names of Linux's SNMP and TcpExt tables where Linux counts the same.

macro_rules! tcp_stats {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// Counters of all the connections of one worker. They only grow, and wrap.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct TcpStats { $($(#[doc = $doc])+ pub $field: u64,)+ }

        impl TcpStats {
            /// Each counter with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)+].into_iter()
            }
        }
    };
}

tcp_stats! {
    /// Connections that went from CLOSED to SYN-SENT.
    active_opens,
    /// Connections that a listener made.
    passive_opens,
    /// Handshakes that failed.
    attempt_fails,
    /// Established connections that were reset by either end.
    estab_resets,
    /// Segments that came for connections.
    in_segs,
    /// Segments that left connections, retransmitted ones not counted.
    out_segs,
    /// Segments that were retransmitted.
    retrans_segs,
    /// Segments whose checksum was wrong.
    in_csum_errors,
    /// Segments that the fast path took, with data.
    hp_hits,
    /// Acknowledgments that the fast path took.
    hp_acks,
    /// Segments out of order that were kept.
    ofo_queued,
    /// Segments for which there was no memory.
    no_memory,
    /// Segments whose data had all come before.
    delayed_acks_lost,
    /// Delayed acknowledgments that the timer sent.
    delayed_acks,
    /// Segments older than a timestamp seen before.
    paws_estab_rejected,
    /// SYN-ACKs with an impossible echo.
    paws_active_rejected,
    /// Segments beyond the window, or before it.
    out_of_window,
    /// Challenge ACKs (RFC 5961).
    challenge_acks,
    /// SYNs on a synchronised connection.
    syn_challenges,
    /// Acknowledgments of what was never sent.
    acks_of_unsent,
    /// Connections that were given up after too many retransmissions or too long a time.
    abort_on_timeout,
    /// Connections that were reset because data came after the owner had closed.
    abort_on_data,
    /// Connections that were reset because their owner closed with data unread.
    abort_on_close,
    /// Connections that their owner aborted.
    abort_on_linger,
    /// Retransmission timeouts.
    timeouts,
    /// Zero-window probes.
    zero_window_probes,
    /// Keepalive probes.
    keepalive_probes,
    /// Tail loss probes.
    loss_probes,
    /// Windows that shrank to zero.
    to_zero_window,
    /// Windows that opened again.
    from_zero_window,
    /// D-SACKs sent.
    dsacks_sent,
    /// Connections whose MSS a path MTU report reduced.
    mtu_reduced,
    /// Times at which a black hole made the MSS smaller (RFC 4821).
    mtu_probe_black_holes,
    /// Segments sent to see whether the path carries larger ones (RFC 4821).
    mtu_probes,
    /// Those that the peer acknowledged.
    mtu_probes_arrived,
    /// Those that were lost.
    mtu_probes_lost,
    /// Receive windows that autotuning enlarged.
    receive_window_grown,
    /// Bursts of sending that the run pool had no room for.
    run_pool_empty,
    /// Fast opens whose data the peer took.
    fast_open_active,
    /// Fast opens whose data had to be sent again.
    fast_open_active_fail,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_listed_by_their_names() {
        let stats = TcpStats { retrans_segs: 3, ..TcpStats::default() };
        assert!(stats.each().any(|one| one == ("retrans_segs", 3)));
        assert_eq!(stats.each().map(|(_, value)| value).sum::<u64>(), 3);
    }
}
