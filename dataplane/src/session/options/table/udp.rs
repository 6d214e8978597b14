//! IPPROTO_UDP (udp(7)).

use super::{Get, Kinds, Row, Set, Standing, UDP, row};
use crate::session::Errno;
use crate::session::options::effect::Effect;
use crate::session::options::state::Field;

const fn udp(number: i32, name: &'static str) -> Row {
    row(UDP, number, name, Kinds::UDP)
}

pub(super) const ROWS: &[Row] = &[
    udp(1, "UDP_CORK").flag(Field::Cork).note("switching it off sends what waits"),
    udp(10, "UDPLITE_SEND_CSCOV").get(Get::Value(|_| Ok(0))).note("UDP-Lite's; UDP answers 0, as in Linux"),
    udp(11, "UDPLITE_RECV_CSCOV").get(Get::Value(|_| Ok(0))).note("UDP-Lite's; UDP answers 0, as in Linux"),
    udp(100, "UDP_ENCAP")
        .set(Set::Int(|_, kind| if kind == 0 { Ok(Effect::None) } else { Err(Errno::NOPROTOOPT) }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT for every encapsulation, as a kernel without them"),
    udp(101, "UDP_NO_CHECK6_TX").flag(Field::NoCheck6Tx),
    udp(102, "UDP_NO_CHECK6_RX").flag(Field::NoCheck6Rx),
    udp(103, "UDP_SEGMENT").range(Field::Segment, 0, 65_535),
    udp(104, "UDP_GRO").flag(Field::Gro),
];
