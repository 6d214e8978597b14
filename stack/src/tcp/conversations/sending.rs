//! What leaves and when: Nagle, cork, PSH, windows.

use super::*;
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
