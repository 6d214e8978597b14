//! Opening: active, passive, simultaneous, refused.

use super::*;

/// The sender has a bound of its own; of the rest 52 bytes count for TCP_INFO, and 4 are what a route allows.
#[test]
fn a_connection_keeps_to_its_share_of_memory() {
    let own = size_of::<Connection>() - size_of::<crate::tcp::recovery::Sender>();
    assert!(own <= 440, "{own} bytes besides the sender");
}

#[test]
fn must_14_shld_5_closed_connect_sends_a_syn_with_the_options_of_linux() {
    let mut client = Host::connect(TcpSettings::default(), 5000);
    let syn = client.output();
    assert_eq!(syn.len(), 1);
    assert!(syn[0].is(SYN, 5000, 0, 0));
    assert_eq!(syn[0].out.window, 64_240);
    let clock = 1000u32.to_be_bytes();
    let expected =
        [2, 4, 5, 180, 4, 2, 8, 10, clock[0], clock[1], clock[2], clock[3], 0, 0, 0, 0, 1, 3, 3, 7];
    assert_eq!(syn[0].out.options.as_bytes(), expected);
    assert_eq!(client.tcp.state(), State::SynSent);
    assert!(client.output().is_empty(), "one is enough");
}

#[test]
fn syn_sent_syn_ack_establishes_and_is_acknowledged_at_once() {
    let mut pair = Pair::connected([TcpSettings::default(), TcpSettings::default()], ms(10));
    let ack = pair.hosts[0].output();
    assert_eq!(ack.len(), 1);
    assert!(ack[0].is(ACK, 5001, 1001, 0));
    assert_eq!(ack[0].options().timestamps.map(|(_, echo)| echo), Some(1000));
    assert!(pair.hosts[0].tcp.take_news().contains(crate::socket::Ready::CONNECTED));
}

#[test]
fn must_10_simultaneous_open_reaches_established_on_both_ends() {
    let mut pair = Pair::new([TcpSettings::default(), TcpSettings::default()], ms(10));
    pair.run_for(ms(100));
    for host in &pair.hosts {
        assert_eq!(host.tcp.state(), State::Established);
    }
    let flags: Vec<u16> = pair.log.iter().map(|(_, wire)| wire.out.flags).collect();
    assert_eq!(flags[..4], [SYN, SYN, SYN | ACK, SYN | ACK]);
    pair.hosts[0].send(b"both ways").unwrap();
    pair.run_for(ms(300));
    assert_eq!(pair.hosts[1].recv().unwrap(), b"both ways");
}

#[test]
fn syn_sent_reset_with_our_number_is_a_refusal() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 100 };
    script.expect(&[(SYN, 5000, 0, 0)]);
    assert!(matches!(script.inject(RST, 0, 0, b""), Disposition::Refused(..)), "no ACK: not believed");
    assert!(matches!(script.inject(RST | ACK, 0, 4999, b""), Disposition::Refused(_, _, None)));
    assert_eq!(script.inject(RST | ACK, 0, 5001, b""), Disposition::Closed(None));
    assert_eq!(script.tcp().take_error(), Some(SocketError::Refused));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn established_reset_leaves_what_came_before_it_readable() {
    let mut script = Script::established(plain());
    let _ = script.inject(ACK, 1001, 5001, b"last words");
    assert_eq!(script.inject(RST, 1011, 0, b""), Disposition::Closed(None));
    assert_eq!(script.host.recv(), Ok(b"last words".to_vec()));
    assert_eq!(script.host.recv(), Err(SocketError::Reset));
    assert_eq!(script.host.recv(), Ok(vec![]));
    let _ = script.host.close();
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn syn_sent_acknowledgment_of_something_else_is_answered_with_a_reset() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 100 };
    script.expect(&[(SYN, 5000, 0, 0)]);
    let Disposition::Refused(_, _, Some(reset)) = script.inject(SYN | ACK, 1000, 7777, b"") else { panic!() };
    assert_eq!((reset.seq, reset.ack), (Seq(7777), None));
    assert_eq!(script.tcp().state(), State::SynSent);
}

#[test]
fn must_22_syn_sent_silence_ends_in_a_timeout_after_ten_retransmissions_and_131_seconds() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 100 };
    let mut syns = script.host.output().len();
    let mut at = 0;
    while script.tcp().state() == State::SynSent {
        at = script.next_timer();
        syns += script.host.output().len();
    }
    // As Linux: four even timeouts come on top of six that double, 4 + 1 + 2 + 4 + 8 + 16 + 32 s; then 64 s more.
    assert_eq!(syns, 11);
    assert!((130_000..133_000).contains(&at), "{at} ms");
    assert_eq!(script.tcp().take_error(), Some(SocketError::TimedOut));
    script.host.pools.assert_nothing_leaked();
}

#[test]
fn a_peer_without_window_scale_gets_none() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 1000 };
    script.expect(&[(SYN, 5000, 0, 0)]);
    let _ = script.inject(SYN | ACK, 1000, 5001, b"");
    let ack = script.expect(&[(ACK, 5001, 1001, 0)]);
    assert_eq!(ack[0].out.window, 64_240, "not shifted");
}

#[test]
fn must_15_a_peer_without_mss_gets_536_bytes() {
    let mut script = Script { host: Host::connect(plain(), 5000), window: 10_000 };
    script.host.output();
    let _ = script.inject(SYN | ACK, 1000, 5001, b"");
    script.host.output();
    script.host.send(&[7; 1072]).unwrap();
    script.expect(&[(ACK, 5001, 1001, 536), (ACK | PSH, 5537, 1001, 536)]);
}

#[test]
fn a_retransmission_with_sack_blocks_is_no_longer_than_the_path_allows() {
    let mut script = Script::established(plain());
    script.host.send(&[7; 2 * MSS as usize]).unwrap();
    script.expect(&[(ACK, 5001, 1001, 1460), (ACK | PSH, 6461, 1001, 1460)]);
    // The peer's data have a gap, so that everything we send carries SACK blocks: 12 bytes.
    let _ = script.inject(ACK, 1101, 5001, b"ahead");
    script.expect(&[(ACK, 7921, 1001, 0)]);
    while script.host.output().iter().all(|one| one.data.is_empty()) {
        script.next_timer();
        let again = script.host.output();
        if let Some(one) = again.first().filter(|one| !one.data.is_empty()) {
            assert_eq!(one.out.options.len() + one.data.len(), usize::from(MSS));
            return;
        }
    }
}
