//! IPv4 options (row P3; RFC 791 section 3.1, RFC 1122 section 3.2.1.8, RFC 1812 sections 4.2.2.1, 5.2.4 and 5.3.13,
//! RFC 2113), as Linux does by default.
//!
//! ```text
//!   input ── route ─┬─ forward ─> check ─> TTL, MTU ─> record: our address and time, where the option asks
//!                   └─ local ───> check ─> echo reply: record twice, on the way in and on the way out
//! ```
//!
//! [`check`] only looks: what is malformed is answered with a parameter problem that points at the fault, source
//! routes are refused (RFC 7126 section 4.3; Linux's accept_source_route = 0) without a word. [`record`] changes, and cannot
//! fail for options that passed the check. Router alert is for whoever registered; nobody can, so it passes.
//!
//! ```text
//!   record route   |  7 | length | pointer | address ...                    pointer: 4 is the first byte of room
//!   timestamp      | 68 | length | pointer | overflow, flag | [address] time ...
//! ```

use super::HEADER_LEN;
use super::input::Arrival;
use crate::frame::FramePool;
use crate::icmp::v4;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::ipv4::option;
use core::net::Ipv4Addr;

/// The most that options take in a header, in bytes.
pub(crate) const MAX_LEN: usize = 40;

/// Flags of the timestamp option: times alone; each with its address; only at the addresses that the sender named.
const TIME_ONLY: u8 = 0;
const TIME_AND_ADDRESS: u8 = 1;
const NAMED_ADDRESSES: u8 = 3;

/// The highest count of hops that found no room for their time.
const MAX_OVERFLOW: u8 = 15;

/// What is wrong with the options of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: DropReason,
    /// Where the fault is, in bytes from the start of the header; `None` for what is refused without a word.
    pub(crate) pointer: Option<u8>,
}

/// The time of a timestamp option.
///
/// Milliseconds since midnight UT, or, from a node that does not know the time of day, any number with the high bit
/// set (RFC 791 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) u32);

/// True when a packet may go on with the options that it has. Else it ended here, counted and answered.
#[cold]
pub(crate) fn pass<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &Arrival<P::Frame>,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    let header_len = arrival.frame.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Err(fault) = check(arrival.frame.get(HEADER_LEN..header_len).unwrap_or_default()) else {
        return true;
    };
    stack.drop_received(arrival.port, fault.reason);
    if let Some(pointer) = fault.pointer {
        let error = v4::Error::parameter_problem(pointer);
        v4::send_error(stack, turn, &arrival.frame, (arrival.port, arrival.cast), error);
    }
    false
}

/// Looks at the options of a header, which are the bytes behind its first 20.
pub(crate) fn check(options: &[u8]) -> Result<(), Fault> {
    let (mut at, mut seen) = (0, [false; 3]);
    while let Some((kind, len)) = next(options, &mut at)? {
        let one = &options[at..at + len];
        let wrong = |offset: usize| Err(fault(at + offset));
        // Each of these at most once (RFC 1812 section 5.2.4.1 for source routes; Linux for all three).
        let once = match kind {
            option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE => Some(0),
            option::RECORD_ROUTE => Some(1),
            option::TIMESTAMP => Some(2),
            _ => None,
        };
        if once.is_some_and(|which| core::mem::replace(&mut seen[which], true)) {
            return wrong(0);
        }
        match (kind, one) {
            (option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE | option::RECORD_ROUTE, [_, _]) => {
                return wrong(1);
            }
            (option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE, [_, _, pointer, ..])
                if *pointer < 4 =>
            {
                return wrong(2);
            }
            (option::RECORD_ROUTE, [_, _, pointer, ..]) => {
                let pointer = usize::from(*pointer);
                if pointer < 4 || (pointer <= len && pointer + 3 > len) {
                    return wrong(2);
                }
            }
            (option::TIMESTAMP, [_, _, pointer, state, ..]) => {
                let (pointer, flag) = (usize::from(*pointer), state & 15);
                let wanted = if matches!(flag, TIME_AND_ADDRESS | NAMED_ADDRESSES) { 7 } else { 3 };
                if pointer < 5 || (pointer <= len && pointer + wanted > len) {
                    return wrong(2);
                }
                // Full, and the count of those who found it full is full as well (RFC 791).
                if pointer > len && flag != NAMED_ADDRESSES && state >> 4 == MAX_OVERFLOW {
                    return wrong(3);
                }
            }
            (option::TIMESTAMP, _) => return wrong(1),
            (option::ROUTER_ALERT, _) if len < 4 => return wrong(1),
            _ => {}
        }
        at += len;
    }
    // Only when nothing else is wrong, as Linux: a malformed header is the greater fault.
    if seen[0] { Err(Fault { reason: DropReason::Ipv4OptionRefused, pointer: None }) } else { Ok(()) }
}

/// Writes our address and the time where options that passed the check ask for them. `is_ours` says whether an
/// address that the sender named is one of this node's. True when something was changed: the header's checksum is
/// then to be made again.
pub(crate) fn record(
    options: &mut [u8],
    address: Ipv4Addr,
    time: Timestamp,
    is_ours: impl Fn(Ipv4Addr) -> bool,
) -> bool {
    let (mut at, mut changed) = (0, false);
    while let Ok(Some((kind, len))) = next(options, &mut at) {
        let Some(one) = options.get_mut(at..at + len) else { break };
        changed |= match kind {
            option::RECORD_ROUTE => put(one, 0, &address.octets()),
            option::TIMESTAMP => stamp(one, address, time, &is_ours),
            _ => false,
        };
        at += len;
    }
    changed
}

/// The options of the reply to an echo request (RFC 1122 section 3.2.2.6, RFC 1812 section 4.3.3.6): recorded routes
/// and times go on in it, ours in them twice, on the way in and on the way out, as Linux has it. Written to the front
/// of `into`, padded; returns their length. `options` passed the check.
pub(crate) fn reply(
    options: &[u8],
    into: &mut [u8; MAX_LEN],
    address: Ipv4Addr,
    time: Timestamp,
    is_ours: impl Fn(Ipv4Addr) -> bool,
) -> usize {
    let mut len = 0;
    // Route first, then times, in whatever order they came: as Linux.
    for wanted in [option::RECORD_ROUTE, option::TIMESTAMP] {
        let mut at = 0;
        while let Ok(Some((kind, one))) = next(options, &mut at) {
            if kind == wanted
                && let (Some(from), Some(room)) = (options.get(at..at + one), into.get_mut(len..len + one))
            {
                room.copy_from_slice(from);
                len += one;
            }
            at += one;
        }
    }
    for _there_and_back in 0..2 {
        record(&mut into[..len], address, time, &is_ours);
    }
    let padded = len.next_multiple_of(4).min(MAX_LEN);
    into[len..padded].fill(option::END);
    padded
}

/// One more entry of a timestamp option, or one more hop that found no room.
fn stamp(one: &mut [u8], address: Ipv4Addr, time: Timestamp, is_ours: impl Fn(Ipv4Addr) -> bool) -> bool {
    let &mut [_, len, pointer, ref mut state, ..] = one else { return false };
    let flag = *state & 15;
    if pointer > len {
        if flag == NAMED_ADDRESSES || *state >> 4 == MAX_OVERFLOW {
            return false;
        }
        *state += 1 << 4;
        return true;
    }
    let [a, b, c, d] = address.octets();
    let [e, f, g, h] = time.0.to_be_bytes();
    match flag {
        TIME_ONLY => put(one, 0, &[e, f, g, h]),
        TIME_AND_ADDRESS => put(one, 0, &[a, b, c, d, e, f, g, h]),
        NAMED_ADDRESSES => {
            let at = usize::from(pointer).saturating_sub(1);
            let named = one.get(at..).and_then(<[u8]>::first_chunk::<4>).copied();
            named.is_some_and(|named| is_ours(Ipv4Addr::from_octets(named))) && put(one, 4, &[e, f, g, h])
        }
        _ => false,
    }
}

/// Writes at the pointer of an option, behind `skip` bytes that stay, and moves the pointer; false when it does not fit.
fn put(one: &mut [u8], skip: usize, bytes: &[u8]) -> bool {
    let Some(&pointer) = one.get(2) else { return false };
    let Some(at) = usize::from(pointer).checked_sub(1) else { return false };
    let Some(room) = one.get_mut(at + skip..at + skip + bytes.len()) else { return false };
    room.copy_from_slice(bytes);
    one[2] = pointer.saturating_add((skip + bytes.len()) as u8);
    true
}

/// The kind and length of the next option from `at` on, other than padding; `at` is moved to it.
fn next(options: &[u8], at: &mut usize) -> Result<Option<(u8, usize)>, Fault> {
    while let Some(&kind) = options.get(*at) {
        match kind {
            option::END => return Ok(None),
            option::NOP => *at += 1,
            _ => {
                return match options.get(*at + 1) {
                    Some(&len) if len >= 2 && *at + usize::from(len) <= options.len() => {
                        Ok(Some((kind, usize::from(len))))
                    }
                    _ => Err(fault(*at)),
                };
            }
        }
    }
    Ok(None)
}

const fn fault(at: usize) -> Fault {
    Fault { reason: DropReason::Ipv4BadOption, pointer: Some((HEADER_LEN + at) as u8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const US: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
    const NOON: Timestamp = Timestamp(0x0293_2e00);

    fn pointer(options: &[u8]) -> Option<u8> {
        check(options).unwrap_err().pointer
    }

    fn recorded(mut options: Vec<u8>) -> Vec<u8> {
        assert_eq!(check(&options), Ok(()));
        record(&mut options, US, NOON, |address| address == US);
        options
    }

    #[test]
    fn what_is_malformed_is_pointed_at() {
        assert_eq!(check(&[1, 1, 1, 0]), Ok(()));
        assert_eq!(pointer(&[1, 1, 1, 7]), Some(23), "no length");
        assert_eq!(pointer(&[7, 9, 4, 0]), Some(20), "longer than the header");
        assert_eq!(pointer(&[7, 1, 4, 0]), Some(20), "shorter than itself");
        assert_eq!(pointer(&[7, 2, 1, 0]), Some(21), "no pointer");
        assert_eq!(pointer(&[7, 7, 3, 0, 0, 0, 0, 0]), Some(22), "a pointer into itself");
        assert_eq!(pointer(&[7, 7, 5, 0, 0, 0, 0, 0]), Some(22), "room for less than an address");
        assert_eq!(pointer(&[7, 3, 4, 7, 3, 4, 0, 0]), Some(23), "twice");
        assert_eq!(pointer(&[68, 3, 5, 0]), Some(21));
        assert_eq!(pointer(&[68, 8, 4, 0, 0, 0, 0, 0]), Some(22));
        assert_eq!(pointer(&[68, 8, 5, 1, 0, 0, 0, 0]), Some(22), "room for a time, but not for the address");
        assert_eq!(pointer(&[68, 8, 9, 0xf0, 0, 0, 0, 0]), Some(23), "the sixteenth without room");
        assert_eq!(pointer(&[148, 3, 0, 0]), Some(21), "router alert without a value");
        assert_eq!(check(&[148, 4, 0, 0]), Ok(()));
        assert_eq!(check(&[130, 4, 0, 0]), Ok(()), "what nobody knows passes");
    }

    #[test]
    fn source_routes_are_refused_without_a_word_unless_something_worse_is_wrong() {
        for kind in [131, 137] {
            let refused = Fault { reason: DropReason::Ipv4OptionRefused, pointer: None };
            assert_eq!(check(&[kind, 7, 4, 1, 2, 3, 4, 0]), Err(refused));
            assert_eq!(pointer(&[kind, 2, 1, 1]), Some(21));
            assert_eq!(pointer(&[kind, 7, 3, 1, 2, 3, 4, 0]), Some(22));
            assert_eq!(pointer(&[kind, 3, 4, 131, 3, 4, 0, 0]), Some(23), "two of them");
        }
    }

    #[test]
    fn a_route_is_recorded_until_it_is_full() {
        let once = recorded(vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(once, [7, 11, 8, 10, 0, 1, 1, 0, 0, 0, 0, 0]);
        let twice = recorded(once);
        assert_eq!(twice, [7, 11, 12, 10, 0, 1, 1, 10, 0, 1, 1, 0]);
        assert_eq!(recorded(twice.clone()), twice);
    }

    #[test]
    fn a_time_is_stamped_as_its_flag_says() {
        assert_eq!(recorded(vec![68, 8, 5, 0, 0, 0, 0, 0]), [68, 8, 9, 0, 2, 0x93, 0x2e, 0]);
        let with_address = recorded(vec![68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(with_address, [68, 12, 13, 1, 10, 0, 1, 1, 2, 0x93, 0x2e, 0]);
        let named = recorded(vec![68, 12, 5, 3, 10, 0, 1, 1, 0, 0, 0, 0]);
        assert_eq!(named, [68, 12, 13, 3, 10, 0, 1, 1, 2, 0x93, 0x2e, 0]);
        let others = vec![68, 12, 5, 3, 10, 0, 1, 2, 0, 0, 0, 0];
        assert_eq!(recorded(others.clone()), others, "somebody else is asked");
        assert_eq!(recorded(vec![68, 4, 5, 0x00]), [68, 4, 5, 0x10], "no room: counted");
        assert_eq!(
            recorded(vec![68, 4, 5, 0xf3]),
            [68, 4, 5, 0xf3],
            "those who were not asked are not counted"
        );
    }

    #[test]
    fn the_reply_carries_route_and_times_on_with_us_in_them_twice() {
        let request = [148, 4, 0, 0, 7, 15, 8, 10, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mut options = [0xff; MAX_LEN];
        let len = reply(&request, &mut options, US, NOON, |_| true);
        assert_eq!(&options[..len], [7, 15, 16, 10, 9, 9, 9, 10, 0, 1, 1, 10, 0, 1, 1, 0]);
        assert_eq!(reply(&[1, 1, 148, 4, 0, 0, 0, 0], &mut options, US, NOON, |_| true), 0);
    }

    /// A list of options, most of them well made: of a kind, with so much room, and a byte of state.
    fn list(parts: &[(usize, u8, u8)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(kind, room, state) in parts {
            let one = match kind {
                0 => vec![option::NOP],
                1 => vec![option::ROUTER_ALERT, 4, 0, 0],
                2 => vec![0x88, 4, state, state],
                3 => [
                    &[option::RECORD_ROUTE, 3 + room / 2 * 4, 4 + state % 4 * 4][..],
                    &vec![0; usize::from(room / 2) * 4],
                ]
                .concat(),
                _ => [
                    &[option::TIMESTAMP, 4 + room / 3 * 8, 5 + state % 3 * 8, state][..],
                    &vec![0; usize::from(room / 3) * 8],
                ]
                .concat(),
            };
            if bytes.len() + one.len() <= MAX_LEN {
                bytes.extend(one);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn recording_keeps_every_option_in_its_place_and_valid(
            parts in prop::collection::vec((0usize..6, 0u8..10, any::<u8>()), 0..6),
        ) {
            let bytes = list(&parts);
            prop_assume!(check(&bytes).is_ok());
            let mut after = bytes.clone();
            let changed = record(&mut after, US, NOON, |_| true);
            prop_assert_eq!(changed, after != bytes);
            let shape = |bytes: &[u8]| {
                let (mut at, mut found) = (0, Vec::new());
                while let Ok(Some((kind, len))) = next(bytes, &mut at) {
                    found.push((at, kind, len));
                    at += len;
                }
                found
            };
            prop_assert_eq!(shape(&bytes), shape(&after));
            let mut options = [0; MAX_LEN];
            let len = reply(&bytes, &mut options, US, NOON, |_| true);
            prop_assert!(len <= bytes.len().next_multiple_of(4) && len % 4 == 0);
        }
    }
}
