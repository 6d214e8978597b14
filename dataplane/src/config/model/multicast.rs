//! Multicast routing in types. Static routes and the querier's times are the stack's own
//! ([`flumen_stack::multicast`]).

use flumen_stack::PortId;
use flumen_stack::multicast::MulticastRoute;
use flumen_stack::multicast::querier::QuerierConfig;

/// `[multicast]` and the `[[multicast_route]]`s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Multicast {
    /// Ports on which we are a router of groups: we ask there, and forward what is wanted there.
    pub downstream: Vec<PortId>,
    /// The port on which we report, as a host, what is wanted on the others.
    pub upstream: Option<PortId>,
    /// How is asked.
    pub querier: QuerierConfig,
    /// Static routes.
    pub routes: Vec<MulticastRoute>,
}

impl Multicast {
    /// True when groups are routed at all.
    pub fn is_on(&self) -> bool {
        !self.downstream.is_empty() || !self.routes.is_empty()
    }
}
