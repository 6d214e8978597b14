//! Requirements of RFC 9293 that no other conversation is about; `docs/rfc9293.md` has the whole list.

use super::*;
use crate::tcp::input::Unreachable;
use crate::tcp::user::SocketOption;

#[test]
fn must_1_a_window_with_its_highest_bit_set_is_large_and_not_negative() {
    let mut script = Script::established(plain());
    script.window = 0xffff;
    let _ = script.inject(ACK, 1001, 5001, b"x");
    assert_eq!(script.tcp().tx.wnd, 0xffff << 7);
    script.host.output();
    script.host.send(&[7; 5000]).unwrap();
    assert_eq!(script.host.output().iter().map(|one| one.data.len()).sum::<usize>(), 5000);
}

#[test]
fn must_5_options_may_come_with_any_segment_and_the_data_behind_them_count() {
    let mut script = Script::established(TcpSettings::default());
    let mut wire = script.wire(ACK | PSH, 1001, 5001, b"data");
    wire.out.options.push_sacks(&[(Seq(1), Seq(2))]);
    wire.out.options.push_timestamps((9, 0));
    let _ = script.host.input(&wire);
    assert_eq!(script.host.recv(), Ok(b"data".to_vec()));
}

#[test]
fn must_11_a_simultaneous_open_that_is_reset_tells_its_owner() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 100 };
    script.host.output();
    let _ = script.inject(SYN, 1000, 0, b"");
    assert!(matches!(script.tcp().state(), State::SynReceived(_)));
    script.host.output();
    let _ = script.inject(RST, 1001, 0, b"");
    assert_eq!(script.tcp().state(), State::Closed, "not back to LISTEN: the open was ours");
    assert!(script.tcp().take_error().is_some());
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn must_16_the_smallest_of_peer_path_and_owner_is_the_segment_less_its_options() {
    let mut script = Script::established(TcpSettings::default());
    script.host.send(&[7; 3000]).unwrap();
    let sent = script.host.output();
    assert_eq!((sent[0].data.len(), sent[0].out.options.len()), (1448, 12));
}

#[test]
fn must_26_must_28_shld_12_a_keepalive_probe_leaves_after_two_idle_hours_and_holds_no_data() {
    let mut script = Script::established(plain());
    let host = &mut script.host;
    host.tcp.set_option(&mut host.pools.cx(), SocketOption::KeepAlive(true)).unwrap();
    // The peer is heard after an hour: the two hours begin again.
    script.at(3_600_000);
    let _ = script.inject(ACK, 1001, 5001, b"x");
    script.host.output();
    while script.host.tcp.next_deadline() != Instant::NEVER {
        let at = script.next_timer();
        let sent = script.host.output();
        if sent.iter().any(|one| one.out.seq == Seq(5000)) {
            assert_eq!(at, 3_600_000 + 7_200_000);
            assert!(sent[0].is(ACK, 5000, 1002, 0));
            return;
        }
    }
    panic!("no probe");
}

#[test]
fn must_34_shld_16_a_window_that_shrank_below_what_was_sent_breaks_nothing() {
    let mut script = Script::established(plain());
    script.host.send(&[7; 2920]).unwrap();
    script.expect(&[(ACK, 5001, 1001, 1460), (ACK | PSH, 6461, 1001, 1460)]);
    script.window = 4; // 512 bytes, and 2920 are outstanding
    let _ = script.inject(ACK, 1001, 5001, b"x");
    script.host.output();
    let mut again = Vec::new();
    while again.is_empty() {
        script.next_timer();
        again = script.host.output();
    }
    // A tail loss probe repeats the last segment only if the window has room for it; the timeout repeats the first.
    assert_eq!(again[0].out.seq, Seq(5001), "what is not acknowledged goes again");
    assert_eq!(script.tcp().state(), State::Established);
    script.window = 501;
    let _ = script.inject(ACK, 1002, 7921, b"y");
    assert_eq!(script.tcp().unacknowledged(), 0);
}

#[test]
fn must_48_shld_21_shld_22_the_type_of_service_is_the_owners_at_any_time() {
    let mut script = Script::established(plain());
    for tos in [0x28, 0xb8] {
        let host = &mut script.host;
        host.tcp.set_option(&mut host.pools.cx(), SocketOption::Tos(tos)).unwrap();
        assert_eq!(host.tcp.tos(), tos);
    }
}

#[test]
fn must_56_shld_25_unreachable_and_time_exceeded_are_told_and_end_nothing() {
    let mut script = Script::established(plain());
    script.host.send(b"data").unwrap();
    script.host.output();
    for error in [SocketError::HostUnreachable, SocketError::NetworkUnreachable] {
        let host = &mut script.host;
        let kept = host.tcp.on_icmp(&mut host.pools.cx(), Seq(5001), Unreachable::Soft(error));
        assert_eq!(kept, Disposition::Keep(Output::None));
        assert_eq!(script.tcp().take_error(), Some(error));
    }
    assert_eq!(script.tcp().state(), State::Established);
}

#[test]
fn must_59_one_acknowledgment_covers_all_that_a_gap_held_back() {
    let mut script = Script::established(plain());
    for n in 1..4 {
        let _ = script.inject(ACK, 1001 + n * 10, 5001, &[7; 10]);
        script.host.output();
    }
    let _ = script.inject(ACK, 1001, 5001, &[7; 10]);
    script.expect(&[(ACK, 5001, 1041, 0)]);
}

#[test]
fn must_60_data_leave_without_being_pushed() {
    let mut script = Script::established(plain());
    script.host.send(b"no PUSH in this call").unwrap();
    script.expect(&[(ACK | PSH, 5001, 1001, 20)]);
}

#[test]
fn must_65_the_mss_is_said_in_the_syn_alone() {
    let mut pair = Pair::connected([plain(), plain()], ms(10));
    pair.hosts[0].send(&[7; 5000]).unwrap();
    pair.run_for(ms(100));
    assert!(pair.log.len() > 5);
    for (_, wire) in &pair.log {
        let mss = options::parse(wire.out.options.as_bytes(), true).mss;
        assert_eq!(mss.is_some(), wire.out.flags & SYN != 0);
    }
}

#[test]
fn must_66_reset_and_urgent_pointer_are_heard_though_the_window_is_zero() {
    let mut script = Script::established(plain());
    let mut seq = 1001;
    while script.tcp().rx.offered() > 0 {
        let len = (script.tcp().rx.offered() as usize).min(1460);
        let _ = script.inject(ACK, seq, 5001, &vec![1; len]);
        seq += len as u32;
        script.host.output();
    }
    script.tcp().take_news();
    let mut wire = script.wire(ACK | URG, seq, 5001, b"");
    wire.out.urgent = 5;
    let _ = script.host.input(&wire);
    assert!(script.tcp().urgent_in.mark().is_some(), "announced");
    let _ = script.inject(RST, seq, 0, b"");
    assert_eq!(script.tcp().state(), State::Closed);
}

#[test]
fn shld_29_the_first_probe_of_a_closed_window_waits_for_a_timeout() {
    let mut script = Script::established(plain());
    script.window = 0;
    let _ = script.inject(ACK, 1001, 5001, b"x");
    script.host.output();
    script.host.send(b"waits").unwrap();
    script.expect(&[]);
    let rto = script.tcp().sender.rto().as_millis() as u64;
    assert!(script.next_timer().abs_diff(rto) <= 40, "a timeout of {rto} ms");
}
