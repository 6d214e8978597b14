//! Closing: in order, at once, by halves, by force.

use super::*;
use crate::tcp::user::{Shutdown, SocketOption};

fn end_of(script: &mut Script, how: Shutdown) {
    let host = &mut script.host;
    let disposition = host.tcp.shutdown(&mut host.pools.cx(), how).unwrap();
    assert!(matches!(disposition, Disposition::Keep(_)));
}

#[test]
fn established_close_fin_wait_1_fin_wait_2_time_wait() {
    let mut script = Script::established(plain());
    let _ = script.host.close();
    script.expect(&[(FIN | ACK, 5001, 1001, 0)]);
    assert_eq!(script.tcp().state(), State::FinWait1);
    let _ = script.inject(ACK, 1001, 5002, b"");
    assert!(matches!(script.tcp().state(), State::FinWait2(_)));
    let Disposition::TimeWait(content) = script.inject(FIN | ACK, 1001, 5002, b"") else { panic!() };
    assert_eq!((content.snd_nxt, content.rcv_nxt, content.ts_recent), (Seq(5002), Seq(1002), None));
    assert!(script.tcp().is_released());
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn fin_wait_1_fin_that_acknowledges_ours_goes_to_time_wait_at_once() {
    let mut script = Script::established(plain());
    let _ = script.host.close();
    script.host.output();
    assert!(matches!(script.inject(FIN | ACK, 1001, 5002, b""), Disposition::TimeWait(_)));
}

#[test]
fn fin_wait_1_fin_before_our_acknowledgment_is_a_simultaneous_close() {
    let mut script = Script::established(plain());
    let _ = script.host.close();
    script.host.output();
    let _ = script.inject(FIN | ACK, 1001, 5001, b"");
    assert_eq!(script.tcp().state(), State::Closing);
    script.expect(&[(ACK, 5002, 1002, 0)]);
    assert!(matches!(script.inject(ACK, 1002, 5002, b""), Disposition::TimeWait(_)));
}

#[test]
fn close_wait_close_last_ack_closed() {
    let mut script = Script::established(plain());
    let _ = script.inject(FIN | ACK, 1001, 5001, b"");
    assert_eq!(script.tcp().state(), State::CloseWait);
    script.expect(&[(ACK, 5001, 1002, 0)]);
    assert_eq!(script.host.recv(), Ok(vec![]), "the end of what the peer sends");
    script.host.send(b"still").unwrap();
    script.expect(&[(ACK | PSH, 5001, 1002, 5)]);
    let _ = script.host.close();
    script.expect(&[(FIN | ACK, 5006, 1002, 0)]);
    assert_eq!(script.tcp().state(), State::LastAck);
    assert_eq!(script.inject(ACK, 1002, 5007, b""), Disposition::Closed(None));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn a_reset_behind_the_fin_is_no_error_of_reading() {
    let mut script = Script::established(plain());
    let _ = script.inject(FIN | ACK, 1001, 5001, b"last words");
    script.expect(&[(ACK, 5001, 1012, 0)]);
    assert!(matches!(script.inject(flag::RST, 1012, 5001, b""), Disposition::Closed(None)));
    assert_eq!(script.host.recv(), Ok(b"last words".to_vec()));
    assert_eq!(script.host.recv(), Ok(vec![]), "the end, and not what came behind it");
    assert_eq!(script.host.recv(), Ok(vec![]));
    assert_eq!(script.host.send(b"x"), Err(SocketError::BrokenPipe));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn half_close_goes_on_reading() {
    let mut script = Script::established(plain());
    end_of(&mut script, Shutdown::Write);
    script.expect(&[(FIN | ACK, 5001, 1001, 0)]);
    let _ = script.inject(ACK, 1001, 5002, b"late");
    assert_eq!(script.host.recv(), Ok(b"late".to_vec()));
    assert_eq!(script.host.send(b"x"), Err(SocketError::BrokenPipe));
    assert_eq!(script.tcp().next_deadline().nanos(), u64::MAX, "an owner may wait in FIN-WAIT-2 for ever");
}

#[test]
fn the_fin_rides_on_the_last_data() {
    let mut script = Script::established(plain());
    script.host.send(b"bye").unwrap();
    let _ = script.host.close();
    script.expect(&[(FIN | ACK | PSH, 5001, 1001, 3)]);
}

#[test]
fn shld_3_close_with_data_unread_resets() {
    let mut script = Script::established(plain());
    let _ = script.inject(ACK | PSH, 1001, 5001, b"unread");
    let Disposition::Closed(Some(reset)) = script.host.close() else { panic!() };
    assert_eq!((reset.seq, reset.ack), (Seq(5001), Some(Seq(1007))));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn close_with_linger_of_zero_resets() {
    let mut script = Script::established(plain());
    let host = &mut script.host;
    host.tcp.set_option(&mut host.pools.cx(), SocketOption::Linger(Some(Duration::ZERO))).unwrap();
    host.send(b"lost").unwrap();
    assert!(matches!(host.close(), Disposition::Closed(Some(_))));
    host.pools.assert_nothing_leaked();
}

#[test]
fn shld_3_data_for_a_closed_owner_are_answered_with_a_reset() {
    let mut script = Script::established(plain());
    let _ = script.host.close();
    script.host.output();
    assert!(matches!(script.inject(ACK, 1001, 5002, b"data"), Disposition::Closed(Some(_))));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn fin_wait_2_of_a_closed_owner_ends_after_a_minute() {
    let mut script = Script::established(plain());
    let _ = script.host.close();
    script.host.output();
    let _ = script.inject(ACK, 1001, 5002, b"");
    script.host.output();
    assert_eq!(script.next_timer(), 60_000);
    assert!(script.tcp().is_released());
}

#[test]
fn an_abort_resets_and_forgets_what_waits() {
    let mut script = Script::established(plain());
    script.host.send(&[1; 5000]).unwrap();
    script.host.output();
    let host = &mut script.host;
    let Disposition::Closed(Some(reset)) = host.tcp.abort(&mut host.pools.cx()) else { panic!() };
    assert_eq!(reset.seq, Seq(10_001));
    host.pools.assert_nothing_leaked();
}

#[test]
fn a_fin_that_came_early_counts_when_the_gap_closes() {
    let mut script = Script::established(plain());
    let _ = script.inject(FIN | ACK, 1004, 5001, b"def");
    assert_eq!(script.tcp().state(), State::Established);
    script.host.output();
    let _ = script.inject(ACK, 1001, 5001, b"abc");
    assert_eq!(script.tcp().state(), State::CloseWait);
    assert_eq!(script.host.recv(), Ok(b"abcdef".to_vec()));
    script.expect(&[(ACK, 5001, 1008, 0)]);
}

#[test]
fn what_came_twice_in_front_of_a_fin_is_not_reported() {
    let mut script = Script::established(TcpSettings { timestamps: false, ..TcpSettings::default() });
    let _ = script.inject(ACK, 1001, 5001, b"twice");
    script.host.output();
    let _ = script.inject(FIN | ACK, 1001, 5001, b"twice");
    let answer = script.expect(&[(ACK, 5001, 1007, 0)]);
    assert!(answer[0].options().sacks.is_empty());
}
