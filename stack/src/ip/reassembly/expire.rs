//! Datagrams whose time is over: forgotten, and their senders told when fragment zero came (RFC 792, RFC 1122
//! section 3.3.2, RFC 8200 section 4.5). Without fragment zero nobody could tell what the error is about.

use crate::counters::Counter;
use crate::frame::FramePool;
use crate::icmp::{v4, v6};
use crate::limits::{BURST, MIN_MTU_IPV6};
use crate::stack::Stack;
use crate::turn::{Probe, Turn};

/// Forgets what is over at `turn.now`; at most a burst of them.
pub(crate) fn expire<P, M>(stack: &mut Stack<P::Frame>, turn: &mut Turn<'_, P, M>)
where
    P: FramePool,
    M: Probe,
{
    for _ in 0..BURST {
        let Some(expired) = stack.reassembly.expired(turn.now) else { return };
        // More than any error quotes.
        let mut quoted = [0u8; MIN_MTU_IPV6 as usize];
        let about = expired.first.map(|first| {
            let len = (first.header_len + first.len).min(quoted.len());
            let len = stack.reassembly.copy_out(expired.slot, first.header_len, &mut quoted[..len]);
            (len, first.port, first.cast)
        });
        stack.reassembly.release(expired.slot);
        if expired.given_up {
            continue;
        }
        stack.counters.count(Counter::ReassemblyTimedOut);
        stack.counters.count(if expired.ipv6 {
            Counter::Ipv6ReassemblyFailed
        } else {
            Counter::Ipv4ReassemblyFailed
        });
        let Some((len, port, cast)) = about else { continue };
        let about = &quoted[..len];
        if expired.ipv6 {
            v6::send_error(stack, turn, about, (port, cast), v6::Error::REASSEMBLY_TIMEOUT);
        } else {
            v4::send_error(stack, turn, about, (port, cast), v4::Error::REASSEMBLY_TIMEOUT);
        }
    }
}
