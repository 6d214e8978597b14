//! What Linux does where the RFCs leave room: the habits that peers and their test scripts know.

use super::*;
use crate::tcp::user::SocketOption;

fn set(script: &mut Script, option: SocketOption) {
    let host = &mut script.host;
    host.tcp.set_option(&mut host.pools.cx(), option).unwrap();
}

fn more(script: &mut Script, bytes: &[u8]) {
    let host = &mut script.host;
    host.tcp.send(&mut host.pools.cx(), bytes, true).unwrap();
}

#[test]
fn trains_end_with_a_push_and_a_lone_segment_in_the_middle_has_none() {
    let mut script = Script::established(plain());
    script.host.send(&[1; 20 * 1460]).unwrap();
    let flags: Vec<u16> = script.host.output().iter().map(|one| one.out.flags & PSH).collect();
    assert_eq!(flags, [0, PSH, 0, PSH, 0, PSH, 0, PSH, 0, PSH], "a window of ten, in trains of two");
    // One more acknowledged in slow start lets two go, which are a train again.
    let _ = script.inject(ACK, 1001, 5001 + 1460, b"");
    let flags: Vec<u16> = script.host.output().iter().map(|one| one.out.flags & PSH).collect();
    assert_eq!(flags, [0, PSH]);
}

#[test]
fn on_a_short_path_a_train_is_half_of_the_window() {
    let settings = plain();
    let near = Accepted { rtt: Some(Duration::from_micros(100)), ..accepted(5000, &settings) };
    let mut host = Host::accept(settings, &near);
    host.send(&[1; 16 * 1024]).unwrap();
    let flags: Vec<u16> = host.output().iter().map(|one| one.out.flags & PSH).collect();
    assert_eq!(flags, [0, 0, 0, 0, PSH, 0, 0, 0, 0, PSH]);
}

#[test]
fn a_window_that_ends_within_a_segment_is_used_up() {
    let mut script = Script::established(plain());
    script.window = 20; // 2560 bytes
    let _ = script.inject(ACK, 1001, 5001, b"x");
    script.host.output();
    script.host.send(&[1; 8000]).unwrap();
    script.expect(&[(ACK, 5001, 1002, 1460), (ACK | PSH, 6461, 1002, 1100)]);
}

#[test]
fn nodelay_pulls_what_a_cork_holds_once() {
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::Cork(true));
    script.host.send(b"held").unwrap();
    script.expect(&[]);
    set(&mut script, SocketOption::NoDelay(true));
    script.expect(&[(ACK | PSH, 5001, 1001, 4)]);
    script.host.send(b"held again").unwrap();
    script.expect(&[]);
    set(&mut script, SocketOption::Cork(false));
    script.expect(&[(ACK | PSH, 5005, 1001, 10)]);
}

#[test]
fn what_more_follows_is_sent_without_a_push_when_it_is_pulled() {
    let mut script = Script::established(plain());
    more(&mut script, b"first ");
    script.expect(&[]);
    set(&mut script, SocketOption::NoDelay(true));
    script.expect(&[(ACK, 5001, 1001, 6)]);
}

#[test]
fn a_write_stops_when_enough_waits_unsent_and_writable_comes_at_half_of_it() {
    let settings = TcpSettings {
        send: super::super::settings::BufferLimits { min: 4096, initial: 262_144, max: 4_194_304 },
        ..plain()
    };
    let mut script = Script::established(settings);
    set(&mut script, SocketOption::NotSentLow(4 * 1460));
    // Ten segments leave at once; half of the peer's largest window, in whole segments, is one burst.
    let burst = 64_128 / 2 / 1460 * 1460;
    assert_eq!(script.host.send(&[1; 200_000]), Ok(10 * 1460 + burst));
    assert_eq!(script.host.output().len(), 10);
    script.tcp().take_news();
    for n in 1..=burst / 1460 {
        assert!(
            !script.tcp().take_news().contains(crate::socket::Ready::WRITABLE)
                || script.tcp().unsent() < 2 * 1460
        );
        let _ = script.inject(ACK, 1001, 5001 + 1460 * n as u32, b"");
        script.host.output();
        if script.tcp().unsent() < 2 * 1460 {
            break;
        }
    }
    assert!(script.tcp().readiness().contains(crate::socket::Ready::WRITABLE));
}

#[test]
fn a_reset_of_ours_says_the_window_and_carries_timestamps() {
    let settings = TcpSettings::default();
    let mut script = Script::established(settings.clone());
    let mut wire = script.wire(ACK, 1001, 5001, b"unread");
    wire.out.options.push_timestamps((200, 1000));
    let _ = script.host.input(&wire);
    script.host.output();
    let Disposition::Closed(Some(reset)) = script.host.close() else { panic!("unread data: a reset") };
    assert_eq!((reset.seq, reset.ack), (Seq(5001), Some(Seq(1007))));
    assert_eq!(reset.stamps, Some((1000, 200)));
    assert!(reset.window > 0);
}

#[test]
fn data_for_a_closed_owner_are_answered_by_their_own_numbers() {
    let mut script = Script::established(plain());
    let _ = script.host.close();
    script.expect(&[(ACK | FIN, 5001, 1001, 0)]);
    let Disposition::Closed(Some(reset)) = script.inject(ACK, 1001, 5001, b"late") else { panic!("a reset") };
    assert_eq!((reset.seq, reset.ack, reset.window), (Seq(5001), None, 0));
}

#[test]
fn each_segment_that_opens_the_window_is_acknowledged_at_once() {
    let settings = TcpSettings {
        receive: super::super::settings::BufferLimits { min: 2048, initial: 262_144, max: 3_145_728 },
        ..plain()
    };
    let mut script = Script::established(settings);
    script.tcp().rx.threshold = 64_240;
    let data = [7; 1460];
    for n in 0..30u32 {
        let _ = script.inject(ACK, 1001 + n * 1460, 5001, &data);
        assert_eq!(script.host.output().len(), 1, "{n}: beyond the sixteen quick ones as well");
    }
}

#[test]
fn one_segment_of_the_buffer_is_kept_in_reserve() {
    let mut script = Script::established(plain());
    let tcp = script.tcp();
    assert_eq!((tcp.rx.clamp, tcp.rx.threshold, tcp.rx.offered()), (65_536 - 1460, 64_076, 64_240));
}

#[test]
fn a_first_window_beyond_what_a_syn_can_say_is_meant() {
    let receive = super::super::settings::BufferLimits { min: 2048, initial: 270_000, max: 7_864_320 };
    let mut host = Host::connect(TcpSettings { receive, window_max: 15_728_640, ..plain() }, 5000);
    let syn = host.output().remove(0);
    assert_eq!((syn.out.window, syn.options().scale), (65_535, Some(8)));
    assert_eq!(host.tcp.rx.wnd, 270_000 / 1460 * 1460);
}

#[test]
fn a_hint_that_more_follows_holds_until_the_next_acknowledgment() {
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::NoDelay(true));
    more(&mut script, &[1; 3100]);
    assert_eq!(script.host.output().len(), 2, "the full ones");
    let _ = script.inject(ACK, 1001, 5001 + 1460, b"");
    script.expect(&[(ACK, 7921, 1001, 180)]);
}

#[test]
fn a_socket_with_too_much_unsent_is_not_writable() {
    let mut script = Script::established(plain());
    set(&mut script, SocketOption::NotSentLow(4000));
    set(&mut script, SocketOption::SendBuffer(200_000));
    assert!(script.tcp().readiness().contains(crate::socket::Ready::WRITABLE));
    script.host.send(&[1; 100_000]).unwrap();
    script.host.output();
    assert!(script.tcp().unsent() > 4000);
    assert!(!script.tcp().readiness().contains(crate::socket::Ready::WRITABLE));
}
