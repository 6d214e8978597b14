//! What leaves and when: Nagle, cork, PSH, windows.

use super::*;
use crate::socket::{Ready, StampKind, StampKinds};
use crate::tcp::tx_stamps::StampKeys;
use crate::tcp::user::SocketOption;

fn set(script: &mut Script, option: SocketOption) {
    let host = &mut script.host;
    host.tcp.set_option(&mut host.pools.cx(), option).unwrap();
}

#[test]
fn shld_7_nagle_holds_a_second_small_segment_until_the_first_is_acknowledged() {
    let mut script = Script::established(plain());
    script.host.send(b"one").unwrap();
    script.expect(&[(ACK | PSH, 5001, 1001, 3)]);
    script.host.send(b"two").unwrap();
    script.expect(&[]);
    script.host.send(b"three").unwrap();
    let _ = script.inject(ACK, 1001, 5004, b"");
    script.expect(&[(ACK | PSH, 5004, 1001, 8)]);
}

#[test]
fn must_17_nodelay_sends_each_write() {
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::NoDelay(true));
    script.host.send(b"one").unwrap();
    script.expect(&[(ACK | PSH, 5001, 1001, 3)]);
    script.host.send(b"two").unwrap();
    script.expect(&[(ACK | PSH, 5004, 1001, 3)]);
}

#[test]
fn a_cork_holds_the_rest_until_it_is_pulled_or_the_timer_fires() {
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::Cork(true));
    script.host.send(&[1; 2000]).unwrap();
    script.expect(&[(ACK, 5001, 1001, 1460)]);
    let _ = script.inject(ACK, 1001, 6461, b"");
    script.expect(&[]);
    let waited = script.next_timer();
    assert!((200..=1000).contains(&waited), "{waited} ms");
    script.expect(&[(ACK | PSH, 6461, 1001, 540)]);
}

#[test]
fn must_61_shld_28_a_train_carries_full_segments_and_push_at_the_end() {
    let mut script = Script::established(plain());
    script.host.send(&[1; 4000]).unwrap();
    // On a path that is not short a train has two segments, and ends with a push.
    script.expect(&[(ACK, 5001, 1001, 1460), (ACK | PSH, 6461, 1001, 1460), (ACK | PSH, 7921, 1001, 1080)]);
}

#[test]
fn must_35_must_36_must_37_shld_30_a_closed_window_is_probed_and_an_open_one_ends_it() {
    let mut script = Script::established(plain());
    script.window = 0;
    let _ = script.inject(ACK, 1001, 5001, b"x");
    script.host.output();
    script.host.send(b"waits").unwrap();
    script.expect(&[]);
    let mut last = 0;
    for _ in 0..4 {
        let at = script.next_timer();
        assert!(at > last);
        last = at;
        script.expect(&[(ACK, 5000, 1002, 0)]);
        let _ = script.inject(ACK, 1002, 5001, b"");
        script.expect(&[]);
    }
    script.window = 100;
    let _ = script.inject(ACK, 1002, 5001, b"");
    script.expect(&[(ACK | PSH, 5001, 1002, 5)]);
}

#[test]
fn must_38_less_than_a_segment_of_window_waits_for_the_timer() {
    let mut script = Script::established(plain());
    script.window = 1; // 128 bytes
    let _ = script.inject(ACK, 1001, 5001, b"x");
    script.host.output();
    script.host.send(&[1; 1000]).unwrap();
    script.expect(&[]);
    script.next_timer();
    script.expect(&[(ACK | PSH, 5001, 1002, 128)]); // what a timer forces out is pushed
}

#[test]
fn must_62_the_urgent_pointer_points_behind_the_urgent_byte() {
    let mut script = Script::established(plain());
    let host = &mut script.host;
    host.tcp.send_urgent(&mut host.pools.cx(), b"ab!").unwrap();
    let sent = script.expect(&[(ACK | PSH | URG, 5001, 1001, 3)]);
    assert_eq!(sent[0].out.urgent, 3);
}

#[test]
fn a_full_buffer_takes_no_more_and_tells_when_a_third_is_free() {
    let mut script = Script::established(plain());
    while script.host.send(&[5; 4096]).is_ok() {}
    let sent: u32 = script.host.output().iter().map(|wire| wire.out.len).sum();
    script.tcp().take_news();
    let _ = script.inject(ACK, 1001, 5001 + 1460, b"");
    assert!(!script.tcp().take_news().contains(crate::socket::Ready::WRITABLE));
    let _ = script.inject(ACK, 1001, 5001 + sent, b"");
    assert!(script.tcp().take_news().contains(crate::socket::Ready::WRITABLE));
}

#[test]
fn no_segment_spans_the_end_of_a_record() {
    let mut script = Script::established(plain());
    // Three records, the second with a full segment and a piece, and what follows them.
    for len in [100, 2000, 300] {
        script.host.send(&vec![1; len]).unwrap();
        script.tcp().end_record(0);
    }
    script.host.send(&[1; 50]).unwrap();
    script.expect(&[
        (ACK | PSH, 5001, 1001, 100),
        (ACK, 5101, 1001, 1460),
        (ACK | PSH, 6561, 1001, 540),
        (ACK | PSH, 7101, 1001, 300),
    ]);
    // Nagle's rule is of the last segment alone.
    let _ = script.inject(ACK, 1001, 7401, b"");
    script.expect(&[(ACK | PSH, 7401, 1001, 50)]);
}

#[test]
fn a_record_that_is_lost_goes_again_as_it_was() {
    let mut script = Script::established(plain());
    for len in [100, 200, 300] {
        script.host.send(&vec![1; len]).unwrap();
        script.tcp().end_record(0);
    }
    script.host.send(&[1; 400]).unwrap();
    script.host.output();
    let _ = script.inject(ACK, 1001, 5101, b"");
    script.host.output();
    loop {
        script.next_timer();
        let again = script.host.output();
        if let Some(first) = again.iter().find(|wire| wire.out.seq == Seq(5101)) {
            assert_eq!(first.data.len(), 200);
            break;
        }
    }
}

#[test]
fn ends_of_records_beyond_the_bound_bind_nothing() {
    use crate::limits::MAX_RECORD_ENDS;
    let mut script = Script::established(plain());
    for _ in 0..MAX_RECORD_ENDS + 3 {
        script.host.send(b"a").unwrap();
        script.tcp().end_record(0);
    }
    assert_eq!(script.tcp().rare.as_ref().unwrap().records.len(), MAX_RECORD_ENDS);
    let mut sent = vec![];
    while (sent.iter().map(|wire: &Wire| wire.data.len()).sum::<usize>()) < MAX_RECORD_ENDS + 3 {
        let more = script.host.output();
        let end = more.last().map(|wire| wire.out.seq + wire.out.len).unwrap();
        sent.extend(more);
        let _ = script.inject(ACK, 1001, end.0, b"");
    }
    assert_eq!(sent.last().unwrap().data.len(), 3, "the last three share a segment");
    assert!(sent.iter().rev().skip(1).all(|wire| wire.data.len() == 1));
}

#[test]
fn a_bound_of_what_may_wait_unsent_bounds_a_write() {
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::SendBuffer(1 << 20));
    let free = script.tcp().writable();
    set(&mut script, SocketOption::NotSentLow(4000));
    let bounded = script.tcp().writable();
    assert!(bounded < free, "{bounded}");
    script.host.send(&vec![1; free]).unwrap();
    assert_eq!(script.tcp().unsent(), bounded);
    script.host.output();
    assert!(script.tcp().readiness().contains(crate::socket::Ready::CONNECTED));
    assert!(!script.tcp().readiness().contains(crate::socket::Ready::WRITABLE), "2000 or more wait unsent");
}

/// Kind and key of each stamp that waits.
fn stamps(script: &mut Script) -> Vec<(StampKind, u32)> {
    core::iter::from_fn(|| script.tcp().take_stamp()).map(|stamp| (stamp.kind, stamp.key)).collect()
}

const EVERY_STAMP: StampKinds =
    StampKinds { scheduled: true, sent: true, acknowledged: true, figures: false };

#[test]
fn the_last_byte_of_a_write_is_stamped_when_it_leaves_and_when_it_is_acknowledged() {
    use StampKind::{Acknowledged, Scheduled, Sent};
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::StampKeys(StampKeys::Unacknowledged));
    // The first is asked for before it is written, as a program's is; the second behind that.
    script.tcp().ask_stamps(EVERY_STAMP, 1600);
    script.host.send(&[1; 1600]).unwrap();
    script.host.send(&[1; 10]).unwrap();
    script.tcp().ask_stamps(StampKinds { sent: true, ..StampKinds::default() }, 0);
    assert!(!script.tcp().readiness().contains(Ready::STAMPS));
    script.expect(&[(ACK, 5001, 1001, 1460), (ACK | PSH, 6461, 1001, 150)]);
    assert!(script.tcp().take_news().contains(Ready::STAMPS));
    assert!(script.tcp().readiness().contains(Ready::STAMPS));
    let began = script.host.pools.now;
    assert_eq!(script.tcp().take_stamp().map(|stamp| (stamp.at, stamp.len)), Some((began, 150)));
    assert_eq!(stamps(&mut script), [(Sent, 1599), (Sent, 1609)]);
    // One acknowledgment of the bytes in front of it is none of it.
    let _ = script.inject(ACK, 1001, 5001 + 1599, b"");
    assert_eq!(stamps(&mut script), []);
    let _ = script.inject(ACK, 1001, 5001 + 1610, b"");
    assert_eq!(stamps(&mut script), [(Acknowledged, 1599)]);
    assert!(!script.tcp().readiness().contains(Ready::STAMPS));
    // Keys go on, or begin anew where the program says so.
    set(&mut script, SocketOption::StampKeys(StampKeys::Written));
    script.host.send(&[1; 4]).unwrap();
    script.tcp().ask_stamps(EVERY_STAMP, 0);
    script.host.output();
    assert_eq!(stamps(&mut script), [(Scheduled, 3), (Sent, 3)]);
    // What left is not stamped any more, and without keys there is none.
    script.tcp().ask_stamps(EVERY_STAMP, 0);
    set(&mut script, SocketOption::StampKeys(StampKeys::None));
    let _ = script.inject(ACK, 1001, 5001 + 1614, b"");
    assert_eq!(stamps(&mut script), [(Acknowledged, 0)]);
}

#[test]
fn figures_of_the_connection_stand_beside_the_stamps_that_ask_for_them() {
    let mut script = Script::established(plain());
    let with = StampKinds { figures: true, ..EVERY_STAMP };
    script.tcp().ask_stamps(with, 1600);
    script.tcp().ask_stamps(EVERY_STAMP, 1610);
    script.host.send(&[1; 1610]).unwrap();
    let left = script.host.pools.now;
    script.host.output();
    script.at(20);
    let _ = script.inject(ACK, 1001, 5001 + 1610, b"");
    let mut take = || script.tcp().take_stamp().map(|stamp| (stamp.kind, stamp.figures));
    let told: Vec<_> = core::iter::from_fn(&mut take).collect();
    let figures: Vec<_> = told.iter().filter_map(|(_, figures)| *figures).collect();
    assert_eq!(
        (told.len(), figures.len()),
        (6, 3),
        "three beside each, and figures beside those of the first"
    );
    for sent in &figures[..2] {
        assert_eq!((sent.data_segments, sent.bytes_sent, sent.waiting), (2, 1610, [1610, 0]));
        assert_eq!((sent.delivered, sent.cwnd, sent.ttl, sent.left), ([0, 0], 10, None, left));
    }
    let there = figures[2];
    assert_eq!((there.delivered, there.waiting, there.retransmissions), ([2, 0], [0, 0], 0));
    assert_eq!((there.min_rtt, there.srtt), (20_000, 20_000));
    assert_eq!((there.left, there.ttl), (left, Some(64)), "of the byte, and of the acknowledgment");
}

#[test]
fn a_stamped_byte_that_is_sent_again_is_stamped_again() {
    let mut script = Script::established(plain());
    script.tcp().ask_stamps(EVERY_STAMP, 3);
    script.host.send(b"one").unwrap();
    script.host.output();
    assert_eq!(stamps(&mut script), [(StampKind::Scheduled, 0), (StampKind::Sent, 0)]);
    script.next_timer();
    while script.host.output().is_empty() {
        script.next_timer();
    }
    assert_eq!(stamps(&mut script), [(StampKind::Scheduled, 0), (StampKind::Sent, 0)]);
    let _ = script.inject(ACK, 1001, 5004, b"");
    assert_eq!(stamps(&mut script), [(StampKind::Acknowledged, 0)]);
}

#[test]
fn stamps_that_nobody_takes_and_writes_that_are_never_acknowledged_are_bounded() {
    use crate::limits::{MAX_STAMPS, MAX_STAMPS_ASKED};
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::StampKeys(StampKeys::Unacknowledged));
    for _ in 0..MAX_STAMPS_ASKED + 3 {
        script.host.send(b"a").unwrap();
        script.tcp().ask_stamps(StampKinds { figures: true, ..EVERY_STAMP }, 0);
    }
    script.host.output();
    let _ = script.inject(ACK, 1001, 5001 + MAX_STAMPS_ASKED as u32 + 3, b"");
    let first = script.tcp().take_stamp().map(|stamp| (stamp.kind, stamp.key));
    assert_eq!(first, Some((StampKind::Scheduled, 3)), "further ones took the place of the oldest");
    let others: Vec<_> = core::iter::from_fn(|| script.tcp().take_stamp()).collect();
    assert_eq!(others.len(), MAX_STAMPS - 1, "the newest are lost");
    assert!(others.iter().all(|stamp| stamp.figures.is_some()), "and their figures, no others");
}
