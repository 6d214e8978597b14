//! How often everybody on a link may be asked: a bucket for each port, kept as one moment in time.
//!
//! This is the generic cell rate algorithm (ITU-T I.371): `ready` is when the bucket will be full again. Each
//! solicitation moves it one interval on; one that would move it more than the burst ahead of now is refused.

use crate::Instant;
use crate::limits::MAX_PORTS;
use crate::port::PortId;
use core::time::Duration;

pub(super) struct SolicitRate {
    ready: [Instant; MAX_PORTS],
    interval: Duration,
    burst: Duration,
}

impl SolicitRate {
    /// `rate` a second and `burst` at once, both at least 1.
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        SolicitRate { ready: [Instant::ZERO; MAX_PORTS], interval, burst: interval * burst }
    }

    /// Takes one solicitation out of the port's bucket, if there is one.
    #[must_use]
    pub(super) fn take(&mut self, port: PortId, now: Instant) -> bool {
        let ready = &mut self.ready[port.index()];
        let next = (*ready).max(now) + self.interval;
        let allowed = next.since(now) <= self.burst;
        if allowed {
            *ready = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_port_by_itself() {
        let [zero, one] = [0, MAX_PORTS - 1].map(|n| PortId::new(n).unwrap());
        let mut rate = SolicitRate::new(10, 3);
        let now = Instant::from_millis(5_000);
        let taken = |rate: &mut SolicitRate, port, now| (0..100).filter(|_| rate.take(port, now)).count();
        assert_eq!(taken(&mut rate, zero, now), 3);
        assert_eq!(taken(&mut rate, one, now), 3);
        assert_eq!(taken(&mut rate, zero, now + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut rate, zero, now + Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut rate, zero, now + Duration::from_secs(3600)), 3, "a rest fills it, no more");
    }
}
