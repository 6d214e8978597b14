//! Conversations: what was sent, what was acknowledged, at a time, and what the sender does then. Segments are of
//! 1,000 bytes and named by their number; times are in milliseconds; sequence numbers wrap within each.

use core::time::Duration;
use proptest::prelude::*;

use super::flight::check;
use super::*;
use crate::limits::MAX_SACK_WALK;
use crate::tcp::rtt::ticks;

const MSS: u32 = 1000;
const BASE: Seq = Seq(u32::MAX - 4_500);
/// The clock's milliseconds wrap 32 bits within the conversations.
const BEGIN: u64 = (1 << 32) - 150;

const SACK: Agreed = Agreed { sack: true, timestamps: false, ecn: false };
const NO_SACK: Agreed = Agreed { sack: false, timestamps: false, ecn: false };
const STAMPS: Agreed = Agreed { sack: true, timestamps: true, ecn: false };

struct Talk {
    sender: Sender,
    pool: RunPool,
    now: Instant,
    last: AckOutcome,
}

fn number(segment: u32) -> Seq {
    BASE + segment * MSS
}

impl Talk {
    /// Established with a round trip of 100 ms.
    fn with(settings: &SenderSettings, agreed: Agreed) -> Talk {
        let now = Instant::from_millis(BEGIN);
        let mut sender = Sender::new(BASE, settings);
        sender.measured(now, Duration::from_millis(100));
        let mut pool = RunPool::new(4096);
        sender.established(&mut pool, now, MSS as u16, agreed, None);
        Talk { sender, pool, now, last: AckOutcome::default() }
    }

    fn new(agreed: Agreed) -> Talk {
        let settings = SenderSettings { algorithm: Algorithm::NewReno, ..SenderSettings::default() };
        Talk::with(&settings, agreed)
    }

    fn info(&self) -> SenderInfo {
        self.sender.info(&self.pool, self.now)
    }

    /// It is `ms` after the beginning.
    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = Instant::from_millis(BEGIN + ms);
        self
    }

    /// Sends so many new segments.
    fn send(&mut self, segments: u32) -> &mut Self {
        for _ in 0..segments {
            let seq = self.sender.nxt();
            self.sender.on_sent(&mut self.pool, self.now, seq, MSS, false).unwrap();
        }
        self.verify();
        self
    }

    fn hear(&mut self, ack: &Ack<'_>) -> &mut Self {
        self.last = self.sender.on_ack(&mut self.pool, self.now, ack);
        self.verify();
        self
    }

    /// Everything below segment `upto` is acknowledged.
    fn ack(&mut self, upto: u32) -> &mut Self {
        self.hear(&Ack::plain(number(upto)))
    }

    /// The same with SACK blocks, in segments.
    fn sack(&mut self, upto: u32, blocks: &[(u32, u32)]) -> &mut Self {
        let sacks: Vec<_> = blocks.iter().map(|b| (number(b.0), number(b.1))).collect();
        self.hear(&Ack { sacks: &sacks, ..Ack::plain(number(upto)) })
    }

    /// What is sent again now: numbers of segments.
    fn resend(&mut self) -> Vec<u32> {
        let mut sent = Vec::new();
        while let Some((seq, len)) = self.sender.next_retransmission(&self.pool, self.now) {
            self.sender.on_retransmitted(&mut self.pool, self.now, seq, len);
            sent.push(seq.since(BASE) / MSS);
            self.verify();
        }
        sent
    }

    fn timer(&mut self) -> TimerOutcome {
        let outcome = self.sender.on_timer(&mut self.pool, self.now);
        self.verify();
        outcome
    }

    /// Milliseconds after the beginning at which the timer goes off.
    fn deadline(&self) -> u64 {
        self.sender.deadline().since(Instant::from_millis(BEGIN)).as_millis() as u64
    }

    fn state(&self) -> CaState {
        self.sender.episode.state
    }

    fn verify(&self) {
        check(&self.sender.flight, &self.pool, self.sender.agreed.sack);
        assert!(self.sender.cwnd() > 0);
    }
}

#[test]
fn the_sizes_are_what_the_memory_budget_counts_on() {
    assert!(size_of::<super::run::Run>() <= 64, "a cache line");
    assert!(size_of::<Sender>() <= 384, "{}", size_of::<Sender>());
}

#[test]
fn a_burst_is_one_run_and_an_idle_sender_holds_none() {
    let mut talk = Talk::new(SACK);
    talk.send(10);
    assert_eq!((talk.pool.capacity() - talk.pool.available(), talk.sender.in_flight()), (1, 10));
    talk.at(100).ack(10);
    assert_eq!(talk.pool.available(), talk.pool.capacity());
    assert_eq!((talk.last.acked, talk.last.delivered, talk.sender.deadline()), (10_000, 10, Instant::NEVER));
}

#[test]
fn rfc6298_5_1_the_timer_runs_while_something_is_outstanding() {
    let mut talk = Talk::new(NO_SACK);
    assert_eq!(talk.sender.deadline(), Instant::NEVER);
    talk.send(2);
    assert_eq!(talk.deadline(), 300, "100 ms and four times its half");
    talk.at(100).ack(1);
    assert_eq!(talk.deadline(), 100 + 300, "5.3: new data restarts it");
    talk.at(150).ack(2);
    assert_eq!(talk.sender.deadline(), Instant::NEVER, "5.2: all is acknowledged");
}

#[test]
fn must_19_rfc6298_5_5_each_timeout_doubles_and_an_ack_of_new_data_ends_it() {
    let mut talk = Talk::new(NO_SACK);
    talk.send(3);
    for (at, next, count) in [(300, 900, 1), (900, 2100, 2), (2100, 4500, 3)] {
        assert_eq!(talk.at(at).timer(), TimerOutcome::TimedOut { count });
        assert_eq!((talk.deadline(), talk.resend(), talk.sender.cwnd()), (next, vec![0], 1));
    }
    assert_eq!(talk.info().backoff, 3);
    talk.at(2200).ack(1);
    let info = talk.info();
    assert_eq!((info.timeouts, info.rto), (0, Duration::from_millis(2400)), "Karn: nothing is measured, 5.7");
    assert_eq!(talk.resend(), [1, 2]);
    talk.at(2300).ack(3).at(2400).send(1).at(2500).ack(4);
    assert_eq!((talk.info().backoff, talk.state()), (0, CaState::Open));
    assert!(talk.sender.rto() < Duration::from_millis(301));
}

#[test]
fn must_18_rfc6298_3_what_was_sent_twice_is_not_measured_unless_timestamps_tell() {
    let mut talk = Talk::new(STAMPS);
    talk.send(1);
    talk.at(300).timer();
    talk.at(700).timer();
    assert_eq!(talk.sender.srtt(), Duration::from_millis(100));
    talk.resend();
    talk.at(730);
    talk.hear(&Ack { echo_age: Some(30), ..Ack::plain(number(1)) });
    assert!(talk.last.measured && talk.sender.srtt() < Duration::from_millis(95));
    assert_eq!(talk.info().min_rtt, Duration::from_millis(30));
}

#[test]
fn a_syn_times_out_evenly_at_first_and_a_lost_one_leaves_a_window_of_one() {
    let settings = SenderSettings { syn_linear_timeouts: 1, ..SenderSettings::default() };
    let (mut sender, mut pool) = (Sender::new(BASE, &settings), RunPool::new(8));
    let ms = Instant::from_millis;
    sender.on_sent(&mut pool, ms(0), BASE, 1, true).unwrap();
    for (at, next) in [(1000, 2000), (2000, 4000)] {
        assert_eq!(sender.deadline(), ms(at));
        assert!(matches!(sender.on_timer(&mut pool, ms(at)), TimerOutcome::TimedOut { .. }));
        assert_eq!(sender.next_retransmission(&pool, ms(at)), Some((BASE, 1)));
        sender.on_retransmitted(&mut pool, ms(at), BASE, 1);
        assert_eq!(sender.deadline(), ms(next));
    }
    assert_eq!(sender.stalled_since(), Some(ms(1000)));
    sender.on_ack(&mut pool, ms(2100), &Ack::plain(BASE + 1));
    sender.established(&mut pool, ms(2100), 1460, SACK, None);
    assert_eq!(
        (sender.cwnd(), sender.stalled_since(), pool.available()),
        (1, None, 8),
        "RFC 5681 section 3.1"
    );
    assert_eq!(sender.rto(), Duration::from_secs(3), "RFC 6298 section 5.7");
}

#[test]
fn rfc3042_the_first_two_duplicates_let_new_segments_out() {
    for agreed in [SACK, NO_SACK] {
        let mut talk = Talk::new(agreed);
        talk.send(10);
        assert_eq!(talk.sender.may_send(talk.now), 0);
        for duplicate in 1..=2 {
            match agreed.sack {
                true => talk.at(100).sack(0, &[(1, 1 + duplicate)]),
                false => talk.at(100).ack(0),
            };
            assert!(talk.last.is_duplicate && talk.last.send);
            assert_eq!((talk.sender.may_send(talk.now), talk.state()), (1, CaState::Disorder));
            talk.send(1);
        }
    }
}

#[test]
fn rfc6582_3_2_the_third_duplicate_repairs_the_first_and_partial_acks_the_others() {
    let mut talk = Talk::new(NO_SACK);
    talk.send(10); // 0 and 4 are lost
    talk.at(100).ack(0).ack(0).ack(0);
    assert_eq!((talk.state(), talk.last.entered_recovery, talk.resend()), (CaState::Recovery, true, vec![0]));
    assert_eq!(talk.info().ssthresh, 5);
    (0..5).for_each(|_| _ = talk.at(101).ack(0));
    talk.at(200).ack(4);
    assert_eq!((talk.state(), talk.resend()), (CaState::Recovery, vec![4]), "a partial acknowledgement");
    talk.at(300).ack(10);
    assert_eq!((talk.sender.cwnd(), talk.sender.outstanding(), talk.state()), (5, 0, CaState::Open));
}

#[test]
fn rfc6675_4_only_what_is_missing_is_sent_again_in_the_order_of_the_stream() {
    let mut talk = Talk::new(SACK);
    talk.send(10); // 1, 3 and 4 are lost
    talk.at(100).ack(1).sack(1, &[(2, 3)]).sack(1, &[(5, 6), (2, 3)]).sack(1, &[(5, 10), (2, 3)]);
    assert_eq!(talk.state(), CaState::Recovery);
    let info = talk.info();
    assert_eq!((info.lost, info.sacked, info.unacked), (3, 6, 9));
    assert_eq!(talk.resend(), [1, 3, 4]);
    talk.at(200).sack(3, &[(5, 10)]).ack(10);
    assert_eq!((talk.state(), talk.last.recovered, talk.sender.outstanding()), (CaState::Open, true, 0));
    assert_eq!(talk.sender.cwnd(), talk.info().ssthresh, "RFC 6937: ends at the threshold");
}

#[test]
fn rfc6937_3_the_window_falls_by_a_share_of_what_is_delivered() {
    let settings =
        SenderSettings { algorithm: Algorithm::NewReno, initial_window: 20, ..SenderSettings::default() };
    let mut talk = Talk::with(&settings, SACK);
    talk.send(20); // 0 is lost
    let mut sent = 0;
    for upto in 4..=20 {
        talk.at(100 + u64::from(upto)).sack(0, &[(1, upto)]);
        sent += talk.resend().len();
        let room = talk.sender.may_send(talk.now);
        talk.send(room);
        sent += room as usize;
        assert!(room <= 1, "no burst");
    }
    assert!((9..=11).contains(&sent), "half of what was delivered: {sent}");
    assert_eq!(talk.info().ssthresh, 10);
}

#[test]
fn rfc8985_6_2_one_sack_waits_a_quarter_of_the_round_trip_for_reordering() {
    let mut talk = Talk::new(SACK);
    talk.send(4);
    talk.at(100).sack(0, &[(2, 3)]);
    assert_eq!((talk.state(), talk.resend()), (CaState::Disorder, vec![]));
    assert!((113..=128).contains(&talk.deadline()), "{}", talk.deadline());
    let due = talk.deadline() + 1;
    assert_eq!(talk.at(due).timer(), TimerOutcome::Retransmit);
    assert_eq!((talk.state(), talk.resend()), (CaState::Recovery, vec![0]));
    assert_eq!(talk.info().lost, 2, "the second is sent when the window allows");
}

#[test]
fn rfc8985_6_2_what_comes_within_that_time_was_reordered_and_is_remembered() {
    let mut talk = Talk::new(SACK);
    talk.send(4);
    talk.at(100).sack(0, &[(2, 4)]).at(110).ack(4);
    assert_eq!((talk.state(), talk.info().reordering_seen), (CaState::Open, 1));
    talk.send(8).at(210).sack(4, &[(5, 12)]);
    assert_eq!(talk.state(), CaState::Disorder, "many duplicates are no proof any more");
    assert_eq!(talk.info().reordering, 4);
}

#[test]
fn rfc8985_6_2_a_lost_retransmission_is_found_by_what_was_sent_after_it() {
    let mut talk = Talk::new(SACK);
    talk.send(10);
    talk.at(100).sack(0, &[(1, 8)]);
    assert_eq!(talk.resend(), [0]);
    talk.at(101);
    let room = talk.sender.may_send(talk.now);
    talk.send(room.max(1));
    talk.at(201).sack(0, &[(1, 11)]);
    let again = talk.resend();
    assert_eq!((again, talk.info().total_retrans), (vec![0], 2));
}

#[test]
fn rfc8985_7_a_probe_goes_out_after_two_round_trips_one_at_a_time() {
    let mut talk = Talk::new(SACK);
    talk.send(3);
    assert_eq!(talk.deadline(), 202);
    assert_eq!(talk.at(202).timer(), TimerOutcome::Probe { seq: number(2), len: MSS });
    assert_eq!(talk.sender.may_send(talk.now), 7, "new data may go in its place");
    let tail = number(2);
    talk.sender.on_retransmitted(&mut talk.pool, talk.now, tail, MSS);
    assert_eq!(talk.deadline(), 502, "then the timeout, counted from the probe");
    talk.at(250).ack(1);
    assert!(talk.sender.deadline() > talk.now);
    let due = talk.deadline();
    assert_eq!(talk.at(due).timer(), TimerOutcome::Nothing, "no second one");
    talk.verify();
}

#[test]
fn rfc8985_7_4_2_a_probe_that_repaired_a_loss_reduces_the_window_and_a_dsack_does_not() {
    for dsack in [None, Some((number(2), number(3)))] {
        let mut talk = Talk::new(SACK);
        talk.send(3).at(202).timer();
        talk.sender.on_retransmitted(&mut talk.pool, talk.now, number(2), MSS);
        talk.send(1);
        talk.at(302).hear(&Ack { dsack, ..Ack::plain(number(4)) });
        let reduced = talk.sender.cwnd() <= 5;
        assert_eq!((reduced, talk.state()), (dsack.is_none(), CaState::Open));
    }
}

#[test]
fn rfc8985_7_3_the_probe_leaves_even_when_the_window_is_full() {
    let mut talk = Talk::new(SACK);
    talk.send(10).at(202).timer();
    assert_eq!(talk.sender.may_send(talk.now), 1);
    talk.send(1);
    assert_eq!(talk.sender.may_send(talk.now), 0);
}

#[test]
fn rfc5682_a_timeout_that_delay_caused_is_taken_back() {
    let mut talk = Talk::new(NO_SACK);
    talk.send(10).at(300);
    assert_eq!((talk.timer(), talk.resend()), (TimerOutcome::TimedOut { count: 1 }, vec![0]));
    talk.at(320).hear(&Ack { new_data: true, ..Ack::plain(number(1)) });
    assert_eq!(talk.resend(), [] as [u32; 0], "step 2b: new data first");
    assert!(talk.sender.may_send(talk.now) >= 1);
    talk.send(1);
    talk.at(330).ack(2);
    assert!(talk.last.spurious, "step 3b: an original arrived");
    let info = talk.info();
    assert_eq!((talk.state(), info.lost, info.total_retrans), (CaState::Open, 0, 1));
    assert!(talk.sender.cwnd() >= 10);
}

#[test]
fn rfc5682_a_duplicate_after_the_new_data_says_that_the_timeout_was_right() {
    let mut talk = Talk::new(SACK);
    talk.send(10);
    talk.at(202).timer(); // the probe finds no taker
    talk.at(300).timer();
    assert_eq!(talk.resend(), [0]);
    talk.at(400).hear(&Ack { new_data: true, ..Ack::plain(number(1)) });
    talk.send(1).at(500).sack(1, &[(10, 11)]);
    assert!(!talk.last.spurious);
    assert_eq!((talk.state(), talk.resend().first()), (CaState::Loss, Some(&1)));
}

#[test]
fn rfc3522_an_echo_from_before_the_retransmission_takes_a_timeout_back_at_once() {
    let mut talk = Talk::new(STAMPS);
    talk.send(10).at(202).timer();
    talk.at(300).timer();
    assert_eq!(talk.resend(), [0]);
    talk.at(310).hear(&Ack { echo_age: Some(310), ..Ack::plain(number(1)) });
    assert!(talk.last.spurious && talk.last.recovered);
    assert_eq!((talk.info().ssthresh, talk.sender.in_flight()), (u32::MAX, 9));
    assert!(ticks(Instant::from_millis(BEGIN)) > ticks(talk.now), "the timestamp clock wrapped meanwhile");
}

#[test]
fn rfc3522_an_echo_of_the_retransmission_leaves_the_timeout_standing() {
    let mut talk = Talk::new(STAMPS);
    talk.send(10).at(202).timer();
    talk.at(300).timer();
    talk.resend();
    talk.at(400).hear(&Ack { echo_age: Some(100), ..Ack::plain(number(1)) });
    assert_eq!((talk.last.spurious, talk.state()), (false, CaState::Loss));
}

#[test]
fn rfc3708_dsacks_for_every_retransmission_take_the_reduction_back() {
    let mut talk = Talk::new(SACK);
    talk.send(10).at(100).sack(0, &[(1, 5)]);
    assert_eq!((talk.state(), talk.resend()), (CaState::Recovery, vec![0]));
    talk.at(110).sack(5, &[]);
    talk.at(200);
    talk.hear(&Ack { dsack: Some((number(0), number(1))), ..Ack::plain(number(10)) });
    assert!(talk.last.spurious);
    assert_eq!((talk.state(), talk.sender.cwnd() >= 10), (CaState::Open, true));
    assert_eq!(talk.info().dsack_duplicates, 1);
}

#[test]
fn a_forged_dsack_of_what_was_never_sent_twice_is_ignored() {
    let mut talk = Talk::new(SACK);
    talk.send(10).at(100);
    talk.hear(&Ack { dsack: Some((number(0), number(1))), ..Ack::plain(number(5)) });
    assert_eq!((talk.last.spurious, talk.info().dsack_duplicates), (false, 0));
}

#[test]
fn shld_8_rfc3168_6_1_2_an_echo_reduces_once_a_window_and_cwr_is_said_once() {
    let mut talk = Talk::new(Agreed { ecn: true, ..SACK });
    talk.send(10).at(100);
    assert!(!talk.sender.cwr_due());
    talk.hear(&Ack { ece: true, ..Ack::plain(number(2)) });
    assert_eq!((talk.state(), talk.info().ssthresh), (CaState::Cwr, 5));
    assert!(talk.sender.cwr_due() && !talk.sender.cwr_due());
    talk.hear(&Ack { ece: true, ..Ack::plain(number(6)) });
    assert_eq!((talk.info().ssthresh, talk.sender.cwr_due()), (5, false));
    talk.send(1).at(200).ack(11);
    assert_eq!((talk.state(), talk.sender.cwnd()), (CaState::Open, 6), "five and a window of growth");
    talk.send(5).at(300);
    talk.hear(&Ack { ece: true, ..Ack::plain(number(12)) });
    assert_eq!((talk.info().ssthresh, talk.sender.cwr_due()), (3, true), "a new window");
    assert_eq!(talk.info().delivered_ce, 7);
}

#[test]
fn rfc3168_an_echo_without_agreement_means_nothing() {
    let mut talk = Talk::new(SACK);
    talk.send(10).at(100).hear(&Ack { ece: true, ..Ack::plain(number(2)) });
    assert_eq!((talk.state(), talk.sender.cwr_due()), (CaState::Open, false));
}

#[test]
fn rfc2018_8_a_receiver_that_reneges_gets_everything_again() {
    let mut talk = Talk::new(SACK);
    talk.send(6).at(100).sack(0, &[(1, 6)]);
    talk.resend();
    talk.at(200).ack(1);
    assert_eq!(talk.deadline(), 250, "half a round trip to explain itself");
    assert!(matches!(talk.at(250).timer(), TimerOutcome::TimedOut { .. }));
    assert_eq!(talk.info().sacked, 0);
    assert_eq!(talk.resend(), [1]);
    talk.at(350).ack(2);
    assert_eq!(talk.resend()[0], 2);
}

#[test]
fn an_ack_within_a_run_and_within_a_segment_keeps_the_borders_of_the_others() {
    let mut talk = Talk::new(SACK);
    talk.send(10).at(100);
    talk.hear(&Ack::plain(number(2) + 300));
    assert_eq!((talk.sender.outstanding(), talk.last.acked, talk.last.delivered), (8, 2300, 2));
    talk.sack(2, &[]).hear(&Ack { sacks: &[(number(3), number(8))], ..Ack::plain(number(2) + 300) });
    assert_eq!(talk.info().sacked, 5);
    assert_eq!(talk.sender.next_retransmission(&talk.pool, talk.now), Some((number(2) + 300, 700)));
}

#[test]
fn a_block_that_covers_no_whole_segment_marks_nothing() {
    let mut talk = Talk::new(SACK);
    talk.send(10).at(100);
    for offset in 1..900 {
        let block = (number(3) + offset, number(3) + offset + 90);
        talk.hear(&Ack { sacks: &[block], ..Ack::plain(number(0)) });
    }
    assert_eq!((talk.info().sacked, talk.pool.capacity() - talk.pool.available()), (0, 1));
    talk.hear(&Ack { sacks: &[(number(3) + 1, number(6) - 1)], ..Ack::plain(number(0)) });
    assert_eq!(talk.info().sacked, 1, "only segment 4 is covered");
}

/// A flight of `runs` runs of one segment each.
fn scattered(runs: u32) -> Talk {
    let settings = SenderSettings { initial_window: 5000, ..SenderSettings::default() };
    let mut talk = Talk::with(&settings, SACK);
    for _ in 0..runs {
        talk.now = talk.now + Duration::from_micros(1);
        talk.send(1);
    }
    talk.at(100);
    talk
}

#[test]
fn one_ack_walks_a_bounded_number_of_runs_and_the_next_goes_on() {
    let total = 3 * MAX_SACK_WALK;
    let mut talk = scattered(total);
    // Many acknowledgements of every other segment, most distant first: no cursor helps.
    talk.sack(0, &[(1, total)]);
    let first = talk.info().sacked;
    assert!((MAX_SACK_WALK - 2..=MAX_SACK_WALK).contains(&first), "{first}");
    let mut acks = 1;
    while talk.info().sacked < total - 1 {
        talk.sack(0, &[(1, total)]);
        acks += 1;
        assert!(acks < 6, "each ACK goes on where the last one stopped");
    }
}

#[test]
fn a_place_that_is_too_far_for_one_ack_is_reached_by_the_next_ones() {
    let total = 6 * MAX_SACK_WALK;
    let mut talk = scattered(total);
    let middle = total / 2;
    let mut acks = 0;
    while talk.info().sacked == 0 {
        talk.sack(0, &[(middle, middle + 1)]);
        acks += 1;
        assert!(acks <= 4);
    }
    assert!(acks > 1, "further than one walk");
    talk.sack(0, &[(middle + 2, middle + 3)]);
    assert_eq!(talk.info().sacked, 2, "the cursor is near now");
}

#[test]
fn rfc1191_segments_that_became_too_large_are_sent_again_in_pieces() {
    let mut talk = Talk::new(SACK);
    talk.send(3).at(202).timer();
    talk.at(300).timer();
    talk.sender.set_mss(400);
    let mut sent = Vec::new();
    talk.sender.set_cwnd_clamp(100);
    talk.sender.window.cwnd = 100;
    while let Some((seq, len)) = talk.sender.next_retransmission(&talk.pool, talk.now) {
        let len = len.min(400);
        talk.sender.on_retransmitted(&mut talk.pool, talk.now, seq, len);
        talk.verify();
        sent.push((seq.since(BASE), len));
    }
    assert_eq!(sent.iter().map(|piece| piece.1).sum::<u32>(), 3000, "{sent:?}");
    assert_eq!(sent[..3], [(0, 400), (400, 400), (800, 400)]);
    talk.at(400).hear(&Ack::plain(BASE + 800));
    assert_eq!(talk.last.acked, 800);
    talk.ack(3);
    assert_eq!((talk.sender.outstanding(), talk.pool.available()), (0, talk.pool.capacity()));
}

#[test]
fn rfc2861_an_idle_window_is_halved_for_each_timeout_down_to_the_initial_one() {
    let mut talk = Talk::new(SACK);
    let mut sent = 0;
    for round in 0..3u64 {
        talk.at(round * 100);
        let room = talk.sender.may_send(talk.now);
        talk.send(room);
        sent += room;
        talk.at(round * 100 + 100).ack(sent);
    }
    assert_eq!(talk.sender.cwnd(), 80, "slow start");
    talk.at(400);
    talk.sender.on_idle_restart(talk.now);
    assert_eq!(talk.sender.cwnd(), 80, "not idle for long");
    talk.at(200 + 2 * 300 + 50);
    talk.sender.on_idle_restart(talk.now);
    assert!((20..=40).contains(&talk.sender.cwnd()), "{}", talk.sender.cwnd());
    assert!(talk.info().ssthresh >= 60, "it remembers three quarters");
    talk.at(60_000);
    talk.sender.usage.sent_at = Instant::from_millis(BEGIN);
    talk.sender.on_idle_restart(talk.now);
    assert_eq!(talk.sender.cwnd(), 10);
}

#[test]
fn rfc7661_a_window_that_is_not_used_does_not_grow() {
    let mut talk = Talk::new(SACK);
    for round in 0..20u32 {
        talk.at(u64::from(round) * 100).send(2).at(u64::from(round) * 100 + 99).ack(2 * round + 2);
    }
    assert_eq!(talk.sender.cwnd(), 10);
}

#[test]
fn a_bound_of_the_pacing_rate_spreads_what_the_window_allows() {
    let mut talk = Talk::new(SACK);
    talk.sender.set_max_pacing_rate(100_000); // a segment each ten milliseconds
    assert_eq!(talk.sender.may_send(talk.now), 2);
    talk.send(2);
    assert_eq!(talk.sender.may_send(talk.now), 0);
    assert_eq!(talk.sender.pacing_deadline(), talk.now + Duration::from_millis(20));
    talk.at(20);
    assert_eq!(talk.sender.may_send(talk.now), 2);
    talk.sender.set_max_pacing_rate(u64::MAX);
    assert_eq!((talk.sender.may_send(talk.now), talk.sender.pacing_deadline()), (8, Instant::ZERO));
}

#[test]
fn an_empty_pool_refuses_new_segments_and_still_repairs() {
    let mut talk = Talk::new(SACK);
    talk.pool = RunPool::new(1);
    talk.send(5);
    talk.at(1);
    let nxt = talk.sender.nxt();
    assert_eq!(talk.sender.on_sent(&mut talk.pool, talk.now, nxt, MSS, false), Err(PoolEmpty));
    assert_eq!(talk.sender.nxt(), nxt);
    talk.at(100).sack(0, &[(2, 5)]);
    assert_eq!(talk.info().sacked, 0, "nothing to cut the run with");
    talk.at(202).timer();
    let due = talk.deadline();
    assert!(matches!(talk.at(due).timer(), TimerOutcome::TimedOut { .. }));
    assert_eq!(talk.resend(), [0], "the whole run counts as sent again");
    talk.at(400).ack(2);
    talk.at(500).ack(5);
    assert_eq!((talk.sender.outstanding(), talk.pool.available()), (0, 1));
}

#[test]
fn release_gives_every_run_back() {
    let mut talk = scattered(50);
    talk.sack(0, &[(5, 6), (9, 12)]);
    talk.sender.release(&mut talk.pool);
    assert_eq!((talk.pool.available(), talk.sender.deadline()), (talk.pool.capacity(), Instant::NEVER));
}

#[test]
fn times_add_up_by_what_limited_the_output() {
    let mut talk = Talk::new(SACK);
    for (at, limit) in [(0, Limit::Busy), (10, Limit::Window), (30, Limit::Buffer), (60, Limit::Idle)] {
        talk.at(at);
        talk.sender.limited_by(talk.now, limit);
    }
    talk.at(90);
    let info = talk.info();
    let ms = Duration::from_millis;
    assert_eq!((info.busy, info.window_limited, info.buffer_limited), (ms(60), ms(20), ms(30)));
}

#[test]
fn what_is_remembered_of_a_path_is_used_and_given_back() {
    let remembered = PathMetrics {
        ssthresh: 7,
        reordering: 30,
        srtt: Duration::from_millis(300),
        ..PathMetrics::default()
    };
    let mut sender = Sender::new(BASE, &SenderSettings::default());
    sender.measured(Instant::ZERO, Duration::from_millis(100));
    sender.established(&mut RunPool::new(8), Instant::ZERO, 1460, SACK, Some(&remembered));
    let metrics = sender.metrics();
    assert_eq!((metrics.ssthresh, metrics.reordering), (7, 30));
    // The time is that of the first timeout; what is measured, and given back, is our own.
    assert_eq!((metrics.srtt, sender.rto()), (Duration::from_millis(100), Duration::from_millis(900)));
}

#[derive(Debug, Clone)]
enum Step {
    Send(u32, u32),
    Ack { ack: u32, blocks: Vec<(u32, u32)>, dsack: Option<(u32, u32)>, flags: u8, age: Option<u32> },
    Timer,
    Resend(u32),
    Wait(u32),
    Mss(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || prop_oneof![0u32..60_000, any::<u32>(), (0u32..60).prop_map(|segment| segment * MSS)];
    let block = move || (place(), place());
    prop_oneof![
        4 => (1u32..1500, 1u32..20).prop_map(|(len, count)| Step::Send(len, count)),
        6 => (
            place(),
            prop::collection::vec(block(), 0..5),
            prop::option::of(block()),
            any::<u8>(),
            prop::option::of(any::<u32>()),
        )
            .prop_map(|(ack, blocks, dsack, flags, age)| Step::Ack { ack, blocks, dsack, flags, age }),
        2 => Just(Step::Timer),
        3 => (1u32..2000).prop_map(Step::Resend),
        2 => (0u32..500_000).prop_map(Step::Wait),
        1 => (1u16..3000).prop_map(Step::Mss),
    ]
}

proptest! {
    /// Whatever a hostile receiver says, the counts are those of a recount, nothing leaks and nothing panics.
    #[test]
    fn whatever_is_said_the_counts_hold(
        steps in prop::collection::vec(step(), 1..120),
        algorithm in prop_oneof![Just(Algorithm::NewReno), Just(Algorithm::Cubic), Just(Algorithm::Bbr)],
        sack: bool, timestamps: bool, ecn: bool, runs in 1usize..40,
    ) {
        let settings = SenderSettings { algorithm, ..SenderSettings::default() };
        let mut talk = Talk::with(&settings, Agreed { sack, timestamps, ecn });
        talk.pool = RunPool::new(runs);
        let mut micros = 0u64;
        for step in steps {
            talk.now = Instant::from_millis(BEGIN) + Duration::from_micros(micros);
            match step {
                Step::Send(len, count) => for _ in 0..count {
                    let seq = talk.sender.nxt();
                    let _ = talk.sender.on_sent(&mut talk.pool, talk.now, seq, len, count == 3);
                },
                Step::Ack { ack, blocks, dsack, flags, age } => {
                    let sent = talk.sender.nxt().since(BASE) + 1;
                    let sacks: Vec<_> = blocks.iter().map(|b| (BASE + b.0, BASE + b.1)).collect();
                    talk.hear(&Ack {
                        ack: if flags & 1 != 0 { BASE + ack % sent } else { talk.sender.una() },
                        sacks: &sacks,
                        dsack: dsack.map(|d| (BASE + d.0, BASE + d.1)),
                        echo_age: age,
                        ece: flags & 2 != 0,
                        window_changed: flags & 4 != 0,
                        carries_data: flags & 8 != 0,
                        new_data: flags & 16 != 0,
                    });
                }
                Step::Timer => {
                    let deadline = talk.sender.deadline();
                    if deadline != Instant::NEVER {
                        talk.now = talk.now.max(deadline);
                        micros = talk.now.since(Instant::from_millis(BEGIN)).as_micros() as u64 + 1;
                        talk.timer();
                    }
                }
                Step::Resend(most) => {
                    for _ in 0..5 {
                        let next = talk.sender.next_retransmission(&talk.pool, talk.now);
                        let Some((seq, len)) = next else { break };
                        prop_assert!(len > 0);
                        talk.sender.on_retransmitted(&mut talk.pool, talk.now, seq, len.min(most));
                        talk.verify();
                    }
                }
                Step::Wait(time) => micros += u64::from(time),
                Step::Mss(mss) => talk.sender.set_mss(mss),
            }
            talk.verify();
            prop_assert_eq!(talk.sender.deadline() == Instant::NEVER, talk.sender.outstanding() == 0);
            let _ = talk.info();
        }
        talk.sender.release(&mut talk.pool);
        prop_assert_eq!(talk.pool.available(), talk.pool.capacity());
    }
}
