//! Segments that somebody else may have sent (RFC 5961, RFC 5927), and broken ones.

use super::*;
use crate::tcp::input::Unreachable;
use crate::tcp::segment::Refusal;

#[test]
fn must_12_established_reset_at_the_expected_number_ends_the_connection() {
    let mut script = Script::established(plain());
    assert_eq!(script.inject(RST, 1001, 0, b""), Disposition::Closed(None));
    assert_eq!(script.tcp().take_error(), Some(SocketError::Reset));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn established_reset_elsewhere_in_the_window_is_challenged_and_outside_ignored() {
    let mut script = Script::established(plain());
    assert!(matches!(
        script.inject(RST, 1002, 0, b""),
        Disposition::Refused(Refusal::Challenged, Output::Now, _)
    ));
    script.expect(&[(ACK, 5001, 1001, 0)]);
    assert!(matches!(
        script.inject(RST, 900_000, 0, b""),
        Disposition::Refused(Refusal::OutOfWindow, Output::None, None)
    ));
    script.expect(&[]);
    assert_eq!(script.tcp().state(), State::Established);
}

#[test]
fn established_syn_is_challenged_wherever_it_stands_and_seldom() {
    let mut script = Script::established(plain());
    for seq in [1001, 1500, 900_000] {
        script.at(seq as u64 * 1000);
        let _ = script.inject(SYN, seq, 0, b"");
        script.expect(&[(ACK, 5001, 1001, 0)]);
        let _ = script.inject(SYN, seq, 0, b"");
        script.expect(&[]);
    }
}

#[test]
fn established_acknowledgment_of_what_was_never_sent_is_challenged() {
    let mut script = Script::established(plain());
    assert!(matches!(script.inject(ACK, 1001, 5002, b"x"), Disposition::Refused(Refusal::BadAck, ..)));
    assert_eq!(script.host.recv(), Err(SocketError::WouldBlock), "its data are not taken");
}

#[test]
fn established_data_beyond_the_window_are_acknowledged_and_dropped() {
    let mut script = Script::established(plain());
    let _ = script.inject(ACK, 900_000, 5001, b"far");
    script.expect(&[(ACK, 5001, 1001, 0)]);
}

#[test]
fn must_3_a_wrong_checksum_changes_nothing() {
    for len in [0, 5] {
        let mut script = Script::established(plain());
        let mut wire = script.wire(ACK, 1001, 5001, &vec![7; len]);
        wire.damage = 9;
        assert!(matches!(script.host.input(&wire), Disposition::Refused(Refusal::Checksum, ..)));
        assert_eq!(script.host.recv(), Err(SocketError::WouldBlock));
        script.expect(&[]);
        assert_eq!(script.host.pools.stats.in_csum_errors, 1);
    }
}

#[test]
fn paws_an_older_timestamp_is_refused_and_acknowledged() {
    let mut script = Script::established(TcpSettings::default());
    let stamped = |script: &Script, value, seq, data: &[u8]| {
        let mut wire = script.wire(ACK, seq, 5001, data);
        wire.out.options.push_timestamps((value, 0));
        wire
    };
    let wire = stamped(&script, 100, 1001, b"new");
    let _ = script.host.input(&wire);
    script.host.output();
    let wire = stamped(&script, 99, 1004, b"old");
    assert!(matches!(script.host.input(&wire), Disposition::Refused(Refusal::OldTimestamp, ..)));
    assert_eq!(script.host.recv(), Ok(b"new".to_vec()));
    assert_eq!(script.host.pools.stats.paws_estab_rejected, 1);
}

#[test]
fn must_54_icmp_about_what_is_not_outstanding_is_ignored_and_a_hard_error_ends_nothing() {
    let mut script = Script::established(plain());
    script.host.send(b"data").unwrap();
    script.host.output();
    let error = Unreachable::Hard(SocketError::Refused);
    for quoted in [4999, 5005, 5001] {
        let host = &mut script.host;
        let kept = host.tcp.on_icmp(&mut host.pools.cx(), Seq(quoted), error);
        assert_eq!(kept, Disposition::Keep(Output::None));
    }
    assert_eq!(script.tcp().take_error(), Some(SocketError::Refused), "remembered as a soft error");
    assert_eq!(script.tcp().state(), State::Established);
}

#[test]
fn syn_sent_icmp_port_unreachable_is_a_refusal() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 100 };
    script.host.output();
    let host = &mut script.host;
    let ended = host.tcp.on_icmp(&mut host.pools.cx(), Seq(5000), Unreachable::Hard(SocketError::Refused));
    assert_eq!(ended, Disposition::Closed(None));
}

#[test]
fn shld_6_a_smaller_path_mtu_cuts_what_was_lost_and_what_comes() {
    let mut script = Script::established(plain());
    script.host.send(&[1; 1460]).unwrap();
    script.expect(&[(ACK | PSH, 5001, 1001, 1460)]);
    let host = &mut script.host;
    let _ = host.tcp.on_icmp(&mut host.pools.cx(), Seq(5001), Unreachable::TooBig(1000));
    let again = script.host.output();
    assert!(again[0].is(ACK, 5001, 1001, 1000));
    assert_eq!(script.host.pools.stats.mtu_reduced, 1);
}
