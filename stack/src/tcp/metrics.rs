//! What connections learnt of the paths to their peers, kept for the next ones (RFC 9040 section 6; Linux's
//! `tcp_metrics`): round trip time, its variation, slow start threshold, window and reordering.
//!
//! A connection that ends hands in what it saw ([`Seen`]); one that begins gets a
//! [`PathMetrics`], in which zero means that nothing is known. The rules by which old and new are joined are
//! Linux's: times are taken over at once when they grow and follow slowly when they shrink, because an RTO
//! that is too short costs more than one that is too long.
//!
//! The table is bounded, four-way set-associative and keyed: a flood of destinations displaces entries, which
//! are learnt again, and nothing else. An entry is forgotten after an hour.

use super::recovery::PathMetrics;
use super::tuple::mapped;
use crate::Instant;
use crate::hash::hash2;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

/// How long an entry counts: Linux's `TCP_METRICS_TIMEOUT`.
pub const LIFETIME: Duration = Duration::from_secs(3600);

const WAYS: usize = 4;

/// How far a connection came with its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It never saw a loss: the threshold is still infinite.
    FirstSlowStart,
    /// In congestion avoidance, nothing lost: the window says what the path bears.
    Avoidance,
    /// In slow start after a loss, or in recovery: only the threshold says something.
    Recovering,
}

/// What a connection saw until its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Smoothed round trip time and its variation (RFC 6298); `None` when nothing was measured, or when the
    /// connection ended while its retransmission timer was backed off: then what was known is forgotten.
    pub round_trip: Option<(Duration, Duration)>,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Slow start threshold in segments.
    pub ssthresh: u32,
    /// Which of the two counts.
    pub phase: Phase,
    /// Reordering in segments, if the connection saw any.
    pub reordering: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    destination: Ipv6Addr,
    srtt_us: u32,
    rttvar_us: u32,
    ssthresh: u32,
    cwnd: u32,
    reordering: u32,
    /// When it was last learnt; [`Instant::NEVER`] for an empty place.
    learnt: Instant,
}

const EMPTY: Entry = Entry {
    destination: Ipv6Addr::UNSPECIFIED,
    srtt_us: 0,
    rttvar_us: 0,
    ssthresh: 0,
    cwnd: 0,
    reordering: 0,
    learnt: Instant::NEVER,
};

/// The metrics of one worker.
#[derive(Debug)]
pub struct MetricsCache {
    sets: Box<[[Entry; WAYS]]>,
    key: [u64; 2],
    keep_ssthresh: bool,
}

impl MetricsCache {
    /// Room for `entries`, rounded up to four times a power of two. `key` is random. `keep_ssthresh`:
    /// thresholds are remembered too (Linux leaves them away by default, `tcp_no_ssthresh_metrics_save`: one
    /// bad moment would slow down an hour of connections).
    pub fn new(entries: usize, key: [u64; 2], keep_ssthresh: bool) -> MetricsCache {
        let sets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        MetricsCache { sets: vec![[EMPTY; WAYS]; sets].into_boxed_slice(), key, keep_ssthresh }
    }

    /// What is known of the way to `destination`; `None` when nothing is.
    pub fn get(&self, destination: IpAddr, now: Instant) -> Option<PathMetrics> {
        let destination = mapped(destination);
        let set = self.sets.get(self.set(destination))?;
        let entry = set.iter().find(|entry| entry.is_for(destination, now))?;
        Some(PathMetrics {
            srtt: Duration::from_micros(u64::from(entry.srtt_us)),
            rttvar: Duration::from_micros(u64::from(entry.rttvar_us)),
            ssthresh: if self.keep_ssthresh { entry.ssthresh } else { 0 },
            cwnd: entry.cwnd,
            reordering: entry.reordering,
        })
    }

    /// A connection to `destination` ended.
    pub fn learn(&mut self, destination: IpAddr, seen: &Seen, now: Instant) {
        let destination = mapped(destination);
        let set = self.set(destination);
        let Some(set) = self.sets.get_mut(set) else { return };
        // The one of this destination, or an empty place, or the one that was learnt first.
        let way = set.iter().position(|entry| entry.is_for(destination, now)).or_else(|| {
            let age = |way: &usize| match set[*way].learnt {
                Instant::NEVER => Instant::ZERO,
                learnt => learnt,
            };
            let way = (0..WAYS).min_by_key(age)?;
            set[way] = Entry { destination, ..EMPTY };
            Some(way)
        });
        if let Some(entry) = way.and_then(|way| set.get_mut(way)) {
            entry.learn(seen);
            entry.learnt = now;
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.sets.fill([EMPTY; WAYS]);
    }

    fn set(&self, destination: Ipv6Addr) -> usize {
        let bits = destination.to_bits();
        hash2(bits as u64, (bits >> 64) as u64, self.key) as usize & (self.sets.len() - 1)
    }
}

impl Entry {
    fn is_for(&self, destination: Ipv6Addr, now: Instant) -> bool {
        self.learnt != Instant::NEVER && self.destination == destination && now.since(self.learnt) < LIFETIME
    }

    fn learn(&mut self, seen: &Seen) {
        match seen.round_trip {
            None => self.srtt_us = 0,
            Some((srtt, rttvar)) => self.learn_times(micros(srtt), micros(rttvar)),
        }
        match seen.phase {
            Phase::FirstSlowStart => {
                if self.ssthresh != 0 && seen.cwnd / 2 > self.ssthresh {
                    self.ssthresh = seen.cwnd / 2;
                }
                self.cwnd = self.cwnd.max(seen.cwnd);
            }
            Phase::Avoidance => {
                self.ssthresh = (seen.cwnd / 2).max(seen.ssthresh);
                self.cwnd = self.cwnd.midpoint(seen.cwnd);
            }
            Phase::Recovering => {
                self.cwnd = self.cwnd.midpoint(seen.ssthresh);
                if self.ssthresh != 0 {
                    self.ssthresh = self.ssthresh.max(seen.ssthresh);
                }
            }
        }
        if let Some(reordering) = seen.reordering {
            self.reordering = self.reordering.max(reordering);
        }
    }

    fn learn_times(&mut self, srtt: u32, rttvar: u32) {
        let difference = self.srtt_us.abs_diff(srtt);
        self.srtt_us = if self.srtt_us <= srtt { srtt } else { self.srtt_us - difference / 8 };
        let variation = (difference / 2).max(rttvar);
        self.rttvar_us = if variation >= self.rttvar_us {
            variation
        } else {
            self.rttvar_us - (self.rttvar_us - variation) / 4
        };
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const KEY: [u64; 2] = [21, 22];

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn host(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    fn millis(srtt: u64, rttvar: u64) -> Option<(Duration, Duration)> {
        Some((Duration::from_millis(srtt), Duration::from_millis(rttvar)))
    }

    const SEEN: Seen =
        Seen { round_trip: None, cwnd: 10, ssthresh: 0, phase: Phase::FirstSlowStart, reordering: None };

    #[test]
    fn longer_round_trips_are_taken_over_and_shorter_ones_count_an_eighth() {
        let mut cache = MetricsCache::new(64, KEY, false);
        assert_eq!(cache.get(host(1), at(0)), None);
        cache.learn(host(1), &Seen { round_trip: millis(80, 4), ..SEEN }, at(0));
        let first = cache.get(host(1), at(1)).unwrap();
        assert_eq!((first.srtt, first.cwnd), (Duration::from_millis(80), 10));
        cache.learn(host(1), &Seen { round_trip: millis(160, 4), ..SEEN }, at(1));
        assert_eq!(cache.get(host(1), at(1)).unwrap().srtt, Duration::from_millis(160));
        cache.learn(host(1), &Seen { round_trip: millis(80, 4), ..SEEN }, at(2));
        assert_eq!(cache.get(host(1), at(2)).unwrap().srtt, Duration::from_millis(150));
        // A connection that could not measure makes us forget.
        cache.learn(host(1), &SEEN, at(3));
        assert_eq!(cache.get(host(1), at(3)).unwrap().srtt, Duration::ZERO);
    }

    #[test]
    fn windows_and_thresholds_are_joined_by_phase() {
        let mut cache = MetricsCache::new(64, KEY, true);
        let mut after = |cwnd, ssthresh, phase| {
            cache.learn(host(1), &Seen { cwnd, ssthresh, phase, ..SEEN }, at(0));
            let known = cache.get(host(1), at(0)).unwrap();
            (known.cwnd, known.ssthresh)
        };
        assert_eq!(after(40, 0, Phase::FirstSlowStart), (40, 0));
        assert_eq!(after(20, 0, Phase::FirstSlowStart), (40, 0));
        assert_eq!(after(60, 20, Phase::Avoidance), (50, 30));
        assert_eq!(after(7, 90, Phase::Recovering), (70, 90));
        assert_eq!(after(300, 0, Phase::FirstSlowStart), (300, 150));
    }

    #[test]
    fn thresholds_stay_unused_unless_asked_for_and_reordering_only_grows() {
        let mut cache = MetricsCache::new(64, KEY, false);
        let seen = Seen { ssthresh: 30, phase: Phase::Avoidance, reordering: Some(9), ..SEEN };
        cache.learn(host(1), &seen, at(0));
        cache.learn(host(1), &Seen { reordering: Some(5), ..seen }, at(0));
        let known = cache.get(host(1), at(0)).unwrap();
        assert_eq!((known.ssthresh, known.reordering), (0, 9));
    }

    #[test]
    fn an_entry_is_forgotten_after_an_hour_and_a_flood_stays_within_the_table() {
        let mut cache = MetricsCache::new(64, KEY, false);
        cache.learn(host(1), &SEEN, at(0));
        assert!(cache.get(host(1), at(3599)).is_some());
        assert_eq!(cache.get(host(1), at(3600)), None);
        for number in 0..10_000 {
            cache.learn(host(number), &SEEN, at(4000));
            assert!(cache.get(host(number), at(4000)).is_some());
        }
        assert!((0..10_000).filter(|&number| cache.get(host(number), at(4000)).is_some()).count() <= 64);
        cache.flush();
        assert_eq!(cache.get(host(9_999), at(4000)), None);
    }
}
