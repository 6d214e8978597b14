//! Data that come: in order, out of order, twice, urgent, and too many.

use super::*;
use crate::tcp::user::SocketOption;

#[test]
fn shld_31_out_of_order_data_are_kept_and_reported_then_joined() {
    let mut script = Script::established(plain());
    assert!(matches!(script.inject(ACK, 1011, 5001, b"second"), Disposition::Keep(Output::Now)));
    let ack = script.expect(&[(ACK, 5001, 1001, 0)]);
    assert_eq!(&ack[0].options().sacks[..], [(Seq(1011), Seq(1017))]);
    let _ = script.inject(ACK, 1001, 5001, b"firstfirst");
    let ack = script.expect(&[(ACK, 5001, 1017, 0)]);
    assert!(ack[0].options().sacks.is_empty());
    assert_eq!(script.host.recv(), Ok(b"firstfirstsecond".to_vec()));
}

#[test]
fn a_duplicate_is_reported_by_d_sack_once() {
    let mut script = Script::established(plain());
    let _ = script.inject(ACK, 1001, 5001, b"abc");
    script.host.output();
    let _ = script.inject(ACK, 1001, 5001, b"abcde");
    let ack = script.expect(&[(ACK, 5001, 1006, 0)]);
    assert_eq!(&ack[0].options().sacks[..], [(Seq(1001), Seq(1004))]);
    let _ = script.inject(ACK, 1006, 5001, b"f");
    let ack = script.host.output();
    assert!(ack[0].options().sacks.is_empty());
    assert_eq!(script.host.recv(), Ok(b"abcdef".to_vec()));
}

#[test]
fn must_39_a_window_opens_only_when_there_is_much_room() {
    let mut script = Script::established(plain());
    let mut seq = 1001;
    let data = [3; 1460];
    loop {
        let room = script.tcp().rx.offered();
        if room == 0 {
            script.next_timer(); // the window is full, and the acknowledgment that says so may wait
            assert_eq!(script.host.output()[0].out.window, 0);
            break;
        }
        let len = room.min(1460) as usize;
        let _ = script.inject(ACK, seq, 5001, &data[..len]);
        seq += len as u32;
        let last = script.host.output().pop();
        if last.is_some_and(|wire| wire.out.window == 0) {
            break;
        }
    }
    assert_eq!(script.host.pools.stats.to_zero_window, 1);
    let mut out = [0; 1000];
    let host = &mut script.host;
    host.tcp.recv(&mut host.pools.cx(), &mut out).unwrap();
    script.expect(&[]);
    assert!(script.host.recv().unwrap().len() > 60_000);
    let update = script.expect(&[(ACK, 5001, seq, 0)]);
    assert!(update[0].out.window > 400);
}

#[test]
fn must_30_must_31_must_32_urgent_data_stop_reading_at_the_mark_and_the_byte_is_out_of_band() {
    let mut script = Script::established(plain());
    let mut wire = script.wire(ACK | URG, 1001, 5001, b"abcXdef");
    wire.out.urgent = 4;
    let _ = script.host.input(&wire);
    assert!(script.tcp().take_news().contains(crate::socket::Ready::PRIORITY));
    assert_eq!(script.host.recv(), Ok(b"abc".to_vec()));
    assert!(script.tcp().at_mark());
    assert_eq!(script.tcp().recv_urgent(false), Ok(b'X'));
    assert_eq!(script.host.recv(), Ok(b"def".to_vec()));
    assert_eq!(script.tcp().recv_urgent(false), Err(SocketError::Invalid));
}

#[test]
fn urgent_data_in_line_stay_in_their_place() {
    let mut script = Script::established(plain());
    let host = &mut script.host;
    host.tcp.set_option(&mut host.pools.cx(), SocketOption::OobInline(true)).unwrap();
    let mut wire = script.wire(ACK | URG, 1001, 5001, b"abcXdef");
    wire.out.urgent = 4;
    let _ = script.host.input(&wire);
    assert_eq!(script.host.recv(), Ok(b"abc".to_vec()));
    assert_eq!(script.host.recv(), Ok(b"Xdef".to_vec()));
}

#[test]
fn an_empty_pool_drops_data_as_if_they_were_lost_and_goes_on_later() {
    let mut script = Script::established(plain());
    script.host.pools.blocks = BlockPool::new(0);
    assert!(matches!(script.inject(ACK, 1001, 5001, b"data"), Disposition::Refused(..)));
    script.expect(&[(ACK, 5001, 1001, 0)]);
    script.host.pools.blocks = BlockPool::new(8);
    let _ = script.inject(ACK, 1001, 5001, b"data");
    assert_eq!(script.host.recv(), Ok(b"data".to_vec()));
}
