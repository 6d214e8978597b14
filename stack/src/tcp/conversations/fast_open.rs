//! Fast open, the client's side (RFC 7413 section 4.2): what goes with the SYN, and what happens when it is lost.

use super::*;
use crate::tcp::info::OPTION_SYN_DATA;

fn client(cookie: &[u8], mss: u16) -> Host {
    let mut pools = Pools::new(plain());
    let args = ConnectArgs {
        default_mss: mss,
        fast_open: Some(cookie.iter().copied().collect()),
        ..connect_args(5000)
    };
    let tcp = Connection::connect(&mut pools.cx(), &args);
    Host { pools, tcp, ended: None }
}

#[test]
fn rfc7413_4_1_3_a_syn_carries_what_the_servers_last_mss_allows_less_room_for_all_options() {
    let mut host = client(&[0xab; 8], 1460);
    assert_eq!(host.send(&[1; 5000]), Ok(1420), "a write before the SYN gives what goes with it");
    let syn = host.output().remove(0);
    assert_eq!((syn.out.flags, syn.data.len()), (SYN, 1420));
    assert_eq!(syn.options().fast_open.as_deref(), Some(&[0xab; 8][..]));
}

#[test]
fn a_syn_that_is_sent_again_has_neither_data_nor_cookie() {
    for cookie in [&[0xab; 8][..], &[]] {
        let mut host = client(cookie, 1460);
        host.send(b"with the SYN").unwrap();
        host.output();
        host.pools.now = host.tcp.next_deadline();
        let _ = host.expire();
        let again = host.output().remove(0);
        assert_eq!((again.out.flags, again.data.len()), (SYN, 0));
        assert_eq!(again.options().fast_open, None);
    }
}

#[test]
fn what_the_syn_ack_leaves_out_goes_again_at_once_in_segments_that_the_peer_takes() {
    let mut host = client(&[0xab; 8], 1460);
    host.send(&[1; 5000]).unwrap();
    host.output();
    // The server took 100 bytes, and says that its segments are shorter than it said before.
    let mut options = Emitted::NONE;
    SynOptions { mss: 1000, sack: true, timestamps: None, scale: None, fast_open: None, experimental: false }
        .emit(&mut options);
    let out = Outgoing {
        seq: Seq(1000),
        ack: Seq(5101),
        flags: SYN | ACK,
        window: 30_000,
        urgent: 0,
        options,
        offset: 0,
        len: 0,
        mss: 1,
        ect: false,
        signature: None,
        dont_fragment: true,
    };
    let _ = host.input(&Wire { out, data: Vec::new(), damage: 0 });
    let again: Vec<_> = host.output().iter().map(|one| (one.out.seq.0, one.data.len())).collect();
    assert_eq!(again, [(5101, 1000), (6101, 320)]);
}

#[test]
fn the_syn_ack_acknowledges_what_came_with_the_syn_and_nothing_follows_it() {
    let settings = plain();
    let from = Accepted { arrived: Arrived::FastOpen, rtt: None, ..accepted(5000, &settings) };
    let mut script = Script { host: Host::accept(settings, &from), window: 501 };
    let _ = script.inject(ACK | PSH, 1001, 5000, b"question");
    assert_eq!(script.tcp().acknowledge_in_syn_ack(), Seq(1009));
    script.expect(&[]);
    let host = &mut script.host;
    assert_ne!(host.tcp.info(&host.pools.cx()).options & OPTION_SYN_DATA, 0, "as Linux tells of either end");
    // What comes next is the SYN-ACK once more, when it was lost.
    script.next_timer();
    script.expect(&[(SYN | ACK, 5000, 1009, 0)]);
}

fn deferring(fast_open: Option<&[u8]>, no_cookie: bool) -> Host {
    let mut pools = Pools::new(plain());
    let fast_open = fast_open.map(|cookie| cookie.iter().copied().collect());
    let args = ConnectArgs { default_mss: 1460, fast_open, no_cookie, defer: true, ..connect_args(5000) };
    let tcp = Connection::connect(&mut pools.cx(), &args);
    Host { pools, tcp, ended: None }
}

#[test]
fn a_syn_that_can_carry_data_waits_for_the_first_bytes_when_it_is_told_to() {
    for (fast_open, no_cookie) in [(Some(&[0xab; 8][..]), false), (None, true)] {
        let mut host = deferring(fast_open, no_cookie);
        assert!(host.tcp.is_deferred() && host.output().is_empty());
        host.send(b"question").unwrap();
        let syn = host.output().remove(0);
        assert_eq!((syn.out.flags, &syn.data[..]), (SYN, &b"question"[..]));
        assert_eq!(syn.options().fast_open.as_deref(), fast_open, "no option without a cookie");
        assert!(!host.tcp.is_deferred());
    }
}

#[test]
fn a_syn_that_waits_leaves_empty_when_nothing_is_to_come_and_one_that_asks_for_a_cookie_does_not_wait() {
    let mut host = deferring(Some(&[0xab; 8]), false);
    assert!(host.output().is_empty());
    host.tcp.go_on();
    assert_eq!(host.output().remove(0).data.len(), 0);
    let mut host = deferring(Some(&[]), false);
    assert!(!host.tcp.is_deferred());
    assert_eq!(host.output().len(), 1);
}
