//! ICMP errors about datagrams of UDP and UDP-Lite sockets (row I3; RFC 1122 section 4.1.3.3; `udp_err` of Linux).

use super::{Flow, Protocol};
use crate::frame::Frame;
use crate::socket::errors::{Fault, Quoted};
use crate::socket::{Ready, SocketId};
use crate::stack::Stack;

/// Tells the socket that sent the quoted datagram. False: there is none, so the report is not believed.
pub(crate) fn on_error<F: Frame>(
    stack: &mut Stack<F>,
    protocol: Protocol,
    quoted: &Quoted<'_>,
    fault: &Fault,
) -> bool {
    let Some(&[a, b, c, d]) = quoted.upper.first_chunk::<4>() else { return false };
    let flow = Flow {
        protocol,
        source: quoted.destination,
        source_port: u16::from_be_bytes([c, d]),
        destination: quoted.source,
        destination_port: u16::from_be_bytes([a, b]),
        port: quoted.port,
    };
    let Some(handle) = stack.udp.lookup(&flow) else { return false };
    let Stack { udp, blocks, events, .. } = stack;
    let Some(socket) = udp.get_mut(handle) else { return false };
    let end = &mut socket.end;
    let payload = quoted.upper.get(8..).unwrap_or_default();
    if fault.tell(end, blocks, (flow.source, flow.source_port).into(), payload) {
        end.pending.add(events, SocketId::Udp(handle), Ready::ERROR);
    }
    true
}
