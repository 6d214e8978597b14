//! UDP-Lite input (RFC 3828): a damaged datagram is better than none for who says so (voice, video).
//!
//! ```text
//!   header │ what must be whole │ what may be damaged
//!   <──────── coverage ────────>                       checksum: pseudo-header and this
//! ```
//!
//! A sender says in each datagram how much the checksum covers, a receiver how much it wants covered at least. What a datagram's
//! checksum covers as a whole is summed while it is copied, as UDP's; of others the covered part is summed first.

use super::input::{Asks, Datagram, deliver_to_group, take, to_many};
use super::{Flow, Protocol, UDP_LITE, closed};
use crate::checksum::{self, Sum};
use crate::counters::Counter;
use crate::frame::{Frame, FramePool};
use crate::icmp::v4::sum_of;
use crate::interface::ChecksumPolicy;
use crate::ipv4::input::Arrival as Arrival4;
use crate::ipv6::input::Arrival as Arrival6;
use crate::raw::{envelope4, envelope6};
use crate::socket::endpoint::Envelope;
use crate::stack::Stack;
use crate::turn::{Probe, Turn};
use crate::verdict::DropReason;
use crate::wire::udplite::{HEADER_LEN, Header};

/// A UDP-Lite datagram over IPv4; its header begins at `offset`.
pub(crate) fn input4<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival4<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    let len = arrival.frame.packet_len().saturating_sub(offset);
    let pseudo = checksum::pseudo_ipv4(arrival.source, arrival.destination, UDP_LITE, len as u16);
    let envelope = envelope4(&arrival, turn.now);
    if let Some(reason) = deliver(stack, &arrival.frame, offset, envelope, pseudo) {
        closed::end4(stack, turn, arrival, (Protocol::UdpLite, offset), |_, _| reason);
    }
}

/// A UDP-Lite datagram over IPv6; its header begins at `offset`.
pub(crate) fn input6<P, M>(
    stack: &mut Stack<P::Frame>,
    turn: &mut Turn<'_, P, M>,
    arrival: Arrival6<P::Frame>,
    offset: usize,
) where
    P: FramePool,
    M: Probe,
{
    let len = arrival.frame.packet_len().saturating_sub(offset);
    let pseudo = checksum::pseudo_ipv6(&arrival.source, &arrival.destination, UDP_LITE, len as u32);
    let envelope = envelope6(&arrival, turn.now);
    if let Some(reason) = deliver(stack, &arrival.frame, offset, envelope, pseudo) {
        closed::end6(stack, turn, arrival, (Protocol::UdpLite, offset), |_, _| reason);
    }
}

/// Delivers a datagram. What has no end yet has a reason: [`DropReason::PortUnreachable`] for an intact one that nobody here
/// wants, or what is wrong with it.
fn deliver<F: Frame>(
    stack: &mut Stack<F>,
    frame: &F,
    offset: usize,
    envelope: Envelope,
    pseudo: Sum,
) -> Option<DropReason> {
    let len = frame.packet_len().saturating_sub(offset);
    let bytes = frame.get(offset..).unwrap_or_default();
    let (header, covered) = match Header::receive(bytes, len) {
        Ok(received) => received,
        Err(error) => return Some(error.into()),
    };
    let flow = Flow {
        protocol: Protocol::UdpLite,
        source: envelope.source,
        source_port: header.source_port.get(),
        destination: envelope.destination,
        destination_port: header.destination_port.get(),
        port: envelope.port,
    };
    let trusted = stack.interfaces.get(envelope.port).is_some_and(|p| p.checksum == ChecksumPolicy::Trust);
    let to_many = to_many(&envelope);
    let found = if to_many { None } else { stack.udp.lookup(&flow) };
    let whole = covered == len;
    // Who copies the datagram sums it, if it copies what is covered and nothing else.
    let summed_later = whole && found.is_some();
    if !trusted && !summed_later && !pseudo.plus(sum_of(frame, offset, covered)).is_valid() {
        return Some(DropReason::TransportBadChecksum);
    }
    let datagram = Datagram {
        frame,
        offset,
        len,
        envelope: Envelope { source_port: flow.source_port, ..envelope },
        sum: (!trusted && summed_later).then(|| pseudo.plus(checksum::sum(&bytes[..HEADER_LEN]))),
        asks: if whole { Asks::Nothing } else { Asks::Partial(covered as u16) },
        counter: Counter::UdpLiteIn,
    };
    if to_many {
        return (!deliver_to_group(stack, &flow, &datagram)).then_some(DropReason::PortUnreachable);
    }
    let Some(handle) = found else { return Some(DropReason::PortUnreachable) };
    let reason = take(stack, handle, &datagram);
    stack.drop_received(envelope.port, reason);
    None
}
