//! Neighbours: who is on the link, at which Ethernet address, and can they be reached now.
//!
//! One machine, Neighbour Unreachability Detection (NUD), serves both families; ARP and neighbour discovery
//! are two vocabularies for the same conversation. Read RFC 4861 sections 7.2, 7.3 and appendix C, RFC 826 and
//! RFC 1122 section 2.3.2, and RFC 7048; where they leave room we behave as Linux does.
//!
//! ```text
//!             packet            answer (solicited)              no packet: reachable_time passes
//!   NEW ---------------> INCOMPLETE -----------> REACHABLE --------------------------------> STALE
//!    ^ bind                |   ^  \ heard without asking  ^  ^                              |  ^  \ gc_stale_time
//!                          |   |   `--------------------- | -|------------------------------|--'   `--> gone
//!   no answer to 3 asked   |   | packet                   |  |  answer or upper-layer hint  | packet
//!   of everybody           v   |                          |  |                              v
//!                         FAILED <----------- PROBE ------'  `---------------------------- DELAY
//!                          |  ^  no answer to 3  ^   |                                      |
//!                          |  |  of IPv4         |   | no answer to 3 of IPv6               |
//!                  gone <--'  |                  |   v                                      |
//!                             `--- UNREACHABLE <-|---'                                      |
//!                    no answer to 5, or no packet `-----------------------------------------' 5 s
//!   UNREACHABLE: packets go on, and everybody is asked at once and 1, 3, 9, 27 s later each (RFC 7048).
//!   PERMANENT: set by configuration; no packet and no timer changes it.
//! ```
//!
//! How a caller uses it
//! ```text
//!   route lookup -> bind(port, next hop) -> id, kept in the route cache
//!   per packet:     link_header(id) -> Some(14 bytes): copy them in front and transmit   (no side effect)
//!                                   -> None: output(id, frame): Send | Queued | Drop | Rebind
//!   ARP / ND input: arp_request, arp_reply, ns, na, redirect; from another worker: learn(fact)
//!   end of turn:    expire(now, budget), then next_action() until None: Solicit, Release, Unreachable, ...
//! ```
//!
//! Invariants
//! 1. Sizes are fixed at construction; afterwards nothing allocates. A table in trouble refuses, with a reason.
//! 2. A frame that was given to `output` comes back exactly once: sent, released, unreachable or dropped.
//! 3. Frames wait only for INCOMPLETE neighbours.
//! 4. `link_header` answers only in states where sending has no side effect; timers, not clock compares on the
//!    packet path, take the header away.
//! 5. An id never names another neighbour than the one it was made for, within one [`NeighbourTable::epoch`].
//! 6. PERMANENT neighbours are neither evicted nor changed by packets; traffic's new neighbours never push out
//!    REACHABLE, DELAY, PROBE or INCOMPLETE ones.

mod action;
mod config;
mod counters;
mod deadlines;
mod fact;
mod id;
mod index;
mod info;
mod link;
mod lists;
mod pending;
mod rate;
mod rules;
mod table;

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod properties;

pub use action::{Action, Learned, Output, Solicit, SolicitTo};
pub use config::{ConfigError, NeighbourConfig};
pub use counters::NeighbourCounters;
pub use fact::{Fact, FactKind};
pub use id::NeighbourId;
pub use info::{NeighbourInfo, State};
pub use link::{group_mac, is_neighbour_address, solicited_node};
pub use table::NeighbourTable;
