//! IPPROTO_TCP (tcp(7)).

use super::{Get, Kinds, Live, Row, Set, Standing, TCP, row};
use crate::session::Errno;
use crate::session::options::asked::{Answer, Asked};
use crate::session::options::effect::Effect;
use crate::session::options::keys;
use crate::session::options::kind::Stage;
use crate::session::options::limits::{LISTEN_MAX, MIN_RECEIVE_BUFFER};
use crate::session::options::state::Field;
use flumen_stack::tcp::congestion::Algorithm;

const fn tcp(number: i32, name: &'static str) -> Row {
    row(TCP, number, name, Kinds::TCP)
}

const REPAIR: &str = "checkpoint and restore: EPERM, as for a process without CAP_NET_ADMIN";

pub(super) const ROWS: &[Row] = &[
    tcp(1, "TCP_NODELAY").flag(Field::NoDelay),
    tcp(2, "TCP_MAXSEG")
        .live(Live::MaxSegment)
        .set(Set::Int(|asked, bytes| match bytes {
            0 => {
                asked.state.forget(Field::MaxSegment);
                Ok(Effect::None)
            }
            88..=32_767 => Ok(asked.store(Field::MaxSegment, bytes)),
            _ => Err(Errno::INVAL),
        }))
        .note("88 to 32,767, or 0 for none; of effect for handshakes to come. 536 before there is a connection, then what its segments carry"),
    tcp(3, "TCP_CORK").flag(Field::Cork),
    tcp(4, "TCP_KEEPIDLE").range(Field::KeepIdle, 1, 32_767),
    tcp(5, "TCP_KEEPINTVL").range(Field::KeepInterval, 1, 32_767),
    tcp(6, "TCP_KEEPCNT").range(Field::KeepCount, 1, 127),
    tcp(7, "TCP_SYNCNT").range(Field::SynCount, 1, 127),
    tcp(8, "TCP_LINGER2")
        .set(Set::Int(|asked, seconds| {
            let seconds = if seconds < 0 { -1 } else { seconds.min(120) };
            Ok(asked.store(Field::Linger2, seconds))
        }))
        .get(Get::Value(|asked| Ok(match asked.value(Field::Linger2) {
            0 => 60,
            seconds => seconds,
        })))
        .note("at most 120; less than 0: do not wait; 0: the default, 60"),
    tcp(9, "TCP_DEFER_ACCEPT")
        .set(Set::Int(|asked, seconds| Ok(asked.store(Field::DeferAccept, retransmissions(seconds)))))
        .get(Get::Value(|asked| Ok(seconds_of(asked.value(Field::DeferAccept)))))
        .note("rounded up to the time that retransmissions of the SYN-ACK take: 1, 3, 7, 15 …"),
    tcp(10, "TCP_WINDOW_CLAMP")
        .set(Set::Int(|asked, bytes| match bytes {
            0 if asked.facts.stage != Stage::Fresh => Err(Errno::INVAL),
            0 => {
                asked.state.forget(Field::WindowClamp);
                Ok(Effect::None)
            }
            _ => Ok(asked.store(Field::WindowClamp, bytes.max(MIN_RECEIVE_BUFFER / 2))),
        }))
        .live(Live::WindowClamp),
    tcp(11, "TCP_INFO").value("struct tcp_info").live(Live::Info).note("280 bytes; shorter for who takes less"),
    tcp(12, "TCP_QUICKACK")
        .value("bool")
        .set(Set::Int(|asked, on| Ok(asked.store(Field::QuickAck, i32::from(on != 0)))))
        .live(Live::QuickAck),
    tcp(13, "TCP_CONGESTION")
        .value("string")
        .least(1)
        .set(Set::Bytes(set_congestion))
        .get(Get::Bytes(get_congestion))
        .note("reno, cubic, bbr; ENOENT for others. The default is `congestion` of the configuration"),
    tcp(14, "TCP_MD5SIG").value("struct tcp_md5sig").set(Set::Bytes(|asked, value| keys::set_md5(asked, value, false))).note(keys::NOTE),
    tcp(16, "TCP_THIN_LINEAR_TIMEOUTS")
        .value("bool")
        .set(Set::Int(zero_alone))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("cannot be switched on: timeouts double (RFC 6298 section 5.5)"),
    tcp(17, "TCP_THIN_DUPACK").set(Set::Int(|_, on| if on == 0 || on == 1 { Ok(Effect::None) } else { Err(Errno::INVAL) })).get(Get::Value(|_| Ok(0))).value("bool").stands(Standing::Kept).note("Linux takes it and answers 0 since 4.12: RACK does it"),
    tcp(18, "TCP_USER_TIMEOUT").range(Field::UserTimeout, 0, i32::MAX),
    tcp(19, "TCP_REPAIR").set(Set::Refused(Errno::PERM)).get(Get::Value(|_| Ok(0))).stands(Standing::Refused).differs(REPAIR),
    tcp(20, "TCP_REPAIR_QUEUE").refused(Errno::PERM, Errno::INVAL).note("as outside of TCP_REPAIR"),
    tcp(21, "TCP_QUEUE_SEQ")
        .refused(Errno::INVAL, Errno::INVAL)
        .set(Set::Int(|asked, _| match asked.facts.stage {
            Stage::Fresh | Stage::Ended => Err(Errno::INVAL),
            Stage::Listening | Stage::Connecting | Stage::Connected => Err(Errno::PERM),
        }))
        .note("as outside of TCP_REPAIR"),
    tcp(22, "TCP_REPAIR_OPTIONS").refused(Errno::INVAL, Errno::NOPROTOOPT).note("as outside of TCP_REPAIR"),
    tcp(23, "TCP_FASTOPEN").int(Field::FastOpen, |asked, queue| match asked.facts.stage {
        Stage::Fresh | Stage::Listening if queue >= 0 => Ok(asked.store(Field::FastOpen, queue.min(LISTEN_MAX))),
        _ => Err(Errno::INVAL),
    }).note("at most 4,096; EINVAL once connected"),
    tcp(24, "TCP_TIMESTAMP").refused(Errno::PERM, Errno::NOPROTOOPT).differs("cannot be read: it serves TCP_REPAIR alone"),
    tcp(25, "TCP_NOTSENT_LOWAT").int(Field::NotSentLow, |asked, bytes| Ok(asked.store(Field::NotSentLow, bytes))),
    tcp(26, "TCP_CC_INFO").value("union tcp_cc_info").live(Live::CongestionInfo).note("bbr's 20 bytes; none of reno and cubic, as in Linux"),
    tcp(27, "TCP_SAVE_SYN")
        .set(Set::Int(|_, mode| match mode {
            0 => Ok(Effect::None),
            1 | 2 => Err(Errno::NOPROTOOPT),
            _ => Err(Errno::INVAL),
        }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT to switch on, as before Linux 4.2: headers of SYNs are not kept"),
    tcp(28, "TCP_SAVED_SYN").value("bytes").get(Get::Bytes(|_, answer| {
        answer.bytes(&[]);
        Ok(())
    })),
    tcp(29, "TCP_REPAIR_WINDOW").refused(Errno::PERM, Errno::INVAL).note("as outside of TCP_REPAIR"),
    tcp(30, "TCP_FASTOPEN_CONNECT").value("bool").int(Field::FastOpenConnect, |asked, on| match (on, asked.facts.stage) {
        (0 | 1, Stage::Fresh) => Ok(asked.store(Field::FastOpenConnect, on)),
        _ => Err(Errno::INVAL),
    }).note("connect says at once that it is done when the server's cookie is known, and the first write goes with the SYN"),
    tcp(31, "TCP_ULP").value("string").least(1).set(Set::Bytes(|_, _| Err(Errno::NOENT))).get(Get::Bytes(|_, answer| {
        answer.bytes(&[]);
        Ok(())
    })).note("there is none: ENOENT, as where the module `tls` is not loaded"),
    tcp(32, "TCP_MD5SIG_EXT").value("struct tcp_md5sig").set(Set::Bytes(|asked, value| keys::set_md5(asked, value, true))).note(keys::NOTE),
    tcp(33, "TCP_FASTOPEN_KEY").value("bytes").least(0).set(Set::Refused(Errno::INVAL)).get(Get::Bytes(|_, answer| {
        answer.bytes(&[]);
        Ok(())
    })).stands(Standing::Refused).differs("EINVAL for keys of every length: cookies are made with the data plane's own key"),
    tcp(34, "TCP_FASTOPEN_NO_COOKIE").value("bool").int(Field::FastOpenNoCookie, |asked, on| match (on, asked.facts.stage) {
        (0 | 1, Stage::Fresh | Stage::Listening) => Ok(asked.store(Field::FastOpenNoCookie, on)),
        _ => Err(Errno::INVAL),
    }),
    tcp(35, "TCP_ZEROCOPY_RECEIVE")
        .value("struct tcp_zerocopy_receive")
        .get(Get::Refused(Errno::INVAL))
        .stands(Standing::Refused)
        .differs("EINVAL, as where the memory cannot be mapped: bytes are copied from shared memory"),
    tcp(36, "TCP_INQ").range(Field::Inquire, 0, 1).value("bool").stands(Standing::Library),
    tcp(37, "TCP_TX_DELAY")
        .set(Set::Int(|_, micros| match micros {
            0 => Ok(Effect::None),
            ..0 => Err(Errno::INVAL),
            _ => Err(Errno::NOPROTOOPT),
        }))
        .get(Get::Value(|_| Ok(0)))
        .stands(Standing::Refused)
        .differs("ENOPROTOOPT for a delay, as before Linux 5.3"),
    tcp(38, "TCP_AO_ADD_KEY").value("struct tcp_ao_add").stands(Standing::Refused).note(AO),
    tcp(39, "TCP_AO_DEL_KEY").value("struct tcp_ao_del").stands(Standing::Refused).note(AO),
    tcp(40, "TCP_AO_INFO").value("struct tcp_ao_info_opt").stands(Standing::Refused).note(AO),
    tcp(41, "TCP_AO_GET_KEYS").value("struct tcp_ao_getsockopt").stands(Standing::Refused).note(AO),
    tcp(42, "TCP_AO_REPAIR")
        .value("struct tcp_ao_repair")
        .set(Set::Int(|asked, _| Err(no_repair(asked))))
        .get(Get::Value(|asked| Err(no_repair(asked)))).stands(Standing::Refused).note(AO),
    tcp(43, "TCP_IS_MPTCP").value("bool").get(Get::Value(|_| Ok(0))),
    tcp(44, "TCP_RTO_MAX_MS").set(Set::Refused(Errno::INVAL)).get(Get::Value(|_| Ok(120_000))).stands(Standing::Refused).differs(BOUNDS),
    tcp(45, "TCP_RTO_MIN_US").set(Set::Refused(Errno::INVAL)).get(Get::Value(|_| Ok(200_000))).stands(Standing::Refused).differs(BOUNDS),
    tcp(46, "TCP_DELACK_MAX_US").set(Set::Refused(Errno::INVAL)).get(Get::Value(|_| Ok(200_000))).stands(Standing::Refused).differs(BOUNDS),
];

const AO: &str =
    "ENOPROTOOPT, as a kernel without CONFIG_TCP_AO; the data plane's own services can have keys (RFC 5925)";
const BOUNDS: &str = "EINVAL for every value: the bounds are those of the host";

fn no_repair(asked: &Asked<'_>) -> Errno {
    // tcp_can_repair_sock of Linux.
    if asked.facts.privileged && asked.facts.stage != Stage::Listening {
        Errno::NOPROTOOPT
    } else {
        Errno::PERM
    }
}

fn zero_alone(_: &mut Asked<'_>, value: i32) -> Result<Effect, Errno> {
    if value == 0 { Ok(Effect::None) } else { Err(Errno::INVAL) }
}

fn set_congestion(asked: &mut Asked<'_>, value: &[u8]) -> Result<Effect, Errno> {
    // TCP_CA_NAME_MAX with its end.
    let name = &value[..value.len().min(15)];
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let algorithm = core::str::from_utf8(name).ok().and_then(Algorithm::from_name).ok_or(Errno::NOENT)?;
    asked.state.more_mut().congestion = Some(algorithm);
    Ok(Effect::congestion(algorithm))
}

fn get_congestion(asked: &Asked<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
    let algorithm = asked.state.more().and_then(|more| more.congestion).unwrap_or_default();
    let mut name = [0; 16];
    let text = algorithm.name().as_bytes();
    name[..text.len()].copy_from_slice(text);
    answer.bytes(&name);
    Ok(())
}

/// Retransmissions of a SYN-ACK that take this long: after 1 s, 2 s, 4 s …, never more than 120 s apart.
fn retransmissions(seconds: i32) -> i32 {
    let (mut count, mut period, mut wait) = (1, 1, 1);
    if seconds <= 0 {
        return 0;
    }
    while seconds > period && count < 255 {
        count += 1;
        wait = (wait * 2).min(120);
        period += wait;
    }
    count
}

/// How long that many take.
pub(in crate::session::options) fn seconds_of(count: i32) -> i32 {
    let mut wait = 1;
    let mut period = i32::from(count > 0);
    for _ in 1..count {
        wait = (wait * 2).min(120);
        period += wait;
    }
    period
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_for_data_becomes_retransmissions_and_back() {
        let there_and_back = |seconds| seconds_of(retransmissions(seconds));
        assert_eq!([0, -5, 1, 2, 3, 4, 7, 8].map(there_and_back), [0, 0, 1, 3, 3, 7, 7, 15]);
        assert_eq!(retransmissions(i32::MAX), 255);
    }
}
