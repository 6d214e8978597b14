//! Conversations: segment in, verdict out, at a time in milliseconds.

use super::*;
use crate::tcp::negotiated::{Arrived, Scales};
use crate::tcp::options::{self, SynOptions};
use crate::tcp::secret::Secret;
use crate::tcp::segment::Check;
use crate::wire::tcp::flag;
use core::net::Ipv4Addr;
use proptest::prelude::*;

const IRS: u32 = 1000;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn handle(number: u64) -> Handle {
    Handle::from_bits(number)
}

fn tuple(peer: u32) -> Tuple {
    let peer_address = Ipv4Addr::from_bits(0x0a00_0000 + peer / 1000).into();
    Tuple::new((Ipv4Addr::LOCALHOST.into(), 80), (peer_address, 1000 + (peer % 1000) as u16))
}

fn segment(seq: u32, ack: u32, flags: u16) -> Segment<'static> {
    Segment {
        seq: Seq(seq),
        ack: Seq(ack),
        flags,
        window: 500,
        urgent: 0,
        options: &[],
        data: &[],
        more: &[],
        check: Check::Verified,
        congested: false,
        ttl: 64,
    }
}

fn arrival<'a>(peer: u32, segment: &'a Segment<'a>) -> Arrival<'a> {
    Arrival {
        tuple: tuple(peer),
        segment,
        path_mss: 1460,
        route: RouteMetrics::NONE,
        ect: false,
        tos: 0,
        signature: RequestSignature::None,
        reused: None,
    }
}

fn options(mss: u16, full: bool, fast_open: Option<&[u8]>) -> Emitted {
    let mut out = Emitted::NONE;
    let timestamps = full.then_some((5000, 0));
    SynOptions { mss, sack: full, timestamps, scale: full.then_some(9), fast_open, experimental: false }
        .emit(&mut out);
    out
}

/// A listener with the worker's part.
struct World {
    passive: Passive,
    listener: Listener,
    made: u64,
}

impl World {
    fn new(settings: ListenSettings) -> World {
        let secret = Secret::new([11, 12]);
        let fast_open = FastOpenKeys::new(secret, None);
        World {
            passive: Passive::new(64, IsnGenerator::new(secret), SynCookies::new(secret), fast_open),
            listener: Listener::new(handle(7), settings),
            made: 0,
        }
    }

    fn with_backlog(backlog: usize) -> World {
        World::new(ListenSettings { backlog, ..ListenSettings::default() })
    }

    fn segment(&mut self, peer: u32, segment: &Segment<'_>, now: u64) -> Verdict {
        self.listener.on_segment(&mut self.passive, &arrival(peer, segment), at(now))
    }

    fn on_request(&mut self, place: u32, peer: u32, segment: &Segment<'_>, now: u64) -> Verdict {
        self.listener.on_request(&mut self.passive, place, &arrival(peer, segment), at(now))
    }

    fn syn(&mut self, peer: u32, options: &Emitted, now: u64) -> Verdict {
        let syn = Segment { options: options.as_bytes(), ..segment(IRS, 0, flag::SYN) };
        self.segment(peer, &syn, now)
    }

    /// A SYN that must become a request: its place and the SYN-ACK.
    fn request(&mut self, peer: u32, now: u64) -> (u32, SynAck) {
        match self.syn(peer, &options(1460, true, None), now) {
            Verdict::Request { reply, place, .. } => (place, reply),
            other => panic!("{other:?}"),
        }
    }

    fn establish(&mut self, request: Option<u32>) {
        self.made += 1;
        self.listener.established(&mut self.passive, request, handle(self.made));
    }

    /// The ACK that answers a SYN-ACK: to its request.
    fn acknowledge(&mut self, place: u32, peer: u32, reply: &SynAck, now: u64) -> Verdict {
        self.on_request(place, peer, &segment(IRS + 1, reply.seq.0 + 1, flag::ACK), now)
    }

    fn timer(&mut self, place: u32, now: u64) -> TimerVerdict {
        self.listener.on_timer(&mut self.passive, place, at(now))
    }
}

fn is_drop(verdict: Verdict, why: ListenDrop) -> bool {
    matches!(verdict, Verdict::Drop(found) if found == why)
}

#[test]
fn listen_syn_becomes_a_request_and_its_ack_a_connection() {
    let mut world = World::with_backlog(4);
    let (place, reply) = world.request(1, 100);
    let said = options::parse(reply.options.as_bytes(), true);
    assert_eq!((reply.ack, reply.flags, reply.window), (Seq(IRS + 1), flag::SYN | flag::ACK, 45 * 1448));
    assert_eq!((said.mss, said.scale, said.sack_permitted), (Some(1460), Some(7), true));
    assert_eq!(said.timestamps.map(|stamps| stamps.1), Some(5000));
    assert_eq!((world.listener.requests(), world.passive.len()), (1, 1));
    let Verdict::Child { accepted, request, .. } = world.acknowledge(place, 1, &reply, 130) else { panic!() };
    assert_eq!((accepted.arrived, request), (Arrived::Established, Some(place)));
    assert_eq!((accepted.irs, accepted.iss), (Seq(IRS), reply.seq));
    assert_eq!(accepted.negotiated.scales, Some(Scales { theirs: 9, ours: 7 }));
    assert_eq!((accepted.window, accepted.offered), (500 << 9, 65_160));
    assert_eq!((accepted.rtt, accepted.retransmissions), (Some(Duration::from_millis(30)), 0));
    world.establish(request);
    assert_eq!((world.listener.requests(), world.passive.len(), world.listener.waiting()), (0, 0, 1));
    assert_eq!((world.listener.accept(), world.listener.accept()), (Some(handle(1)), None));
}

#[test]
fn listen_syn_without_options_gets_only_our_mss_and_defaults() {
    let mut world = World::with_backlog(4);
    let Verdict::Request { reply, place, .. } = world.segment(1, &segment(IRS, 0, flag::SYN), 0) else {
        panic!()
    };
    assert_eq!(reply.options.as_bytes(), [2, 4, 5, 180]);
    let Verdict::Child { accepted, .. } = world.acknowledge(place, 1, &reply, 1) else { panic!() };
    assert_eq!((accepted.negotiated.mss, accepted.negotiated.scales, accepted.window), (536, None, 500));
}

#[test]
fn listen_reset_is_ignored_and_ack_is_reset_and_syn_fin_dropped() {
    let mut world = World::with_backlog(4);
    assert!(is_drop(world.segment(1, &segment(1, 2, flag::RST | flag::ACK), 0), ListenDrop::NoMeaning));
    assert!(is_drop(world.segment(1, &segment(1, 2, flag::FIN), 0), ListenDrop::NoMeaning));
    assert!(is_drop(world.segment(1, &segment(1, 2, flag::SYN | flag::FIN), 0), ListenDrop::SynFin));
    for flags in [flag::ACK, flag::SYN | flag::ACK] {
        let verdict = world.segment(1, &segment(1, 77, flags), 0);
        assert!(matches!(verdict, Verdict::Reset(Reset { seq: Seq(77), ack: None, .. })));
    }
    assert_eq!(world.passive.stats.drops[ListenDrop::NoMeaning as usize], 2);
}

#[test]
fn listen_ecn_setup_syn_is_granted_unless_the_packet_is_ecn_capable() {
    let syn = segment(IRS, 0, flag::SYN | flag::ECE | flag::CWR);
    for (ect, ecn, granted) in [(false, true, true), (true, true, false), (false, false, false)] {
        let mut world = World::new(ListenSettings { ecn, ..ListenSettings::default() });
        let came = Arrival { ect, ..arrival(1, &syn) };
        let verdict = world.listener.on_segment(&mut world.passive, &came, at(0));
        let Verdict::Request { reply, .. } = verdict else { panic!() };
        assert_eq!(reply.flags & flag::ECE != 0, granted);
    }
}

#[test]
fn syn_received_syn_ack_goes_again_after_1_3_7_15_31_seconds_and_the_request_ends_at_63() {
    let mut world = World::with_backlog(100);
    let (place, first) = world.request(1, 0);
    let (mut now, mut sent) = (1000, Vec::new());
    loop {
        match world.timer(place, now) {
            TimerVerdict::Resend(again, deadline) => {
                assert_eq!((again.seq, again.ack), (first.seq, first.ack));
                sent.push(now);
                now = deadline.nanos() / 1_000_000;
            }
            TimerVerdict::Gone => break,
            TimerVerdict::Wait(_) => panic!("nothing is deferred"),
        }
    }
    assert_eq!((sent, now), (vec![1000, 3000, 7000, 15_000, 31_000], 63_000));
    assert_eq!((world.listener.requests(), world.listener.young, world.passive.len()), (0, 0, 0));
    assert_eq!(world.timer(place, now), TimerVerdict::Gone);
}

#[test]
fn syn_received_rtt_is_not_measured_once_the_syn_ack_went_again() {
    let mut world = World::with_backlog(4);
    let (place, reply) = world.request(1, 0);
    assert!(matches!(world.timer(place, 1000), TimerVerdict::Resend(..)));
    let Verdict::Child { accepted, .. } = world.acknowledge(place, 1, &reply, 1100) else { panic!() };
    assert_eq!((accepted.rtt, accepted.retransmissions), (None, 1));
}

#[test]
fn syn_received_same_syn_brings_the_syn_ack_again_twice_a_second() {
    let mut world = World::with_backlog(4);
    let (place, first) = world.request(1, 0);
    let offered = options(1460, true, None);
    let syn = Segment { options: offered.as_bytes(), ..segment(IRS, 0, flag::SYN) };
    let Verdict::Reply { reply, deadline } = world.on_request(place, 1, &syn, 600) else { panic!() };
    assert_eq!((reply.seq, reply.flags, deadline), (first.seq, first.flags, Some((place, at(1600)))));
    assert!(is_drop(world.on_request(place, 1, &syn, 1099), ListenDrop::Limited));
    assert!(matches!(world.on_request(place, 1, &syn, 1100), Verdict::Reply { .. }));
}

#[test]
fn syn_received_wrong_ack_is_reset_and_the_request_stays() {
    let mut world = World::with_backlog(4);
    let (place, reply) = world.request(1, 0);
    let wrong = segment(IRS + 1, reply.seq.0 + 2, flag::ACK);
    let verdict = world.on_request(place, 1, &wrong, 5);
    assert!(matches!(verdict, Verdict::Reset(reset) if reset.seq == reply.seq + 2));
    assert!(matches!(world.acknowledge(place, 1, &reply, 6), Verdict::Child { .. }));
}

#[test]
fn syn_received_reset_counts_only_at_the_exact_number() {
    let mut world = World::with_backlog(4);
    let (place, _) = world.request(1, 0);
    let outside = world.on_request(place, 1, &segment(IRS + 1 + 70_000, 0, flag::RST), 5);
    assert!(is_drop(outside, ListenDrop::Limited));
    let inside = world.on_request(place, 1, &segment(IRS + 50, 0, flag::RST), 5);
    assert!(matches!(inside, Verdict::Reply { reply, deadline: None } if reply.flags == flag::ACK));
    let exact = world.on_request(place, 1, &segment(IRS + 1, 0, flag::RST), 6);
    assert!(matches!(exact, Verdict::Gone { reset: None, .. }));
    assert_eq!((world.listener.requests(), world.passive.stats.embryonic_resets), (0, 1));
}

#[test]
fn syn_received_another_syn_in_window_ends_the_request_and_one_outside_is_acknowledged() {
    let mut world = World::with_backlog(4);
    let (place, reply) = world.request(1, 0);
    let far = world.on_request(place, 1, &segment(IRS + 900_000, 0, flag::SYN), 5);
    assert!(
        matches!(far, Verdict::Reply { reply: ack, .. } if ack.ack == Seq(IRS + 1) && ack.seq == reply.seq + 1)
    );
    let near = world.on_request(place, 1, &segment(IRS + 5, 0, flag::SYN), 6);
    assert!(matches!(near, Verdict::Gone { reset: Some(_), .. }));
    let gone = world.on_request(place, 1, &segment(IRS + 5, 0, flag::SYN), 7);
    assert!(is_drop(gone, ListenDrop::NoRequest));
}

#[test]
fn syn_received_old_timestamp_is_acknowledged_and_opens_nothing() {
    let mut world = World::with_backlog(4);
    let (place, reply) = world.request(1, 0);
    let stamped = |value| {
        let mut options = Emitted::NONE;
        options.push_timestamps((value, 1));
        options
    };
    let (old, new) = (stamped(4999), stamped(5002));
    let ack = |options| Segment { options, ..segment(IRS + 1, reply.seq.0 + 1, flag::ACK) };
    let verdict = world.on_request(place, 1, &ack(old.as_bytes()), 5);
    assert!(matches!(verdict, Verdict::Reply { deadline: None, .. }));
    assert_eq!(world.passive.stats.paws_rejected, 1);
    let Verdict::Child { accepted, .. } = world.on_request(place, 1, &ack(new.as_bytes()), 6) else {
        panic!()
    };
    assert_eq!(accepted.ts_recent, 5002);
}

#[test]
fn accept_queue_holds_backlog_and_one_then_acks_are_dropped_and_syns_too() {
    let mut world = World::with_backlog(1);
    let first = world.request(1, 0);
    let second = world.request(2, 0);
    for (peer, (place, reply)) in [(1, &first), (2, &second)] {
        let Verdict::Child { request, .. } = world.acknowledge(*place, peer, reply, 10) else { panic!() };
        world.establish(request);
        if peer == 1 {
            assert!(!world.listener.accept_queue_is_full());
        }
    }
    let dropped = world.syn(3, &options(1460, true, None), 20);
    assert!(is_drop(dropped, ListenDrop::AcceptQueueFull));
    // A request that was there before: its ACK waits for room.
    world.listener.accept();
    let (place, reply) = world.request(3, 30);
    world.establish(None);
    assert!(is_drop(world.acknowledge(place, 3, &reply, 40), ListenDrop::AcceptQueueFull));
    assert!(matches!(world.timer(place, 1030), TimerVerdict::Resend(..)), "the peer is asked again");
    world.listener.accept();
    assert!(matches!(world.acknowledge(place, 3, &reply, 1050), Verdict::Child { .. }));
}

#[test]
fn accept_queue_overflow_resets_when_asked_to() {
    let settings = ListenSettings { backlog: 0, abort_on_overflow: true, ..ListenSettings::default() };
    let mut world = World::new(settings);
    let (place, reply) = world.request(1, 0);
    world.establish(None);
    let verdict = world.acknowledge(place, 1, &reply, 1);
    assert!(matches!(verdict, Verdict::Gone { reset: Some(reset), .. } if reset.seq == reply.seq + 1));
}

#[test]
fn a_connection_without_room_leaves_its_request_for_the_next_ack() {
    let mut world = World::with_backlog(4);
    let (place, reply) = world.request(1, 0);
    let Verdict::Child { request, .. } = world.acknowledge(place, 1, &reply, 1) else { panic!() };
    world.listener.refused(&mut world.passive, request);
    assert!(matches!(world.timer(place, 1000), TimerVerdict::Resend(..)));
    assert!(matches!(world.acknowledge(place, 1, &reply, 1001), Verdict::Child { .. }));
}

#[test]
fn deferred_accept_waits_for_data_and_gives_up_when_none_come() {
    let settings = ListenSettings { defer_accept: Duration::from_secs(3), ..ListenSettings::default() };
    let mut world = World::new(settings);
    let (place, reply) = world.request(1, 0);
    assert!(is_drop(world.acknowledge(place, 1, &reply, 10), ListenDrop::Deferred));
    let data = Segment { data: b"GET", ..segment(IRS + 1, reply.seq.0 + 1, flag::ACK | flag::PSH) };
    assert!(matches!(world.on_request(place, 1, &data, 20), Verdict::Child { .. }));

    // Two timeouts fit: nothing is sent in the first, the SYN-ACK comes at the second, whose answer is
    // accepted.
    let (place, reply) = world.request(2, 0);
    assert!(is_drop(world.acknowledge(place, 2, &reply, 10), ListenDrop::Deferred));
    assert_eq!(world.timer(place, 1000), TimerVerdict::Wait(at(3000)));
    assert!(matches!(world.timer(place, 3000), TimerVerdict::Resend(_, deadline) if deadline == at(7000)));
    assert!(matches!(world.acknowledge(place, 2, &reply, 3010), Verdict::Child { .. }));
}

#[test]
fn a_flood_beyond_the_queue_gets_cookies_and_real_handshakes_still_complete() {
    let mut world = World::with_backlog(8);
    for peer in 100..109 {
        world.request(peer, 0);
    }
    for peer in 1000..3000 {
        let verdict = world.syn(peer, &options(1460, true, None), 1);
        assert!(matches!(verdict, Verdict::Reply { deadline: None, .. }));
    }
    assert_eq!((world.passive.len(), world.passive.stats.cookies_sent), (9, 2000));
    let Verdict::Reply { reply, .. } = world.syn(1, &options(1460, true, None), 2) else { panic!() };
    let (value, _) = options::parse(reply.options.as_bytes(), true).timestamps.unwrap();
    let mut echo = Emitted::NONE;
    echo.push_timestamps((5001, value));
    let ack = Segment { options: echo.as_bytes(), ..segment(IRS + 1, reply.seq.0 + 1, flag::ACK) };
    let Verdict::Child { accepted, request, .. } = world.segment(1, &ack, 50) else { panic!() };
    assert_eq!((request, accepted.irs, accepted.iss), (None, Seq(IRS), reply.seq));
    assert_eq!((accepted.negotiated.mss, accepted.negotiated.sack), (1460, true));
    assert_eq!(accepted.negotiated.scales, Some(Scales { theirs: 9, ours: 7 }));
    assert_eq!((accepted.window, accepted.rtt, accepted.ts_recent), (500 << 9, None, 5001));
    // The same ACK with a number beside it.
    let forged = Segment { ack: reply.seq + 2, ..ack.clone() };
    assert!(matches!(world.segment(1, &forged, 51), Verdict::Reset(_)));
    // Two minutes after the last overflow cookies are not looked at any more.
    assert!(matches!(world.segment(1, &ack, 120_002), Verdict::Reset(_)));
    assert_eq!((world.passive.stats.cookies_received, world.passive.stats.cookies_failed), (1, 1));
}

#[test]
fn a_cookie_without_timestamps_keeps_the_mss_alone() {
    let mut world = World::new(ListenSettings { cookies: CookiePolicy::Always, ..ListenSettings::default() });
    let mut out = Emitted::NONE;
    SynOptions {
        mss: 1300,
        sack: true,
        timestamps: None,
        scale: Some(9),
        fast_open: None,
        experimental: false,
    }
    .emit(&mut out);
    let Verdict::Reply { reply, .. } = world.syn(1, &out, 0) else { panic!() };
    assert_eq!(reply.options.as_bytes(), [2, 4, 5, 180]);
    let ack = segment(IRS + 1, reply.seq.0 + 1, flag::ACK);
    let Verdict::Child { accepted, .. } = world.segment(1, &ack, 5) else { panic!() };
    let agreed = accepted.negotiated;
    assert_eq!((agreed.mss, agreed.scales, agreed.sack, agreed.timestamps), (1300, None, false, false));
}

#[test]
fn without_cookies_the_queue_holds_backlog_and_one_and_no_ack_is_taken_for_a_cookie() {
    let mut world =
        World::new(ListenSettings { backlog: 2, cookies: CookiePolicy::Never, ..ListenSettings::default() });
    (1..=3).for_each(|peer| _ = world.request(peer, 0));
    assert!(is_drop(world.syn(4, &options(1460, true, None), 0), ListenDrop::QueueFull));
    assert!(matches!(world.segment(5, &segment(1, 2, flag::ACK), 0), Verdict::Reset(_)));
    assert_eq!(world.passive.stats.cookies_failed, 0);
}

#[test]
fn the_workers_table_of_requests_is_a_bound_too() {
    let mut world = World::with_backlog(1000);
    (0..64).for_each(|peer| _ = world.request(peer, 0));
    let verdict = world.syn(100, &options(1460, true, None), 0);
    assert!(matches!(verdict, Verdict::Reply { deadline: None, .. }));
    let place = 5;
    assert!(world.passive.forget(place) && !world.passive.forget(place));
}

#[test]
fn in_a_flood_old_requests_are_given_up_after_two_retransmissions() {
    let mut world = World::with_backlog(8);
    let (place, _) = world.request(1, 0);
    (2..=8).for_each(|peer| _ = world.request(peer, 0));
    (0..8).for_each(|place| assert!(matches!(world.timer(place, 1000), TimerVerdict::Resend(..))));
    assert!(matches!(world.timer(place, 3000), TimerVerdict::Resend(..)));
    assert_eq!(world.timer(place, 7000), TimerVerdict::Gone);
}

#[test]
fn a_syn_that_reuses_time_wait_begins_with_the_number_chosen_there() {
    let mut world = World::with_backlog(4);
    let syn = segment(IRS, 0, flag::SYN);
    let reused = Some(Reused { iss: Seq(424_242), ts_recent: None, ts_offset: 9 });
    let came = Arrival { reused, ..arrival(1, &syn) };
    let verdict = world.listener.on_segment(&mut world.passive, &came, at(0));
    assert!(matches!(verdict, Verdict::Request { reply, .. } if reply.seq == Seq(424_242)));
}

fn fast_open_world(queue: usize) -> World {
    World::new(ListenSettings { fast_open: queue, ..ListenSettings::default() })
}

fn fast_syn(world: &mut World, peer: u32, cookie: Option<&[u8]>, data: &'static [u8], now: u64) -> Verdict {
    let options = options(1460, false, cookie);
    let syn = Segment { options: options.as_bytes(), data, ..segment(IRS, 0, flag::SYN) };
    world.segment(peer, &syn, now)
}

fn cookie_in(reply: &SynAck) -> Option<Vec<u8>> {
    options::parse(reply.options.as_bytes(), true).fast_open.map(|cookie| cookie.to_vec())
}

#[test]
fn fast_open_cookie_is_given_and_then_opens_with_data_in_the_syn() {
    let mut world = fast_open_world(2);
    let Verdict::Request { reply, .. } = fast_syn(&mut world, 1, Some(&[]), b"", 0) else { panic!() };
    let cookie = cookie_in(&reply).unwrap();
    assert_eq!(cookie.len(), 8);
    // Another connection of the same host.
    let Verdict::FastOpen { accepted, reply, .. } = fast_syn(&mut world, 2, Some(&cookie), b"GET /", 10)
    else {
        panic!()
    };
    assert_eq!((accepted.arrived, accepted.rtt), (Arrived::FastOpen, None));
    assert_eq!((reply.ack, cookie_in(&reply), accepted.window), (Seq(IRS + 6), None, 500));
    world.listener.fast_opened(handle(1));
    assert_eq!((world.listener.waiting(), world.listener.requests()), (1, 1));
    assert_eq!((world.passive.stats.fast_open_requests, world.passive.stats.fast_opens), (1, 1));
}

#[test]
fn fast_open_wrong_cookie_is_an_ordinary_handshake_with_a_new_cookie() {
    let mut world = fast_open_world(2);
    let Verdict::Request { reply, place, .. } = fast_syn(&mut world, 1, Some(&[9; 8]), b"GET /", 0) else {
        panic!()
    };
    assert_eq!((reply.ack, cookie_in(&reply).map(|cookie| cookie.len())), (Seq(IRS + 1), Some(8)));
    assert_eq!(world.passive.stats.fast_open_refused, 1);
    let TimerVerdict::Resend(again, _) = world.timer(place, 1000) else { panic!() };
    assert_eq!(cookie_in(&again), cookie_in(&reply));
}

#[test]
fn fast_open_in_the_form_of_an_experiment_is_answered_in_it() {
    let mut world = fast_open_world(2);
    let syn = |world: &mut World, peer, cookie: &[u8], data| {
        let mut out = Emitted::NONE;
        let syn = SynOptions {
            mss: 1460,
            sack: true,
            timestamps: None,
            scale: None,
            fast_open: Some(cookie),
            experimental: true,
        };
        syn.emit(&mut out);
        world.segment(peer, &Segment { options: out.as_bytes(), data, ..segment(IRS, 0, flag::SYN) }, 0)
    };
    let Verdict::Request { reply, .. } = syn(&mut world, 1, &[], b"") else { panic!() };
    let parsed = options::parse(reply.options.as_bytes(), true);
    assert!(parsed.experimental);
    let cookie = parsed.fast_open.unwrap();
    assert!(matches!(syn(&mut world, 2, &cookie, b"GET /"), Verdict::FastOpen { .. }));
}

#[test]
fn the_largest_segment_of_a_listener_bounds_both_directions() {
    for (said, agreed) in [(1300, 1100), (900, 900)] {
        let mut world = World::new(ListenSettings { max_segment: Some(1100), ..ListenSettings::default() });
        let offered = options(said, true, None);
        let Verdict::Request { reply, place, .. } = world.syn(1, &offered, 0) else { panic!() };
        assert_eq!(options::parse(reply.options.as_bytes(), true).mss, Some(1100));
        let Verdict::Child { accepted, .. } = world.acknowledge(place, 1, &reply, 5) else { panic!() };
        assert_eq!(accepted.negotiated.mss, agreed);
    }
}

#[test]
fn fast_open_beyond_the_limit_or_switched_off_is_an_ordinary_handshake() {
    let mut world = fast_open_world(1);
    let Verdict::Request { reply, .. } = fast_syn(&mut world, 1, Some(&[]), b"", 0) else { panic!() };
    let cookie = cookie_in(&reply).unwrap();
    assert!(matches!(fast_syn(&mut world, 2, Some(&cookie), b"a", 0), Verdict::FastOpen { .. }));
    world.listener.fast_opened(handle(1));
    let verdict = fast_syn(&mut world, 3, Some(&cookie), b"a", 0);
    assert!(matches!(verdict, Verdict::Request { reply, .. } if cookie_in(&reply).is_none()));
    world.listener.fast_open_ended(false, at(1));
    assert!(matches!(fast_syn(&mut world, 4, Some(&cookie), b"a", 1), Verdict::FastOpen { .. }));
    let mut off = fast_open_world(0);
    let verdict = fast_syn(&mut off, 1, Some(&cookie), b"a", 0);
    assert!(matches!(verdict, Verdict::Request { reply, .. } if cookie_in(&reply).is_none()));
}

#[test]
fn fast_open_cookie_of_the_old_key_opens_and_is_renewed() {
    let mut world = fast_open_world(2);
    let Verdict::Request { reply, .. } = fast_syn(&mut world, 1, Some(&[]), b"", 0) else { panic!() };
    let old = cookie_in(&reply).unwrap();
    world.passive.fast_open.rotate(Secret::new([99, 98]));
    let Verdict::FastOpen { reply, .. } = fast_syn(&mut world, 2, Some(&old), b"x", 1) else { panic!() };
    let new = cookie_in(&reply).unwrap();
    assert_ne!(old, new);
    assert_eq!(world.passive.stats.fast_opens_old_key, 1);
}

#[test]
fn fast_open_without_cookies_opens_any_syn_with_data() {
    let settings =
        ListenSettings { fast_open: 2, fast_open_without_cookie: true, ..ListenSettings::default() };
    let mut world = World::new(settings);
    assert!(matches!(fast_syn(&mut world, 1, None, b"x", 0), Verdict::FastOpen { .. }));
    assert!(matches!(fast_syn(&mut world, 2, None, b"", 0), Verdict::Request { .. }));
}

#[test]
fn signed_syn_acks_leave_room_for_the_signature_and_md5_gives_up_timestamps() {
    for (signature, kind, stamps) in [
        (RequestSignature::Md5, options::MD5, false),
        (RequestSignature::Ao { send_id: 3 }, options::AO, true),
    ] {
        let mut world = World::with_backlog(4);
        let offered = options(1460, true, None);
        let syn = Segment { options: offered.as_bytes(), ..segment(IRS, 0, flag::SYN) };
        let came = Arrival { signature, ..arrival(1, &syn) };
        let verdict = world.listener.on_segment(&mut world.passive, &came, at(0));
        let Verdict::Request { reply, .. } = verdict else { panic!() };
        let place = usize::from(reply.signature.unwrap());
        assert_eq!(reply.options.as_bytes()[place - 2], kind);
        let said = options::parse(reply.options.as_bytes(), true);
        assert_eq!((said.mss, said.sack_permitted, said.scale), (Some(1460), true, Some(7)));
        assert_eq!(said.timestamps.is_some(), stamps);
    }
}

#[test]
fn closing_gives_the_connections_that_wait() {
    let mut world = World::with_backlog(4);
    world.establish(None);
    world.establish(None);
    assert_eq!(world.listener.close().collect::<Vec<_>>(), [handle(1), handle(2)]);
}

#[test]
fn a_backlog_beyond_the_bound_is_the_bound() {
    let world = World::with_backlog(usize::MAX);
    assert_eq!(world.listener.settings().backlog(), crate::limits::MAX_BACKLOG);
}

proptest! {
    #[test]
    fn any_segments_keep_the_counts_true_and_the_queues_bounded(
        steps in prop::collection::vec((0u32..12, any::<u8>(), 0u16..64, 0u64..3000), 1..300)
    ) {
        let mut world = World::with_backlog(3);
        // Peer -> place, as the 4-tuple table has it.
        let mut table: std::collections::HashMap<u32, (u32, Seq)> = Default::default();
        let mut now = 0;
        for (peer, kind, flags, wait) in steps {
            now += wait;
            let known = table.get(&peer).copied();
            if kind < 40 {
                if let Some((place, _)) = known
                    && world.timer(place, now) == TimerVerdict::Gone
                {
                    table.remove(&peer);
                }
            } else if kind < 50 {
                world.listener.accept();
            } else {
                let ack = known.map_or(Seq(5), |(_, iss)| iss + 1);
                let seq = IRS + u32::from(kind % 4);
                let came = segment(seq, ack.0, flags);
                let verdict = match known {
                    Some((place, _)) => world.on_request(place, peer, &came, now),
                    None => world.segment(peer, &came, now),
                };
                match verdict {
                    Verdict::Request { place, reply, .. } => _ = table.insert(peer, (place, reply.seq)),
                    Verdict::Gone { .. } => _ = table.remove(&peer),
                    Verdict::Child { request, .. } => {
                        prop_assert_eq!(request, known.map(|(place, _)| place));
                        world.establish(request);
                        table.remove(&peer);
                    }
                    Verdict::FastOpen { .. } => prop_assert!(false, "fast open is off"),
                    Verdict::Drop(_) | Verdict::Reset(_) | Verdict::Reply { .. } => {}
                }
            }
            prop_assert_eq!(world.listener.requests(), table.len());
            prop_assert_eq!(world.passive.len(), table.len());
            let young = table.values().filter(|(place, _)| world.passive.request(*place).unwrap().timeouts == 0);
            prop_assert_eq!(world.listener.young, young.count());
            prop_assert!(world.listener.requests() <= 4 && world.listener.waiting() <= 4);
        }
    }

    #[test]
    fn a_cookie_keeps_what_a_request_would_have_kept(
        mss in prop::sample::select(vec![536u16, 1300, 1440, 1460]), sack: bool, scale in prop::option::of(0u8..15),
        ecn: bool, start in 0u64..1 << 40,
    ) {
        let mut offered = Emitted::NONE;
        SynOptions { mss, sack, timestamps: Some((7, 0)), scale, fast_open: None, experimental: false }.emit(&mut offered);
        let ecn_flags = if ecn { flag::ECE | flag::CWR } else { 0 };
        let syn = Segment { options: offered.as_bytes(), ..segment(IRS, 0, flag::SYN | ecn_flags) };
        let mut agreed = Vec::new();
        for cookies in [CookiePolicy::Never, CookiePolicy::Always] {
            let mut world = World::new(ListenSettings { cookies, ..ListenSettings::default() });
            let (reply, place) = match world.segment(1, &syn, start) {
                Verdict::Request { reply, place, .. } => (reply, Some(place)),
                Verdict::Reply { reply, .. } => (reply, None),
                other => panic!("{other:?}"),
            };
            let (value, _) = options::parse(reply.options.as_bytes(), true).timestamps.unwrap();
            let mut echo = Emitted::NONE;
            echo.push_timestamps((8, value));
            let ack = Segment { options: echo.as_bytes(), ..segment(IRS + 1, reply.seq.0 + 1, flag::ACK) };
            let verdict = match place {
                Some(place) => world.on_request(place, 1, &ack, start + 5),
                None => world.segment(1, &ack, start + 5),
            };
            let Verdict::Child { accepted, .. } = verdict else { panic!("no connection") };
            agreed.push((accepted.negotiated, accepted.window, accepted.ts_recent, accepted.ts_offset));
        }
        prop_assert_eq!(agreed[0], agreed[1]);
    }
}
