//! IPv4 options (row P3; RFC 791 section 3.1, RFC 1122 section 3.2.1.8, RFC 1812 sections 4.2.2.1, 5.2.4 and 5.3.13,
//! RFC 2113), as Linux does by default.
//!
//! ```text
//!   input ── route ─┬─ forward ─> check ─> TTL, MTU ─> record: our address and time, where the option asks
//!                   └─ local ───> check ─> record: as above, for sockets and ICMP to see ─> echo reply: once more
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
use crate::checksum;
use crate::frame::{Frame, FramePool};
use crate::icmp::v4;
use crate::socket::{Error, IpOptions};
use crate::stack::Stack;
use crate::time::Instant;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::ipv4::option;
use core::net::{IpAddr, Ipv4Addr};

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

/// The same for a packet that is for us: what it asks for is recorded before sockets and ICMP see it (RFC 1122 section
/// 3.2.1.8: the destination adds its time before it passes the option on), once it is whole.
#[cold]
pub(crate) fn take<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: &mut Arrival<P::Frame>,
    whole: bool,
) -> bool
where
    P: FramePool,
    M: Probe,
{
    if !pass(stack, turn, arrival) {
        return false;
    }
    if whole {
        // To one of many: the address that we would answer from.
        let Arrival { source, destination, port, .. } = *arrival;
        let ours = stack.is_local4(destination);
        let address = if ours { destination } else { stack.address_to_record(port, source) };
        record_in(stack, turn.now, &mut arrival.frame, address);
    }
    true
}

/// Records `address` and the time where the options of a packet ask for them, and makes the header's checksum again.
#[cold]
pub(super) fn record_in<F: Frame>(stack: &Stack<F>, now: Instant, frame: &mut F, address: Ipv4Addr) {
    let header_len = frame.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(header) = frame.get_mut(..header_len) else { return };
    let Some(list) = header.get_mut(HEADER_LEN..) else { return };
    if record(list, address, stack.timestamp(now), |named| stack.is_local4(named)) {
        header[10..12].fill(0);
        let sum = checksum::sum(header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
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
fn record(
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
/// and times go on in it; ours were recorded on the way in, and are once more on the way out, as Linux has it. Written to
/// the front of `into`, padded; returns their length. `options` passed the check.
pub(crate) fn reply(
    options: &[u8],
    into: &mut [u8; MAX_LEN],
    address: Ipv4Addr,
    time: Timestamp,
    is_ours: impl Fn(Ipv4Addr) -> bool,
) -> usize {
    let len = collect(options, into, &[option::RECORD_ROUTE, option::TIMESTAMP]);
    record(&mut into[..len], address, time, &is_ours);
    pad(into, len)
}

impl<F: Frame> Stack<F> {
    /// What to send with the answer to a datagram that came with `received` (IP_RETOPTS; `ip_options_echo` and `ip_options_undo`
    /// of Linux): the recorded route and times, with the next place in them empty, and a label of CIPSO. `None`: that place
    /// is too short to be one.
    pub fn options_to_return(&self, received: &IpOptions) -> Option<IpOptions> {
        let mut possible = true;
        let found = IpOptions::written(|into| {
            let len = to_return(received, into, |named| self.is_local4(named));
            possible = len.is_some();
            len.unwrap_or(0)
        });
        possible.then_some(found)
    }
}

/// What kinds of options only who may send raw packets may ask for: those that mean something to the network, and those that nobody
/// here knows (`__ip_options_compile` of Linux).
fn needs_privilege(kind: u8, one: &[u8]) -> bool {
    match (kind, one) {
        (option::RECORD_ROUTE | option::ROUTER_ALERT, _) => false,
        (option::TIMESTAMP, [_, _, pointer, state, ..]) => {
            usize::from(*pointer) <= one.len()
                && !matches!(state & 15, TIME_ONLY | TIME_AND_ADDRESS | NAMED_ADDRESSES)
        }
        _ => true,
    }
}

/// [`Stack::options_to_send`].
fn to_send(
    options: &[u8],
    into: &mut [u8; MAX_LEN],
    is_privileged: bool,
    is_ours: impl Fn(Ipv4Addr) -> bool,
) -> Result<usize, Error> {
    let room = into.get_mut(..options.len()).ok_or(Error::InvalidArgument)?;
    room.copy_from_slice(options);
    let len = pad(into, options.len());
    let list = &mut into[..len];
    check(list).map_err(|_fault| Error::InvalidArgument)?;
    let mut at = 0;
    while let Ok(Some((kind, one))) = next(list, &mut at) {
        let one = list.get_mut(at..at + one).ok_or(Error::InvalidArgument)?;
        if !is_privileged && needs_privilege(kind, one) {
            return Err(Error::InvalidArgument);
        }
        if matches!(kind, option::RECORD_ROUTE | option::TIMESTAMP) {
            empty_next_place(one, &is_ours).ok_or(Error::InvalidArgument)?;
        }
        at += one.len();
    }
    // What stands behind the end is nothing.
    if let Some(rest) = list.get_mut(at..) {
        rest.fill(option::END);
    }
    Ok(len)
}

/// Writes down who sends a packet, and when, where its options ask for that and have room (`ip_options_build` of Linux).
fn depart(options: &mut [u8], address: Ipv4Addr, time: Timestamp, is_ours: impl Fn(Ipv4Addr) -> bool) {
    let mut at = 0;
    while let Ok(Some((kind, len))) = next(options, &mut at) {
        let Some(one) = options.get_mut(at..at + len) else { return };
        let has_room = one.get(2).is_some_and(|pointer| usize::from(*pointer) <= len);
        match kind {
            option::RECORD_ROUTE if has_room => {
                put(one, 0, &address.octets());
            }
            option::TIMESTAMP if has_room => {
                stamp(one, address, time, &is_ours);
            }
            _ => {}
        }
        at += len;
    }
}

impl<F: Frame> Stack<F> {
    /// The options that a program asks to send its datagrams with (IP_OPTIONS, and IP_RETOPTS of one datagram; `ip_options_get` of
    /// Linux), padded, with the next place of routes and times empty. Who is privileged may send options of every kind.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 40 bytes, for options that are malformed or need privilege, and for source routes,
    /// which nobody obeys any more (RFC 7126 section 4.3).
    pub fn options_to_send(&self, options: &[u8], is_privileged: bool) -> Result<IpOptions, Error> {
        let mut len = Ok(0);
        let made = IpOptions::written(|into| {
            len = to_send(options, into, is_privileged, |named| self.is_local4(named));
            *len.as_ref().unwrap_or(&0)
        });
        len.map(|_| made)
    }

    /// These options in a packet that leaves now, from `source`.
    pub(crate) fn departing(&self, now: Instant, options: &IpOptions, source: IpAddr) -> IpOptions {
        let IpAddr::V4(source) = source else { return IpOptions::NONE };
        IpOptions::written(|into| {
            let len = options.len();
            into[..len].copy_from_slice(options);
            depart(&mut into[..len], source, self.timestamp(now), |named| self.is_local4(named));
            len
        })
    }
}

/// [`Stack::options_to_return`]. `options` passed the check, and had their record when they came in.
fn to_return(options: &[u8], into: &mut [u8; MAX_LEN], is_ours: impl Fn(Ipv4Addr) -> bool) -> Option<usize> {
    let len = collect(options, into, &[option::RECORD_ROUTE, option::TIMESTAMP, option::CIPSO]);
    let mut at = 0;
    while let Ok(Some((_, one))) = next(&into[..len], &mut at) {
        empty_next_place(into.get_mut(at..at + one)?, &is_ours)?;
        at += one;
    }
    Some(pad(into, len))
}

/// Empties the place that the pointer of an option shows, if there is one.
fn empty_next_place(one: &mut [u8], is_ours: impl Fn(Ipv4Addr) -> bool) -> Option<()> {
    let &mut [kind, len, pointer, ref rest @ ..] = one else { return Some(()) };
    if pointer > len {
        return Some(());
    }
    let at = usize::from(pointer).checked_sub(1)?;
    let flag = rest.first().map_or(0, |state| state & 15);
    let bytes = match (kind, flag) {
        (option::RECORD_ROUTE, _) | (option::TIMESTAMP, TIME_ONLY) => 4,
        (option::TIMESTAMP, TIME_AND_ADDRESS) => 8,
        (option::TIMESTAMP, NAMED_ADDRESSES) => {
            let named = one.get(at..)?.first_chunk::<4>().copied()?;
            if let Some(time) = one.get_mut(at + 4..at + 8).filter(|_| is_ours(named.into())) {
                time.fill(0);
            }
            return Some(());
        }
        _ => return Some(()),
    };
    one.get_mut(at..at + bytes)?.fill(0);
    Some(())
}

/// Copies the options of these kinds to the front of `into`, kind by kind in whatever order they came: as Linux. Returns their
/// length.
fn collect(options: &[u8], into: &mut [u8; MAX_LEN], kinds: &[u8]) -> usize {
    let mut len = 0;
    for &wanted in kinds {
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
    len
}

/// Pads options to a multiple of 4 bytes.
fn pad(into: &mut [u8; MAX_LEN], len: usize) -> usize {
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

    fn sendable(options: &[u8], is_privileged: bool) -> Result<Vec<u8>, Error> {
        let mut into = [0xff; MAX_LEN];
        to_send(options, &mut into, is_privileged, |address| address == US).map(|len| into[..len].to_vec())
    }

    #[test]
    fn what_a_program_may_send_is_padded_and_what_it_may_not_is_refused() {
        assert_eq!(sendable(&[], false), Ok(vec![]));
        assert_eq!(
            sendable(&[7, 7, 4, 9, 9, 9, 9], false),
            Ok(vec![7, 7, 4, 0, 0, 0, 0, 0]),
            "the place is empty"
        );
        assert_eq!(sendable(&[148, 4, 0, 0], false), Ok(vec![148, 4, 0, 0]));
        assert_eq!(
            sendable(&[1, 0, 7, 7, 7], false),
            Ok(vec![1, 0, 0, 0, 0, 0, 0, 0]),
            "nothing is behind the end"
        );
        let longest: Vec<u8> = [7, 39, 4].into_iter().chain([0; 36]).chain([0]).collect();
        assert_eq!(sendable(&longest, false), Ok(longest.clone()));
        let malformed: [&[u8]; 4] =
            [&[7, 9, 4, 0], &[7, 7, 5, 0, 0, 0, 0], &[68, 8, 5, 1, 0, 0, 0, 0], &[7, 3, 4, 7, 3, 4]];
        // Known to nobody; times of no known kind; what only the network may read; source routes.
        let privileged: [&[u8]; 3] = [&[0x9e, 4, 0, 0], &[68, 8, 5, 7, 0, 0, 0, 0], &[130, 3, 1]];
        for (options, may_who_is_privileged) in
            malformed.map(|one| (one, false)).into_iter().chain(privileged.map(|one| (one, true)))
        {
            assert_eq!(sendable(options, false), Err(Error::InvalidArgument), "{options:?}");
            assert_eq!(sendable(options, true).is_ok(), may_who_is_privileged, "{options:?}");
        }
        for too_much in [&[0; 41][..], &[131, 7, 4, 1, 2, 3, 4], &[137, 7, 4, 1, 2, 3, 4]] {
            assert_eq!(sendable(too_much, true), Err(Error::InvalidArgument), "{too_much:?}");
        }
    }

    #[test]
    fn who_sends_is_the_first_of_a_route_and_of_times_and_what_is_full_stays() {
        let departing = |mut options: Vec<u8>| {
            depart(&mut options, US, NOON, |address| address == US);
            options
        };
        assert_eq!(departing(vec![7, 7, 4, 0, 0, 0, 0, 0]), [7, 7, 8, 10, 0, 1, 1, 0]);
        assert_eq!(departing(vec![68, 8, 5, 0, 0, 0, 0, 0]), [68, 8, 9, 0, 2, 0x93, 0x2e, 0]);
        assert_eq!(departing(vec![68, 4, 5, 0x10]), [68, 4, 5, 0x10], "the sender is not counted");
        assert_eq!(departing(vec![148, 4, 0, 0, 7, 3, 4, 0]), [148, 4, 0, 0, 7, 3, 4, 0]);
    }

    #[test]
    fn the_reply_carries_route_and_times_on_with_us_in_them_twice() {
        let request = recorded(vec![148, 4, 0, 0, 7, 15, 8, 10, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let mut options = [0xff; MAX_LEN];
        let len = reply(&request, &mut options, US, NOON, |_| true);
        assert_eq!(&options[..len], [7, 15, 16, 10, 9, 9, 9, 10, 0, 1, 1, 10, 0, 1, 1, 0]);
        assert_eq!(reply(&[1, 1, 148, 4, 0, 0, 0, 0], &mut options, US, NOON, |_| true), 0);
    }

    fn returned(options: &[u8]) -> Option<Vec<u8>> {
        let mut into = [0xff; MAX_LEN];
        let len = to_return(&recorded(options.to_vec()), &mut into, |address| address == US)?;
        Some(into[..len].to_vec())
    }

    #[test]
    fn what_goes_back_is_the_record_with_an_empty_next_place() {
        // A route, ours in it: what stood in the next place is gone, and so is what is none of the route.
        let route = [148, 4, 0, 0, 7, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0];
        assert_eq!(returned(&route).unwrap(), [7, 11, 8, 10, 0, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(returned(&[7, 7, 4, 1, 2, 3, 4, 0]).unwrap(), [7, 7, 8, 10, 0, 1, 1, 0], "full now");
        assert_eq!(
            returned(&[148, 4, 0, 0, 130, 4, 1, 2]).unwrap(),
            [],
            "neither alert nor what nobody knows"
        );
        assert_eq!(
            returned(&[134, 4, 1, 2, 7, 3, 4, 0]).unwrap(),
            [7, 3, 4, 134, 4, 1, 2, 0],
            "a label, last"
        );
        // Times: alone, with addresses, of those that are named.
        let times = [68, 12, 5, 0, 1, 1, 1, 1, 2, 2, 2, 2];
        assert_eq!(returned(&times).unwrap(), [68, 12, 9, 0, 2, 0x93, 0x2e, 0, 0, 0, 0, 0]);
        let both = [68, 20, 5, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4];
        let back = [68, 20, 13, 1, 10, 0, 1, 1, 2, 0x93, 0x2e, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(returned(&both).unwrap(), back);
        let ours_twice = [68, 20, 5, 3, 10, 0, 1, 1, 9, 9, 9, 9, 10, 0, 1, 1, 9, 9, 9, 9];
        let back = [68, 20, 13, 3, 10, 0, 1, 1, 2, 0x93, 0x2e, 0, 10, 0, 1, 1, 0, 0, 0, 0];
        assert_eq!(returned(&ours_twice).unwrap(), back);
        let theirs = [68, 12, 5, 3, 10, 0, 1, 2, 9, 9, 9, 9];
        assert_eq!(returned(&theirs).unwrap(), theirs);
        assert_eq!(
            returned(&[68, 8, 5, 7, 1, 2, 3, 4]).unwrap(),
            [68, 8, 5, 7, 1, 2, 3, 4],
            "of no known kind"
        );
        // Places too short to be one.
        assert_eq!(returned(&[7, 9, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(returned(&[68, 10, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        let half = [68, 16, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(returned(&half), None, "an address, and no time");
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
            // What goes back is as well made as what was recorded (a count of hops may be full now).
            let mut back = [0; MAX_LEN];
            if let Some(len) = to_return(&after, &mut back, |_| true) {
                prop_assert!(len <= bytes.len().next_multiple_of(4) && len % 4 == 0);
                prop_assert_eq!(check(&back[..len]).is_ok(), check(&after).is_ok());
            }
        }
    }
}
