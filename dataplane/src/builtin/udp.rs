//! What the services over UDP have in common: one datagram comes, one goes back.
//!
//! Two such services that are pointed at each other, by one forged datagram, would talk for ever (CVE-1999-0103). So
//! what comes from the port number of a service that answers whatever it hears is not answered. Nor is what was sent to
//! a group or by broadcast: every node that answered would be one more packet for whoever is named as its sender. An
//! answer comes from the address that was asked.

use super::Shared;
use super::api::Sockets;
use flumen_stack::Instant;
use flumen_stack::socket::Handle;

/// Port numbers of services that answer everything: echo, daytime, quote of the day, chargen, time. 0 is no
/// port number that can be answered.
const ANSWERS_EVERYTHING: [u16; 6] = [0, 7, 13, 17, 19, 37];

/// Answers each datagram with what `write` puts into the scratch buffer, where it finds what was received: it is
/// given the time and the length, and returns the length of the answer.
pub fn answer_each<S: Sockets>(
    shared: &mut Shared,
    sockets: &mut S,
    socket: Handle,
    mut write: impl FnMut(&mut Shared, Instant, usize) -> usize,
) {
    let now = sockets.now();
    while let Ok(datagram) = sockets.udp_recv(socket, &mut shared.scratch) {
        if datagram.to_group || ANSWERS_EVERYTHING.contains(&datagram.from.port()) {
            continue;
        }
        let len = write(shared, now, datagram.len.min(shared.scratch.len()));
        let answer = &shared.scratch[..len.min(shared.scratch.len())];
        // Datagrams get lost: this one here, when it cannot be sent.
        let _ = sockets.udp_send(socket, answer, datagram.from, Some(datagram.to));
    }
}
