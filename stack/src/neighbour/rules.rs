//! The rules of believing: what a fact may change in an entry. Pure: decided here, done in `table.rs`.
//!
//! Neighbour discovery follows RFC 4861 sections 7.2.3 and 7.2.5 and the tables of appendix C to the letter.
//! ARP has no such table; RFC 826 says to merge what is heard into an entry that exists and to make one only
//! when the packet is for us, and Linux's `arp_process` and `neigh_update` say how that meets the states.

use super::{Fact, FactKind, State};
use crate::MacAddr;

/// What the rules need to know of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) state: State,
    /// Meaningful in the states that have a link address.
    pub(super) mac: MacAddr,
    pub(super) router: bool,
    /// It changed less than the ARP lock time ago.
    pub(super) locked: bool,
}

/// What a fact is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing, and it is not news to anybody.
    Ignore,
    /// Make a STALE entry.
    Create { mac: MacAddr, router: bool },
    /// Set what is given, keep the rest. `next` is REACHABLE or STALE.
    Update { mac: Option<MacAddr>, next: Option<State>, router: bool },
}

/// Decides what `fact` changes for an entry that is `known`, or for none.
pub(super) fn decide(known: Option<Known>, fact: &Fact) -> Decision {
    // No station has a group address or zeros (RFC 1812 section 3.3.2: must not be believed in ARP).
    if fact.mac.is_some_and(|mac| !mac.is_station()) {
        return Decision::Ignore;
    }
    if known.is_some_and(|known| known.state == State::Permanent) {
        return Decision::Ignore;
    }
    match fact.kind {
        FactKind::ArpRequest { for_us, gratuitous } => arp(known, fact.mac, State::Stale, for_us, gratuitous),
        // Only an answer to us alone proves the way there and back; a broadcast one proves a sender.
        FactKind::ArpReply { to_us, gratuitous } => {
            let next = if to_us { State::Reachable } else { State::Stale };
            match known {
                Some(_) => arp(known, fact.mac, next, false, gratuitous),
                // RFC 826: an unexpected reply makes no entry, so nobody can fill the table with them.
                None => Decision::Ignore,
            }
        }
        FactKind::Duplicate => Decision::Ignore,
        FactKind::LinkAddressOption { router } => link_address_option(known, fact.mac, router),
        FactKind::Advertisement { solicited, overrides, router } => {
            advertisement(known, fact.mac, solicited, overrides, router)
        }
    }
}

fn arp(known: Option<Known>, mac: Option<MacAddr>, next: State, for_us: bool, gratuitous: bool) -> Decision {
    let Some(mac) = mac else { return Decision::Ignore };
    let Some(known) = known else {
        // RFC 826: "Am I the target protocol address?" Whoever asks for us is about to talk to us.
        return if for_us { Decision::Create { mac, router: false } } else { Decision::Ignore };
    };
    let Known { state, mac: old, router, locked } = known;
    if !state.has_link_address() {
        Decision::Update { mac: Some(mac), next: Some(next), router }
    } else if mac == old {
        // What we know is said again: a reply to us confirms it; anything else changes nothing.
        Decision::Update { mac: None, next: (next == State::Reachable).then_some(next), router }
    } else if for_us || gratuitous || !locked {
        Decision::Update { mac: Some(mac), next: Some(next), router }
    } else {
        // Several stations answer, or a proxy does too: for a moment the first answer holds (Linux locktime).
        Decision::Ignore
    }
}

/// RFC 4861 section 7.2.3 for solicitations, and the same words in 6.2.6, 6.3.4 and 8.3.
fn link_address_option(known: Option<Known>, mac: Option<MacAddr>, says: Option<bool>) -> Decision {
    let Some(mac) = mac else { return Decision::Ignore };
    let Some(Known { state, mac: old, router, .. }) = known else {
        return Decision::Create { mac, router: says.unwrap_or(false) };
    };
    let router = says.unwrap_or(router);
    if state.has_link_address() && mac == old {
        Decision::Update { mac: None, next: None, router }
    } else {
        Decision::Update { mac: Some(mac), next: Some(State::Stale), router }
    }
}

/// RFC 4861 section 7.2.5, in the order of its paragraphs.
fn advertisement(
    known: Option<Known>,
    mac: Option<MacAddr>,
    solicited: bool,
    overrides: bool,
    router: bool,
) -> Decision {
    // No entry: nothing to update, and no reason to make one.
    let Some(known) = known else { return Decision::Ignore };
    match known.state {
        // The RFC deleted these entries (or never made them): no entry, as above. Linux skips FAILED likewise.
        State::New | State::Failed | State::Permanent => Decision::Ignore,
        // An Ethernet address is needed, and without the option there is none. Override does not matter.
        State::Incomplete => match mac {
            None => Decision::Ignore,
            Some(_) => {
                let next = if solicited { State::Reachable } else { State::Stale };
                Decision::Update { mac, next: Some(next), router }
            }
        },
        State::Reachable | State::Stale | State::Delay | State::Probe | State::Unreachable => {
            let differs = mac.is_some_and(|mac| mac != known.mac);
            if !overrides && differs {
                // I. It may be a proxy's: do not believe it, but begin to doubt what we believed.
                return if known.state == State::Reachable {
                    Decision::Update { mac: None, next: Some(State::Stale), router: known.router }
                } else {
                    Decision::Ignore
                };
            }
            // II. Believe it.
            let next = if solicited {
                Some(State::Reachable)
            } else if differs {
                Some(State::Stale)
            } else {
                None
            };
            Decision::Update { mac: if differs { mac } else { None }, next, router }
        }
    }
}
