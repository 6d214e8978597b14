//! Who asks on a link (RFC 9776 sections 6.6 and 8, RFC 9777 sections 7.6 and 9): the router with the lowest address.
//!
//! ```text
//!   start ──> querier: general queries, the first few in quick succession
//!               │ hears a query from a lower address        ▲ the other was silent for long enough
//!               └──────────────> silent ────────────────────┘
//! ```
//!
//! Who does not ask takes the robustness and the interval of the one who does (RFC 9776 sections 4.1.6 and 4.1.7), so
//! that all routers forget at the same time.

use super::membership::Times;
use crate::time::Instant;
use core::net::IpAddr;
use core::time::Duration;

/// How often is asked, and how long answers may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuerierConfig {
    /// Messages of which one may be lost: how often things are said (RFC 9776 section 8.1), 1 to 7.
    pub robustness: u8,
    /// Between two general queries (section 8.2).
    pub interval: Duration,
    /// Within which hosts answer them (section 8.3).
    pub response: Duration,
    /// Within which hosts answer when somebody leaves (section 8.8).
    pub last_member: Duration,
    /// The version of IGMP that is spoken: 2 or 3.
    pub igmp: u8,
    /// The version of MLD: 1 or 2.
    pub mld: u8,
}

impl Default for QuerierConfig {
    /// The defaults of RFC 9776 and RFC 9777, and the newest versions.
    fn default() -> Self {
        QuerierConfig {
            robustness: 2,
            interval: Duration::from_secs(125),
            response: Duration::from_secs(10),
            last_member: Duration::from_secs(1),
            igmp: 3,
            mld: 2,
        }
    }
}

/// Whether we ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We do.
    Querier,
    /// Another router does.
    Other {
        /// It.
        address: IpAddr,
        /// It is believed to be there until then.
        until: Instant,
    },
}

/// One link in one family.
#[derive(Debug, Clone, Copy)]
pub struct Querier {
    config: QuerierConfig,
    /// As the querier says, if another one is.
    robustness: u8,
    interval: Duration,
    /// Who asks.
    pub role: Role,
    /// When a general query is sent next.
    general_at: Instant,
    /// General queries that are still to follow quickly.
    quick: u8,
}

impl Querier {
    /// One that begins to ask at once.
    pub fn new(config: QuerierConfig) -> Querier {
        let QuerierConfig { robustness, interval, .. } = config;
        let (role, general_at) = (Role::Querier, Instant::ZERO);
        Querier { config, robustness, interval, role, general_at, quick: robustness }
    }

    /// How often things are said.
    pub fn robustness(&self) -> u8 {
        self.robustness
    }

    /// Between two general queries.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Within which hosts answer general queries.
    pub fn response(&self) -> Duration {
        self.config.response
    }

    /// Within which hosts answer when somebody leaves.
    pub fn last_member(&self) -> Duration {
        self.config.last_member
    }

    /// The version that is spoken, as IGMP counts.
    pub fn version(&self, v6: bool) -> u8 {
        if v6 { self.config.mld + 1 } else { self.config.igmp }
    }

    /// How long things are believed on this link.
    pub fn times(&self) -> Times {
        let robust = u32::from(self.robustness);
        let membership = self.interval * robust + self.config.response;
        let last_member = self.config.last_member * robust;
        Times { membership, last_member, older_host: membership, asks: self.role == Role::Querier }
    }

    /// Another router asked; `ours` is the address that we would ask from. What it says of its robustness and interval
    /// counts when it is the querier; zero says nothing.
    pub fn on_query(&mut self, now: Instant, from: IpAddr, ours: IpAddr, robustness: u8, interval: Duration) {
        // Switches ask from 0.0.0.0 (RFC 4541 section 2.1.1 1 b); they are no routers, and never win.
        if from.is_unspecified() || from >= ours {
            return;
        }
        self.robustness = if robustness == 0 { self.config.robustness } else { robustness };
        self.interval = if interval.is_zero() { self.config.interval } else { interval };
        // Section 8.5: other querier present interval.
        let present = self.interval * u32::from(self.robustness) + self.config.response / 2;
        self.role = Role::Other { address: from, until: now + present };
    }

    /// True when a general query is due, which is then counted as sent.
    pub fn tick(&mut self, now: Instant) -> bool {
        if let Role::Other { until, .. } = self.role {
            if until > now {
                return false;
            }
            let QuerierConfig { robustness, interval, .. } = self.config;
            *self = Querier { robustness, interval, role: Role::Querier, general_at: now, quick: 0, ..*self };
        }
        if self.general_at > now {
            return false;
        }
        // Section 8.6 and 8.7: at the beginning, a quarter of the interval apart.
        let pause = if self.quick > 1 { self.interval / 4 } else { self.interval };
        self.quick = self.quick.saturating_sub(1);
        self.general_at = now + pause;
        true
    }

    /// When [`Querier::tick`] has something to do.
    pub fn deadline(&self) -> Instant {
        match self.role {
            Role::Querier => self.general_at,
            Role::Other { until, .. } => until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// The seconds at which it asks until then.
    fn asks(querier: &mut Querier, from: u64, to: u64) -> Vec<u64> {
        (from..to).filter(|second| querier.tick(at(*second))).collect()
    }

    #[test]
    fn it_asks_quickly_at_first_and_then_at_its_interval() {
        let mut querier = Querier::new(QuerierConfig::default());
        assert_eq!(asks(&mut querier, 0, 400), [0, 32, 157, 282]);
    }

    #[test]
    fn a_lower_address_silences_it_until_it_is_not_heard_for_long_enough() {
        let mut querier = Querier::new(QuerierConfig::default());
        let heard = |querier: &mut Querier, second, from, robustness, interval| {
            querier.on_query(at(second), from, address(5), robustness, Duration::from_secs(interval));
        };
        heard(&mut querier, 0, address(9), 2, 125);
        heard(&mut querier, 0, IpAddr::from([0; 4]), 2, 125);
        assert_eq!(querier.role, Role::Querier, "higher, or nobody");
        heard(&mut querier, 0, address(1), 3, 60);
        assert_eq!(querier.role, Role::Other { address: address(1), until: at(185) });
        assert_eq!(querier.times().membership, Duration::from_secs(190), "it takes the other's figures");
        assert_eq!(asks(&mut querier, 0, 320), [185, 310], "and its own again when it asks");
        assert_eq!(querier.times().membership, Duration::from_secs(260));
    }
}
