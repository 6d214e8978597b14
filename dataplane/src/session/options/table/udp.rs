//! IPPROTO_UDP and IPPROTO_UDPLITE (udp(7), udplite(7)). As in Linux, sockets of both protocols know both levels as one.

use super::{Get, Kinds, Row, Set, Standing, UDP, row};
use crate::session::Errno;
use crate::session::options::asked::Asked;
use crate::session::options::effect::Effect;
use crate::session::options::state::Field;

const fn udp(number: i32, name: &'static str) -> Row {
    row(UDP, number, name, Kinds::UDP)
}

pub(super) const ROWS: &[Row] = &[
    udp(1, "UDP_CORK").flag(Field::Cork).note("switching it off sends what waits"),
    udp(10, "UDPLITE_SEND_CSCOV")
        .int(Field::SendCoverage, |asked, bytes| set_coverage(asked, Field::SendCoverage, bytes))
        .note(COVERAGE),
    udp(11, "UDPLITE_RECV_CSCOV")
        .int(Field::ReceiveCoverage, |asked, bytes| set_coverage(asked, Field::ReceiveCoverage, bytes))
        .note(COVERAGE),
    udp(100, "UDP_ENCAP")
        .set(Set::Int(|_, kind| if kind == 0 { Ok(Effect::None) } else { Err(Errno::NOPROTOOPT) }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT for every encapsulation, as a kernel without them"),
    udp(101, "UDP_NO_CHECK6_TX").flag(Field::NoCheck6Tx),
    udp(102, "UDP_NO_CHECK6_RX").flag(Field::NoCheck6Rx),
    udp(103, "UDP_SEGMENT")
        .range(Field::Segment, 0, 65_535)
        .note("UDP-Lite cannot send with it: EIO, as in Linux"),
    udp(104, "UDP_GRO").flag(Field::Gro).note("UDP-Lite's datagrams are never joined, as in Linux"),
];

const COVERAGE: &str = "of UDP-Lite: 0 for all, or 8 to 65,535 bytes; 1 to 7 and less than 0 become 8, more becomes 65,535. UDP: ENOPROTOOPT to set, and it is 0";

fn set_coverage(asked: &mut Asked<'_>, field: Field, bytes: i32) -> Result<Effect, Errno> {
    if !asked.facts.is_udp_lite() {
        return Err(Errno::NOPROTOOPT);
    }
    // RFC 3828 section 3.1: the header is always covered.
    let bytes = if bytes == 0 { 0 } else { bytes.clamp(8, 65_535) };
    Ok(asked.store(field, bytes))
}
