//! What an operator may choose about neighbours, with Linux's defaults, and what is refused.

use crate::limits::{MAX_NEIGHBOUR_PENDING, MAX_NEIGHBOURS};
use core::time::Duration;

/// Bounds and times of one worker's neighbour table. The names in parentheses are Linux's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourConfig {
    /// Entries of both families together; 1 ..= [`MAX_NEIGHBOURS`]. 8,192: with the default rate of
    /// solicitations a scan holds at most about 1,000 entries of a port INCOMPLETE, so it cannot fill the table
    /// (gc_thresh3, 1,024 there).
    pub max_entries: usize,
    /// Packets that wait for one neighbour; at least 1 (RFC 4861 section 7.2.2). 64: a whole burst to a new
    /// neighbour survives (unres_qlen_bytes, which is about 101 full packets there).
    pub max_pending_per_entry: usize,
    /// Packets that wait for all neighbours; 1 ..= [`MAX_NEIGHBOUR_PENDING`]. 512: 3 % of a pool of 16 k
    /// frames. When it is reached, the packet that waited longest gives way, so that a scan of dead addresses
    /// delays nobody who answers.
    pub max_pending_total: usize,
    /// Mean time that a confirmation lasts; drawn anew from half to one and a half times this whenever
    /// a neighbour becomes REACHABLE (RFC 4861 section 6.3.2; base_reachable_time, 30 s).
    pub reachable_time: Duration,
    /// Time between solicitations (RFC 4861 section 10 RETRANS_TIMER; retrans_time, 1 s).
    pub retrans_time: Duration,
    /// Time in DELAY before the first probe (DELAY_FIRST_PROBE_TIME; delay_first_probe_time, 5 s).
    pub delay_first_probe: Duration,
    /// Unicast solicitations before a neighbour has failed; at least 1 (MAX_UNICAST_SOLICIT; ucast_solicit, 3).
    pub max_unicast_probes: u8,
    /// Multicast or broadcast solicitations before a neighbour has failed; at least 1 (mcast_solicit, 3).
    pub max_multicast_probes: u8,
    /// Time without use after which a STALE, FAILED or never used entry goes (gc_stale_time, 60 s).
    pub gc_stale_time: Duration,
    /// STALE entries stay while the table has no more entries than this (gc_thresh1, 128).
    pub gc_threshold: usize,
    /// Time since its last change in which an entry may not be evicted for one that traffic did not ask for:
    /// a flood of forged requests cannot turn the table over faster (Linux's forced collection: 5 s).
    pub evict_min_age: Duration,
    /// Time since its last change in which another address from ARP is ignored, so that of several answers the
    /// first holds (locktime, 1 s).
    pub arp_lock_time: Duration,
    /// Multicast or broadcast solicitations a second on one port, from this worker; at least 1. 500 64-byte
    /// frames are 0.3 Mbit/s of broadcast that every station has to hear.
    pub solicit_rate: u32,
    /// As many of them at once after a rest; at least 1. 512: the first packets to a full segment.
    pub solicit_burst: u32,
    /// Whether to hand out [`super::Action::Learned`]: true when there are other workers.
    pub share_facts: bool,
}

impl Default for NeighbourConfig {
    fn default() -> Self {
        NeighbourConfig {
            max_entries: 8192,
            max_pending_per_entry: 64,
            max_pending_total: 512,
            reachable_time: Duration::from_secs(30),
            retrans_time: Duration::from_secs(1),
            delay_first_probe: Duration::from_secs(5),
            max_unicast_probes: 3,
            max_multicast_probes: 3,
            gc_stale_time: Duration::from_secs(60),
            gc_threshold: 128,
            evict_min_age: Duration::from_secs(5),
            arp_lock_time: Duration::from_secs(1),
            solicit_rate: 500,
            solicit_burst: 512,
            share_facts: true,
        }
    }
}

/// The configuration asks for something impossible: the operator's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {range}")]
pub struct ConfigError {
    /// The field of [`NeighbourConfig`].
    pub field: &'static str,
    /// What it may be, in words.
    pub range: &'static str,
}

impl NeighbourConfig {
    /// Refuses what the table cannot do.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        // A timer of nothing would fire again in the same moment, for ever; an hour to a year is beyond use but
        // harmless; more would overflow nothing either, since time saturates.
        let at_least_1ms = |time: Duration| time >= Duration::from_millis(1);
        let rules = [
            ("max_entries", (1..=MAX_NEIGHBOURS).contains(&self.max_entries), "1 to 65536"),
            (
                "max_pending_total",
                (1..=MAX_NEIGHBOUR_PENDING).contains(&self.max_pending_total),
                "1 to 65536",
            ),
            ("max_pending_per_entry", self.max_pending_per_entry >= 1, "at least 1"),
            ("reachable_time", at_least_1ms(self.reachable_time), "at least 1 ms"),
            ("retrans_time", at_least_1ms(self.retrans_time), "at least 1 ms"),
            ("delay_first_probe", at_least_1ms(self.delay_first_probe), "at least 1 ms"),
            ("gc_stale_time", at_least_1ms(self.gc_stale_time), "at least 1 ms"),
            ("max_unicast_probes", self.max_unicast_probes >= 1, "at least 1"),
            ("max_multicast_probes", self.max_multicast_probes >= 1, "at least 1"),
            ("solicit_rate", (1..=1_000_000).contains(&self.solicit_rate), "1 to 1000000 a second"),
            ("solicit_burst", (1..=1_000_000).contains(&self.solicit_burst), "1 to 1000000"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, range)) => Err(ConfigError { field, range }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_accepted_at_its_edge_and_refused_beyond() {
        let refused = |change: fn(&mut NeighbourConfig)| {
            let mut config = NeighbourConfig::default();
            change(&mut config);
            config.check().err().map(|error| error.field)
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|c| c.max_entries = MAX_NEIGHBOURS), None);
        assert_eq!(refused(|c| c.max_entries = MAX_NEIGHBOURS + 1), Some("max_entries"));
        assert_eq!(refused(|c| c.max_entries = 0), Some("max_entries"));
        assert_eq!(refused(|c| c.max_pending_total = MAX_NEIGHBOUR_PENDING), None);
        assert_eq!(refused(|c| c.max_pending_total = MAX_NEIGHBOUR_PENDING + 1), Some("max_pending_total"));
        assert_eq!(refused(|c| c.max_pending_total = 0), Some("max_pending_total"));
        assert_eq!(refused(|c| c.max_pending_per_entry = 0), Some("max_pending_per_entry"));
        assert_eq!(refused(|c| c.reachable_time = Duration::ZERO), Some("reachable_time"));
        assert_eq!(refused(|c| c.retrans_time = Duration::ZERO), Some("retrans_time"));
        assert_eq!(refused(|c| c.delay_first_probe = Duration::ZERO), Some("delay_first_probe"));
        assert_eq!(refused(|c| c.gc_stale_time = Duration::ZERO), Some("gc_stale_time"));
        assert_eq!(refused(|c| c.max_unicast_probes = 0), Some("max_unicast_probes"));
        assert_eq!(refused(|c| c.max_multicast_probes = 0), Some("max_multicast_probes"));
        assert_eq!(refused(|c| c.solicit_rate = 0), Some("solicit_rate"));
        assert_eq!(refused(|c| c.solicit_rate = 1_000_001), Some("solicit_rate"));
        assert_eq!(refused(|c| c.solicit_burst = 0), Some("solicit_burst"));
        assert_eq!(refused(|c| c.max_entries = 1), None);
    }
}
