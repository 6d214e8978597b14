//! ICMP messages that ask (rows I5, I6, I7): echo, timestamp (RFC 792), address mask (RFC 950).
//!
//! A question is turned round in its own frame: source and destination change places, the route that it recorded and
//! the timestamps of its IP options are carried on (RFC 1122 section 3.2.2.6, RFC 1812 section 4.3.3.6). Those to a
//! group or a broadcast address stay unanswered, as Linux leaves them (`icmp_echo_ignore_broadcasts`), and all take
//! their tokens from the same bucket.
//!
//! What a timestamp reply says of the time is what IPv4's timestamp option says: milliseconds since midnight UT, or,
//! where that is not known, a number with the high bit set. The address mask is told only where the operator wants it
//! (RFC 1122 section 3.2.2.9: a host "MUST NOT send a reply unless it is an authoritative agent").

use super::v4::{Fields, kind, sum_behind, write_header, write_options};
use crate::checksum;
use crate::counters::Counter;
use crate::ethernet::LinkCast;
use crate::frame::{Frame, FramePool};
use crate::interface::Interface;
use crate::ip::back::Back;
use crate::ip::policy::Outgoing;
use crate::ipv4::input::Arrival;
use crate::ipv4::{HEADER_LEN, options};
use crate::route::Traits;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use core::net::{IpAddr, Ipv4Addr};

/// Bytes of a timestamp message: the header and three times.
const TIMESTAMP_LEN: usize = 20;

/// Bytes of an address mask message: the header and the mask.
const MASK_LEN: usize = 12;

/// A question turned round: its header is the reply's, its message still asks.
struct Reply<F> {
    frame: F,
    header_len: usize,
    back: Back,
}

/// Echo (row I5): the data go back as they came.
pub(super) fn echo<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    let len = arrival.frame.packet_len() - header_len;
    let Some(Reply { mut frame, header_len, back }) = turn_round(stack, turn, arrival, header_len, len)
    else {
        return;
    };
    let Some(message) = frame.get_mut(header_len..header_len + 4) else { return };
    let sum = u16::from_be_bytes([message[2], message[3]]);
    let request = u16::from_be_bytes([kind::ECHO_REQUEST, message[1]]);
    let reply = u16::from_be_bytes([kind::ECHO_REPLY, message[1]]);
    message[0] = kind::ECHO_REPLY;
    let updated = checksum::update_u16(sum, request, reply);
    message[2..4].copy_from_slice(&updated.to_be_bytes());
    if updated == 0 {
        // The zero of words that add up to 0xffff, or that of nothing but zeros (echo reply, id and sequence 0, no
        // data but zeros), whose checksum is 0xffff: only a sum over all of it can tell.
        let sum = sum_behind(&frame, header_len).checksum();
        if let Some(field) = frame.get_mut(header_len + 2..header_len + 4) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
    stack.counters.count(Counter::IcmpEchoReplies);
    stack.send_back(turn, frame, back);
}

/// Timestamp (row I6; RFC 1812 section 4.3.3.8): when it came and when the answer left, which is one moment here.
pub(super) fn timestamp<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    let time = stack.timestamp(turn.now).0.to_be_bytes();
    answer(stack, turn, arrival, header_len, TIMESTAMP_LEN, |message| {
        message[..4].copy_from_slice(&[kind::TIMESTAMP_REPLY, 0, 0, 0]);
        message[12..16].copy_from_slice(&time);
        message[16..20].copy_from_slice(&time);
    });
}

/// Address mask (row I7; RFC 1812 section 4.3.3.9): that of the subnet that the asker is in, else the port's first.
pub(super) fn mask<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    header_len: usize,
) where
    P: FramePool,
    M: Probe,
{
    let port = arrival.port;
    let told = stack.interfaces.get(port).filter(|one| one.mask_replies).and_then(|one| {
        let of_asker = one.ipv4.iter().find(|net| net.contains(&arrival.source));
        of_asker.or(one.ipv4.first()).map(ipnet::Ipv4Net::netmask)
    });
    let Some(told) = told else { return stack.drop_received(port, DropReason::IcmpDiscarded) };
    answer(stack, turn, arrival, header_len, MASK_LEN, |message| {
        message[..4].copy_from_slice(&[kind::MASK_REPLY, 0, 0, 0]);
        message[8..12].copy_from_slice(&told.octets());
    });
}

/// Somebody says which mask the link has. We know it already and only compare (RFC 1812 section 4.3.3.9): a
/// difference is a mistake of somebody's, and counted.
pub(super) fn mask_reply<F: Frame>(stack: &mut Stack<F>, arrival: &Arrival<F>, header_len: usize) {
    let told = arrival.frame.get(header_len + 8..).and_then(<[u8]>::first_chunk::<4>).copied();
    let reason = match (told, stack.interfaces.get(arrival.port)) {
        (Some(told), Some(interface)) => judge_mask(interface, arrival.source, Ipv4Addr::from(told)),
        _ => DropReason::IcmpTruncated,
    };
    stack.drop_received(arrival.port, reason);
}

/// Compares a mask with that of the subnet which the teller is in.
fn judge_mask(interface: &Interface, from: Ipv4Addr, told: Ipv4Addr) -> DropReason {
    match interface.ipv4.iter().find(|net| net.contains(&from)) {
        Some(net) if net.netmask() == told => DropReason::Consumed,
        Some(_) => DropReason::IcmpMaskWrong,
        None => DropReason::IcmpDiscarded,
    }
}

/// Turns a question round and sends it back with `len` bytes of message, as `write` makes of them, and their sum.
fn answer<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival<P::Frame>,
    header_len: usize,
    len: usize,
    write: impl FnOnce(&mut [u8]),
) where
    P: FramePool,
    M: Probe,
{
    let Some(Reply { mut frame, header_len, back }) = turn_round(stack, turn, arrival, header_len, len)
    else {
        return;
    };
    if let Some(message) = frame.get_mut(header_len..header_len + len) {
        write(message);
        let sum = checksum::sum(message).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    stack.counters.count(Counter::IcmpAnswers);
    stack.send_back(turn, frame, back);
}

/// Turns a question round; `len` bytes of its message go back. `None`: it ended here, counted.
fn turn_round<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    mut arrival: Arrival<P::Frame>,
    header_len: usize,
    len: usize,
) -> Option<Reply<P::Frame>>
where
    P: FramePool,
    M: Probe,
{
    let port = arrival.port;
    let end = |stack: &mut Stack<P::Frame>, reason| {
        stack.drop_received(port, reason);
        None
    };
    if arrival.cast == LinkCast::Group || arrival.destination.is_multicast() {
        return end(stack, DropReason::IcmpEchoIgnored);
    }
    if arrival.frame.packet_len() < header_len + len {
        return end(stack, DropReason::IcmpTruncated);
    }
    if !stack.echo_limit.allow(turn.now) {
        return end(stack, DropReason::IcmpEchoLimited);
    }
    // Nothing that was sent to a group gets here: the destination is ours.
    let answer = Outgoing {
        source: Some(IpAddr::V4(arrival.destination)),
        destination: IpAddr::V4(arrival.source),
        traits: Traits { tos: 0, protocol: 1, ports: None },
    };
    let back = match stack.way_back(turn.now, &answer, port) {
        Ok(back) => back,
        Err(refusal) => return end(stack, refusal.reason(false)),
    };
    let tos = arrival.frame[1];
    let id = stack.identifications.next4(arrival.destination, arrival.source, 1);
    let mut options = [0; options::MAX_LEN];
    let options_len = match arrival.frame.get(HEADER_LEN..header_len) {
        Some(asked) if !asked.is_empty() => {
            let is_ours = |named| stack.is_local4(named);
            options::reply(asked, &mut options, arrival.destination, stack.timestamp(turn.now), is_ours)
        }
        _ => 0,
    };
    let reply_len = HEADER_LEN + options_len;
    arrival.frame.truncate(header_len + len);
    // The reply's options are some of the request's: its header is no longer.
    if !header_len.checked_sub(reply_len).is_some_and(|count| arrival.frame.trim_front(count)) {
        return end(stack, DropReason::Ipv4Truncated);
    }
    let (source, destination) = (arrival.destination, arrival.source);
    let total_len = (reply_len + len) as u16;
    write_header(&mut arrival.frame, &Fields { tos, id, protocol: 1, source, destination, total_len });
    if options_len > 0 {
        write_options(&mut arrival.frame, &options[..options_len]);
    }
    Some(Reply { frame: arrival.frame, header_len: reply_len, back })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MacAddr, PortId};

    #[test]
    fn a_mask_is_compared_with_that_of_the_subnet_of_who_tells_it() {
        let mut lan = Interface::new(PortId::FIRST, "lan", MacAddr([2, 0, 0, 0, 0, 1]), 1500);
        lan.ipv4.push("10.0.1.1/24".parse().unwrap());
        let judge = |from: &str, told: &str| judge_mask(&lan, from.parse().unwrap(), told.parse().unwrap());
        assert_eq!(judge("10.0.1.2", "255.255.255.0"), DropReason::Consumed);
        assert_eq!(judge("10.0.1.2", "255.255.0.0"), DropReason::IcmpMaskWrong);
        assert_eq!(judge("192.0.2.1", "255.255.255.0"), DropReason::IcmpDiscarded);
    }
}
