//! What time brings: delayed acknowledgments, retransmission, keepalive, the user timeout.

use super::*;
use crate::tcp::user::SocketOption;

#[test]
fn must_40_shld_18_shld_19_an_acknowledgment_waits_40_ms_and_the_second_full_segment_does_not() {
    let mut script = Script::established(plain());
    script.past_quick_acks();
    script.at(100);
    let _ = script.inject(ACK, 1041, 5001, &[1; 1460]);
    script.expect(&[]);
    assert_eq!(script.next_timer(), 140);
    script.expect(&[(ACK, 5001, 2501, 0)]);
    let _ = script.inject(ACK, 2501, 5001, &[1; 1460]);
    script.expect(&[]);
    let _ = script.inject(ACK, 3961, 5001, &[1; 1460]);
    script.host.recv().unwrap();
    script.expect(&[(ACK, 5001, 5421, 0)]);
}

#[test]
fn must_58_data_carry_the_acknowledgment_that_waits() {
    let mut script = Script::established(plain());
    script.past_quick_acks();
    let _ = script.inject(ACK | PSH, 1041, 5001, b"ask");
    script.host.send(b"answer").unwrap();
    script.expect(&[(ACK | PSH, 5001, 1044, 6)]);
    assert_eq!(script.tcp().timers.get(crate::tcp::timers::Purpose::DelayedAck), Instant::NEVER);
}

#[test]
fn must_20_shld_11_silence_retransmits_and_gives_up_with_the_time_that_linux_takes() {
    let mut script = Script::established(plain());
    script.host.send(b"lost").unwrap();
    script.host.output();
    let mut again = 0;
    let mut last = 0;
    while script.tcp().state() != State::Closed {
        last = script.next_timer();
        again += script.host.output().len();
    }
    assert!((15..=18).contains(&again), "{again} retransmissions");
    assert!((900_000..1_200_000).contains(&last), "{last} ms");
    assert_eq!(script.tcp().take_error(), Some(SocketError::TimedOut));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn must_21_a_user_timeout_ends_it_earlier() {
    let mut script = Script::established(plain());
    let host = &mut script.host;
    host.tcp.set_option(&mut host.pools.cx(), SocketOption::UserTimeout(ms(3000))).unwrap();
    host.send(b"lost").unwrap();
    host.output();
    let mut last = 0;
    while script.tcp().state() != State::Closed {
        last = script.next_timer();
        script.host.output();
    }
    assert!((3000..6000).contains(&last), "{last} ms");
}

#[test]
fn must_24_must_25_must_27_must_29_keepalive_is_off_until_asked_for_and_one_lost_probe_kills_nothing() {
    let mut script = Script::established(plain());
    assert_eq!(script.tcp().next_deadline(), Instant::NEVER);
    let host = &mut script.host;
    for option in [
        SocketOption::KeepAlive(true),
        SocketOption::KeepIdle(Duration::from_secs(10)),
        SocketOption::KeepInterval(Duration::from_secs(5)),
        SocketOption::KeepCount(2),
    ] {
        host.tcp.set_option(&mut host.pools.cx(), option).unwrap();
    }
    assert_eq!(script.next_timer(), 10_000);
    script.expect(&[(ACK, 5000, 1001, 0)]);
    let _ = script.inject(ACK, 1001, 5001, b"");
    script.host.output();
    let mut probes = 0;
    let mut last = 0;
    while script.tcp().state() != State::Closed {
        last = script.next_timer();
        probes += script.host.output().len();
    }
    assert_eq!((probes, last), (2, 30_000));
    assert_eq!(script.tcp().take_error(), Some(SocketError::TimedOut));
}

/// What a connection was busy with are data, on their way or held back: not its SYN, however long that takes.
#[test]
fn time_is_counted_as_busy_from_the_first_data_to_their_acknowledgment() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 1000 };
    let busy = |script: &mut Script| {
        let host = &mut script.host;
        host.tcp.info(&host.pools.cx()).sender.busy
    };
    script.expect(&[(SYN, 5000, 0, 0)]);
    script.at(50);
    assert_eq!(busy(&mut script), ms(0));
    let _ = script.inject(SYN | ACK, 1000, 5001, b"");
    script.expect(&[(ACK, 5001, 1001, 0)]);
    script.at(60).host.send(b"for a while").unwrap();
    script.expect(&[(ACK | PSH, 5001, 1001, 11)]);
    script.at(90);
    let _ = script.inject(ACK, 1001, 5012, b"");
    script.expect(&[]);
    script.at(200);
    assert_eq!(busy(&mut script), ms(30));
}
