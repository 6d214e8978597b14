//! Conversations in virtual time: one table, one or two neighbours, and every row of RFC 4861 appendix C.

use super::*;
use crate::frame::heap::{HeapFrame, HeapPool};
use crate::limits::{MAX_PORTS, NEIGHBOUR_FACTS, NEIGHBOUR_SOLICITS};
use crate::{DropReason, FramePool, Instant, MacAddr, PortId};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const MAC_A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const MAC_B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x12, 0x3456);

struct Link {
    table: NeighbourTable<HeapFrame>,
    pool: HeapPool,
    now: Instant,
    port: PortId,
}

/// An action in a form that can be compared; a frame is its first byte.
#[derive(Debug, PartialEq)]
enum Did {
    Solicit(SolicitTo, IpAddr, MacAddr),
    Release(u8, MacAddr),
    Unreachable(u8),
    Drop(u8, DropReason),
    Learned(Fact),
}

#[derive(Debug, PartialEq)]
enum Sent {
    To(MacAddr),
    Queued(Option<u8>),
    Drop(DropReason),
    Rebind,
}

impl Link {
    fn new(change: impl FnOnce(&mut NeighbourConfig)) -> Link {
        let mut config = NeighbourConfig { share_facts: false, ..NeighbourConfig::default() };
        change(&mut config);
        let mut table = NeighbourTable::new(config, 1).unwrap();
        let port = PortId::new(3).unwrap();
        table.set_port_mac(port, OURS);
        Link { table, pool: HeapPool::new(64, 256), now: Instant::from_millis(1_000_000), port }
    }

    fn bind(&mut self, addr: impl Into<IpAddr>) -> NeighbourId {
        self.table.bind(self.port, addr.into(), self.now).unwrap()
    }

    /// A packet, whose first byte is `mark`, to a neighbour.
    fn packet(&mut self, addr: impl Into<IpAddr>, mark: u8) -> Sent {
        let id = self.bind(addr);
        self.packet_to(id, mark)
    }

    fn packet_to(&mut self, id: NeighbourId, mark: u8) -> Sent {
        if let Some(header) = self.table.link_header(id) {
            return Sent::To(MacAddr(*header.first_chunk().unwrap()));
        }
        let frame = self.pool.frame(&[mark; 20]).unwrap();
        match self.table.output(id, frame, None, self.now) {
            Output::Send { header, .. } => Sent::To(MacAddr(*header.first_chunk().unwrap())),
            Output::Queued { gave_way } => Sent::Queued(gave_way.map(|frame| frame[0])),
            Output::Drop { reason, .. } => Sent::Drop(reason),
            Output::Rebind(_) => Sent::Rebind,
        }
    }

    fn actions(&mut self) -> Vec<Did> {
        let mut did = Vec::new();
        while let Some(action) = self.table.next_action() {
            did.push(match action {
                Action::Solicit(s) => {
                    assert_eq!(s.port, self.port);
                    Did::Solicit(s.to, s.target, s.link_destination)
                }
                Action::Release { frame, header, port, .. } => {
                    assert_eq!((port, &header[6..12]), (self.port, &OURS.0[..]));
                    Did::Release(frame[0], MacAddr(*header.first_chunk().unwrap()))
                }
                Action::Unreachable { frame, .. } => Did::Unreachable(frame[0]),
                Action::Drop { frame, reason } => Did::Drop(frame[0], reason),
                Action::Learned(fact) => Did::Learned(fact),
            });
        }
        did
    }

    /// Lets time pass, doing what is due at its moment.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.table.next_deadline() <= end {
            self.now = self.table.next_deadline().max(self.now);
            self.table.expire(self.now, 1);
        }
        self.now = end;
    }

    fn secs(&mut self, secs: u64) -> Vec<Did> {
        self.pass(Duration::from_secs(secs));
        self.actions()
    }

    fn na(&mut self, mac: Option<MacAddr>, flags: &str) -> Learned {
        let has = |flag| flags.contains(flag);
        self.table.na(self.port, V6, mac, has('S'), has('O'), has('R'), self.now)
    }

    fn info(&self, addr: impl Into<IpAddr>) -> Option<NeighbourInfo> {
        self.table.lookup(self.port, addr.into()).and_then(|id| self.table.get(id))
    }

    fn state(&self) -> (State, Option<MacAddr>) {
        let info = self.info(V6).unwrap();
        (info.state, info.mac)
    }

    /// The IPv6 neighbour in a state, at MAC_A where it has an address, no actions open.
    fn in_state(state: State) -> Link {
        let mut link = Link::new(|_| ());
        match state {
            State::New => {
                link.bind(V6);
            }
            State::Incomplete => assert_eq!(link.packet(V6, 1), Sent::Queued(None)),
            State::Reachable => {
                let mut incomplete = Link::in_state(State::Incomplete);
                incomplete.na(Some(MAC_A), "S");
                link = incomplete;
            }
            State::Stale => {
                link.table.ns(link.port, V6, MAC_A, link.now);
            }
            State::Delay => {
                link = Link::in_state(State::Stale);
                assert_eq!(link.packet(V6, 2), Sent::To(MAC_A));
            }
            State::Probe => {
                link = Link::in_state(State::Delay);
                link.secs(5);
            }
            State::Unreachable => {
                link = Link::in_state(State::Probe);
                link.secs(3);
            }
            State::Failed => {
                link = Link::in_state(State::Unreachable);
                link.secs(6); // nobody sends: asked once more at most, 1 and 3 s, each half as much again
            }
            State::Permanent => {
                link.table.add_static(link.port, V6.into(), MAC_A, link.now).unwrap();
            }
        }
        link.actions();
        let mac = state.has_link_address().then_some(MAC_A);
        assert_eq!(link.state(), (state, mac));
        link
    }
}

const ALL: [State; 9] = [
    State::New,
    State::Incomplete,
    State::Reachable,
    State::Stale,
    State::Delay,
    State::Probe,
    State::Unreachable,
    State::Failed,
    State::Permanent,
];

#[test]
fn new_first_packet_asks_the_solicited_node_group_and_waits() {
    let mut link = Link::new(|_| ());
    let id = link.bind(V6);
    let frame = link.pool.frame(&[1; 20]).unwrap();
    let source = Some("fe80::1".parse().unwrap());
    assert!(matches!(link.table.output(id, frame, source, link.now), Output::Queued { gave_way: None }));
    let Some(Action::Solicit(solicit)) = link.table.next_action() else { panic!("no solicitation") };
    let group = MacAddr([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    let expected = Solicit {
        port: link.port,
        target: V6.into(),
        link_destination: group,
        to: SolicitTo::Group,
        source_hint: source,
    };
    assert_eq!(solicit, expected);
    assert!(link.table.next_action().is_none());
}

#[test]
fn incomplete_asks_three_times_a_second_apart_then_every_waiting_packet_is_unreachable() {
    let mut link = Link::new(|_| ());
    let ask = || Did::Solicit(SolicitTo::Group, V4.into(), MacAddr::BROADCAST);
    assert_eq!(link.packet(V4, 1), Sent::Queued(None));
    assert_eq!(link.packet(V4, 2), Sent::Queued(None));
    assert_eq!(link.actions(), [ask()]);
    link.pass(Duration::from_millis(999));
    assert_eq!(link.actions(), []);
    link.pass(Duration::from_millis(1));
    assert_eq!(link.actions(), [ask()]);
    assert_eq!(link.secs(1), [ask()]);
    assert_eq!(link.info(V4).unwrap().probes, 3);
    link.pass(Duration::from_millis(999));
    assert_eq!((link.actions(), link.info(V4).unwrap().waiting), (vec![], 2));
    link.pass(Duration::from_millis(1));
    assert_eq!(link.actions(), [Did::Unreachable(1), Did::Unreachable(2)]);
    assert_eq!(link.info(V4).unwrap().state, State::Failed);
    assert_eq!(link.pool.available(), 64);
    // As Linux: the next packet asks again.
    assert_eq!(link.packet(V4, 3), Sent::Queued(None));
    assert_eq!(link.actions(), [ask()]);
}

#[test]
fn incomplete_answer_releases_in_order_with_the_new_header() {
    let mut link = Link::new(|_| ());
    for mark in 1..=3 {
        link.packet(V4, mark);
    }
    link.actions();
    let learned = link.table.arp_reply(link.port, V4, MAC_A, true, false, link.now);
    assert!(matches!(learned, Learned::Changed { .. }));
    assert_eq!(link.actions(), [1, 2, 3].map(|mark| Did::Release(mark, MAC_A)));
    let id = link.bind(V4);
    assert_eq!(link.table.link_header(id), Some(&[2, 0, 0, 0, 0, 0xa, 2, 0, 0, 0, 0, 1, 8, 0]));
}

#[test]
fn an_ipv6_header_has_its_ethertype() {
    let link = Link::in_state(State::Reachable);
    let id = link.table.lookup(link.port, V6.into()).unwrap();
    assert_eq!(link.table.link_header(id).unwrap()[12..], [0x86, 0xdd]);
}

/// RFC 4861 appendix C, all rows about advertisements: state, option, flags → state, address. "-": no option.
#[test]
fn every_state_and_every_advertisement() {
    use State::*;
    let (a, b) = (Some(MAC_A), Some(MAC_B));
    let rows = [
        (Incomplete, None, "S", Incomplete, None),
        (Incomplete, None, "", Incomplete, None),
        (Incomplete, b, "S", Reachable, b),
        (Incomplete, b, "SO", Reachable, b),
        (Incomplete, b, "", Delay, b), // STALE, and the packet that waited is then sent
        (Incomplete, b, "O", Delay, b),
        (Reachable, b, "", Stale, a),
        (Reachable, b, "S", Stale, a),
        (Stale, b, "S", Stale, a),
        (Delay, b, "S", Delay, a),
        (Probe, b, "S", Probe, a),
        (Probe, b, "", Probe, a),
        (Reachable, a, "S", Reachable, a),
        (Stale, a, "S", Reachable, a),
        (Delay, a, "S", Reachable, a),
        (Probe, a, "S", Reachable, a),
        (Probe, None, "S", Reachable, a),
        (Stale, None, "S", Reachable, a),
        (Reachable, a, "", Reachable, a),
        (Stale, a, "", Stale, a),
        (Delay, a, "", Delay, a),
        (Probe, a, "", Probe, a),
        (Probe, None, "", Probe, a),
        (Reachable, a, "O", Reachable, a),
        (Probe, a, "O", Probe, a),
        (Reachable, b, "O", Stale, b),
        (Stale, b, "O", Stale, b),
        (Delay, b, "O", Stale, b),
        (Probe, b, "O", Stale, b),
        (Reachable, b, "SO", Reachable, b),
        (Stale, b, "SO", Reachable, b),
        (Delay, b, "SO", Reachable, b),
        (Probe, b, "SO", Reachable, b),
        (Unreachable, b, "S", Unreachable, a),
        (Unreachable, a, "S", Reachable, a),
        (Unreachable, None, "S", Reachable, a),
        (Unreachable, a, "O", Unreachable, a),
        (Unreachable, b, "O", Stale, b),
        (Unreachable, b, "SO", Reachable, b),
        (New, b, "SO", New, None),
        (Failed, b, "SO", Failed, None),
        (Permanent, b, "SO", Permanent, a),
        (Permanent, b, "", Permanent, a),
    ];
    for (before, mac, flags, state, now_at) in rows {
        let mut link = Link::in_state(before);
        link.na(mac, flags);
        assert_eq!(link.state(), (state, now_at), "{before:?} + NA {mac:?} {flags:?}");
        let id = link.bind(V6);
        let ready = matches!(state, Reachable | Delay | Probe | Permanent);
        let header = link.table.link_header(id).map(|header| MacAddr(*header.first_chunk().unwrap()));
        assert_eq!(header, if ready { now_at } else { None }, "{before:?} + NA {mac:?} {flags:?}");
    }
}

#[test]
fn no_entry_and_an_advertisement_makes_none() {
    let mut link = Link::new(|_| ());
    assert_eq!(link.na(Some(MAC_A), "SO"), Learned::Ignored);
    assert!(link.table.is_empty());
}

/// RFC 4861 section 7.2.3 and appendix C: solicitations (and redirects, which say the same).
#[test]
fn every_state_and_a_solicitation_with_a_link_address() {
    use State::*;
    for redirect in [false, true] {
        for before in ALL {
            for mac in [MAC_A, MAC_B] {
                let mut link = Link::in_state(before);
                if redirect {
                    link.table.redirect(link.port, V6, mac, true, link.now);
                } else {
                    link.table.ns(link.port, V6, mac, link.now);
                }
                let expected = match before {
                    New | Failed => (Stale, Some(mac)),
                    Incomplete => (Delay, Some(mac)), // STALE, and the packet that waited is then sent
                    Permanent => (Permanent, Some(MAC_A)),
                    same if mac == MAC_A => (same, Some(mac)),
                    Reachable | Stale | Delay | Probe | Unreachable => (Stale, Some(mac)),
                };
                assert_eq!(link.state(), expected, "{before:?} + NS {mac}");
                assert_eq!(link.info(V6).unwrap().router, redirect && before != Permanent);
            }
        }
    }
}

#[test]
fn incomplete_nobody_waits_any_more_and_heard_unasked_is_stale() {
    let mut link = Link::new(|config| config.max_pending_total = 1);
    let other = Ipv4Addr::new(10, 0, 0, 3);
    link.packet(V6, 1);
    assert_eq!(link.packet(other, 2), Sent::Queued(Some(1)), "the only place goes to the newer packet");
    link.na(Some(MAC_A), "");
    assert_eq!(link.state(), (State::Stale, Some(MAC_A)));
}

#[test]
fn every_state_and_an_upper_layer_confirmation() {
    use State::*;
    for before in ALL {
        let mut link = Link::in_state(before);
        let meant = link.table.confirm_address(link.port, V6.into(), link.now);
        let known = matches!(before, Reachable | Stale | Delay | Probe | Unreachable);
        let expected = if known { Reachable } else { before };
        assert_eq!((meant, link.state().0), (expected == Reachable, expected), "{before:?} + confirmation");
    }
    let mut link = Link::new(|_| ());
    assert!(!link.table.confirm_address(link.port, V6.into(), link.now));
}

#[test]
fn every_state_and_a_packet() {
    use State::*;
    for before in ALL {
        let mut link = Link::in_state(before);
        let sent = link.packet(V6, 9);
        let asked = link.actions().len();
        let expected = match before {
            New | Failed => (Sent::Queued(None), Incomplete, 1),
            Incomplete => (Sent::Queued(None), Incomplete, 0),
            Stale => (Sent::To(MAC_A), Delay, 0),
            same => (Sent::To(MAC_A), same, 0),
        };
        assert_eq!((sent, link.state().0, asked), expected, "{before:?} + packet");
    }
}

#[test]
fn reachable_time_passes_stale_packet_delay_probes_unanswered_unreachable() {
    let mut link = Link::in_state(State::Reachable);
    link.pass(Duration::from_millis(14_999)); // at least half of 30 s
    assert_eq!(link.state().0, State::Reachable);
    link.pass(Duration::from_millis(30_001)); // at most one and a half times
    assert_eq!(link.state().0, State::Stale);
    assert_eq!(link.secs(0), [], "STALE asks nobody");
    assert_eq!(link.packet(V6, 1), Sent::To(MAC_A));
    link.pass(Duration::from_millis(4_999));
    assert_eq!((link.state().0, link.actions()), (State::Delay, vec![]));
    let ask = || Did::Solicit(SolicitTo::Station, V6.into(), MAC_A);
    link.pass(Duration::from_millis(1));
    assert_eq!((link.state().0, link.actions()), (State::Probe, vec![ask()]));
    assert_eq!(link.secs(1), [ask()]);
    assert_eq!(link.secs(1), [ask()]);
    assert_eq!(link.packet(V6, 2), Sent::To(MAC_A), "packets still go in PROBE");
    assert_eq!(link.secs(1), [ask_everybody()]);
    assert_eq!(link.state(), (State::Unreachable, Some(MAC_A)));
    let id = link.bind(V6);
    assert_eq!(link.table.link_header(id), None, "who sends is noted");
    assert_eq!(link.packet(V6, 3), Sent::To(MAC_A), "and sent");
}

fn ask_everybody() -> Did {
    let group = solicited_node(V6);
    Did::Solicit(SolicitTo::Group, V6.into(), group_mac(group.into()).unwrap())
}

/// RFC 7048 section 3: five times in all, and then the senders are told.
#[test]
fn unreachable_is_asked_for_ever_more_seldom_while_packets_go_to_it() {
    let mut link = Link::in_state(State::Unreachable);
    let mut times = Vec::new();
    let mut last = link.now;
    while link.state().0 == State::Unreachable {
        assert_eq!(link.packet(V6, 1), Sent::To(MAC_A));
        link.pass(Duration::from_millis(100));
        let asked = link.actions();
        if !asked.is_empty() {
            assert_eq!(asked, [ask_everybody()]);
            times.push(link.now.since(last));
            last = link.now;
        }
    }
    times.push(link.now.since(last));
    let means = [1.0, 3.0, 9.0, 27.0, 60.0];
    assert_eq!(times.len(), means.len(), "{times:?}");
    for (time, mean) in times.iter().zip(means) {
        let factor = time.as_secs_f64() / mean;
        assert!((0.45..=1.65).contains(&factor), "{times:?}");
    }
    assert_eq!(link.state(), (State::Failed, None));
    assert_eq!(link.packet(V6, 2), Sent::Queued(None));
    assert!(link.secs(3).contains(&Did::Unreachable(2)));
}

#[test]
fn unreachable_and_nobody_sends_it_is_given_up_soon() {
    let mut link = Link::in_state(State::Unreachable);
    assert!(link.secs(6).len() <= 1);
    assert_eq!(link.state(), (State::Failed, None));
}

#[test]
fn unreachable_answers_from_elsewhere_and_is_believed() {
    let mut link = Link::in_state(State::Unreachable);
    link.na(Some(MAC_B), "SO");
    assert_eq!(link.state(), (State::Reachable, Some(MAC_B)));
    assert_eq!(link.packet(V6, 1), Sent::To(MAC_B));
}

/// ARP has no such state: Linux's way.
#[test]
fn an_ipv4_neighbour_that_answers_no_probe_has_failed() {
    let mut link = Link::new(|_| ());
    let host = Ipv4Addr::new(10, 0, 0, 3);
    link.packet(host, 1);
    link.table.arp_reply(link.port, host, MAC_A, true, false, link.now);
    link.secs(46);
    assert_eq!(link.packet(host, 2), Sent::To(MAC_A));
    link.secs(8);
    assert_eq!(link.info(host).unwrap().state, State::Failed);
}

#[test]
fn reachable_confirmed_again_and_again_stays_so() {
    let mut link = Link::in_state(State::Reachable);
    let id = link.bind(V6);
    for _ in 0..20 {
        link.pass(Duration::from_secs(14)); // less than half of 30 s
        assert_eq!(link.state().0, State::Reachable);
        assert!(link.table.confirm(id, link.now));
    }
    link.pass(Duration::from_secs(46));
    assert_eq!(link.state().0, State::Stale, "at most 45 s after the last one");
}

#[test]
fn reachable_times_differ_between_half_and_one_and_a_half() {
    let mut link = Link::new(|_| ());
    let start = link.now;
    let mut times = Vec::new();
    for n in 1..=100u8 {
        let addr = Ipv4Addr::new(10, 0, 1, n);
        link.packet(addr, n % 60);
        link.table.arp_reply(link.port, addr, MAC_A, true, false, link.now);
        link.actions();
    }
    while link.table.iter().any(|n| n.state == State::Reachable) {
        let at = link.table.next_deadline();
        link.table.expire(at, 1);
        times.push(at.since(start));
    }
    assert!(times.iter().all(|t| (15..=45).contains(&t.as_secs())), "{times:?}");
    let early = times.iter().filter(|t| t.as_secs() < 30).count();
    assert!((25..=75).contains(&early), "about half are below the mean: {early}");
}

#[test]
fn router_flag_is_kept_set_and_its_loss_is_told() {
    let mut link = Link::in_state(State::Incomplete);
    link.na(Some(MAC_A), "SR");
    assert!(link.info(V6).unwrap().router);
    link.table.ns(link.port, V6, MAC_B, link.now);
    assert!(link.info(V6).unwrap().router, "a neighbour solicitation does not say");
    let learned = link.na(Some(MAC_B), "SO");
    assert!(matches!(learned, Learned::Changed { ceased_to_be_router: true, .. }), "{learned:?}");
    link.table.router_message(link.port, V6, MAC_B, true, link.now);
    assert!(link.info(V6).unwrap().router);
    link.table.redirect(link.port, V6, MAC_B, false, link.now);
    assert!(link.info(V6).unwrap().router, "a redirect to the destination itself does not say");
    link.table.router_message(link.port, V6, MAC_B, false, link.now);
    assert!(!link.info(V6).unwrap().router);
}

#[test]
fn arp_request_for_us_makes_a_stale_entry_and_one_for_others_does_not() {
    let mut link = Link::new(|_| ());
    let request = |link: &mut Link, mac, for_us, gratuitous| {
        link.table.arp_request(link.port, V4, mac, for_us, gratuitous, link.now)
    };
    assert_eq!(request(&mut link, MAC_A, false, false), Learned::Ignored);
    assert_eq!(request(&mut link, MAC_A, false, true), Learned::Ignored, "nor does an announcement");
    assert_eq!(link.table.arp_reply(link.port, V4, MAC_A, true, false, link.now), Learned::Ignored);
    assert!(link.table.is_empty());
    assert!(matches!(request(&mut link, MAC_A, true, false), Learned::Created(_)));
    assert_eq!(link.info(V4).unwrap().state, State::Stale);
    assert!(matches!(request(&mut link, MAC_A, true, false), Learned::Unchanged(_)));
}

#[test]
fn arp_another_address_is_ignored_while_locked_unless_announced_or_asking_us() {
    let at = |link: &Link| (link.info(V4).unwrap().state, link.info(V4).unwrap().mac);
    let fresh = || {
        let mut link = Link::new(|_| ());
        link.packet(V4, 1);
        link.table.arp_reply(link.port, V4, MAC_A, true, false, link.now);
        link
    };
    let mut link = fresh();
    link.pass(Duration::from_millis(999));
    assert_eq!(link.table.arp_reply(link.port, V4, MAC_B, true, false, link.now), Learned::Ignored);
    assert_eq!(link.table.arp_request(link.port, V4, MAC_B, false, false, link.now), Learned::Ignored);
    assert_eq!(at(&link), (State::Reachable, Some(MAC_A)));
    link.pass(Duration::from_millis(1));
    link.table.arp_reply(link.port, V4, MAC_B, true, false, link.now);
    assert_eq!(at(&link), (State::Reachable, Some(MAC_B)), "after the lock time it is believed");
    let id = link.bind(V4);
    assert_eq!(link.table.link_header(id).unwrap()[..6], MAC_B.0, "the ready header follows");

    let mut link = fresh();
    link.table.arp_request(link.port, V4, MAC_B, true, false, link.now);
    assert_eq!(at(&link), (State::Stale, Some(MAC_B)), "who asks us knows its own address");
    let mut link = fresh();
    link.table.arp_reply(link.port, V4, MAC_B, false, true, link.now);
    assert_eq!(at(&link), (State::Stale, Some(MAC_B)), "failover announces itself");
}

#[test]
fn arp_broadcast_reply_does_not_confirm() {
    let mut link = Link::new(|_| ());
    link.packet(V4, 1);
    link.table.arp_reply(link.port, V4, MAC_A, false, false, link.now);
    assert_eq!(link.info(V4).unwrap().state, State::Delay, "STALE, and the packet that waited is then sent");
    link.pass(Duration::from_secs(5));
    assert_eq!(link.info(V4).unwrap().state, State::Probe);
    link.table.arp_reply(link.port, V4, MAC_A, false, false, link.now);
    assert_eq!(link.info(V4).unwrap().state, State::Probe);
    link.table.arp_reply(link.port, V4, MAC_A, true, false, link.now);
    assert_eq!(link.info(V4).unwrap().state, State::Reachable);
}

#[test]
fn group_and_zero_addresses_are_not_believed() {
    for mac in [MacAddr::BROADCAST, MacAddr::ZERO, MacAddr([0x33, 0x33, 0, 0, 0, 1])] {
        let mut link = Link::in_state(State::Incomplete);
        assert_eq!(link.na(Some(mac), "SO"), Learned::Ignored);
        assert_eq!(link.table.ns(link.port, V6, mac, link.now), Learned::Ignored);
        assert_eq!(link.state(), (State::Incomplete, None));
    }
    let mut link = Link::new(|_| ());
    for addr in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        assert_eq!(link.table.arp_request(link.port, addr, MAC_A, true, false, link.now), Learned::Ignored);
        assert_eq!(link.table.bind(link.port, addr.into(), link.now), Err(DropReason::NeighbourNotUnicast));
    }
}

#[test]
fn queue_of_one_neighbour_full_and_the_oldest_gives_way() {
    let mut link = Link::new(|config| config.max_pending_per_entry = 3);
    for mark in 1..=3 {
        assert_eq!(link.packet(V4, mark), Sent::Queued(None));
    }
    assert_eq!(link.packet(V4, 4), Sent::Queued(Some(1)));
    link.actions();
    link.table.arp_reply(link.port, V4, MAC_A, true, false, link.now);
    assert_eq!(link.actions(), [2, 3, 4].map(|mark| Did::Release(mark, MAC_A)));
    assert_eq!((link.table.counters().gave_way, link.table.counters().released), (1, 3));
}

#[test]
fn all_places_taken_and_the_packet_that_waits_for_longest_gives_way_whosever_it_is() {
    let mut link = Link::new(|config| config.max_pending_total = 3);
    let host = |n| Ipv4Addr::new(10, 0, 0, n);
    link.packet(host(10), 1);
    link.packet(host(11), 2);
    link.packet(host(10), 3);
    assert_eq!(link.packet(host(12), 4), Sent::Queued(Some(1)));
    assert_eq!(link.packet(host(12), 5), Sent::Queued(Some(2)));
    assert_eq!(link.table.frames_held(), 3);
    // Released but not fetched yet, frames still hold their places: there is nobody to give way.
    for n in [10, 12] {
        link.table.arp_reply(link.port, host(n), MAC_A, true, false, link.now);
    }
    assert_eq!(link.packet(host(11), 6), Sent::Drop(DropReason::NeighbourQueueFull));
    link.actions();
    assert_eq!(link.packet(host(11), 7), Sent::Queued(None));
}

#[test]
fn a_scan_asks_at_the_configured_rate_and_stays_within_the_table() {
    let mut link = Link::new(|config| {
        config.max_entries = 600;
        config.solicit_rate = 10;
        config.solicit_burst = 20;
    });
    link.packet(V4, 1);
    link.table.arp_reply(link.port, V4, MAC_A, true, false, link.now);
    link.actions();
    let mut asked = 0;
    let mut limited = 0;
    for n in 0..10_000u32 {
        let addr = Ipv4Addr::from_bits(0x0a01_0000 + n);
        limited += u32::from(link.packet(addr, 7) == Sent::Drop(DropReason::NeighbourRateLimited));
        link.pass(Duration::from_millis(1));
        asked += link.actions().iter().filter(|did| matches!(did, Did::Solicit(..))).count();
    }
    assert!((100..=120).contains(&asked), "20 at once and 10 a second for 10 s: {asked}");
    assert!(limited > 9_000, "{limited}");
    assert_eq!(link.table.len(), 600);
    assert_eq!(link.info(V4).unwrap().state, State::Reachable, "who is in use stays");
    assert_eq!(link.table.counters().table_full, 0, "never used entries give way to each other");
}

#[test]
fn full_table_evicts_failed_then_stale_and_never_those_in_use() {
    let mut link = Link::new(|config| config.max_entries = 3);
    let host = |n| Ipv4Addr::new(10, 0, 0, n);
    link.packet(host(1), 1);
    link.table.arp_reply(link.port, host(1), MAC_A, true, false, link.now);
    link.table.add_static(link.port, host(2).into(), MAC_A, link.now).unwrap();
    link.packet(host(3), 2);
    assert_eq!(
        link.table.bind(link.port, host(4).into(), link.now),
        Err(DropReason::NeighbourTableFull),
        "REACHABLE, PERMANENT and INCOMPLETE"
    );
    link.secs(3);
    assert_eq!(link.info(host(3)).unwrap().state, State::Failed);
    let forged = link.table.arp_request(link.port, host(5), MAC_B, true, false, link.now);
    assert_eq!(forged, Learned::Ignored, "it failed just now: not for somebody who merely speaks to us");
    let old = link.bind(host(3));
    let new = link.bind(host(4));
    assert_eq!(link.info(host(3)), None);
    assert_ne!(old, new);
    assert_eq!(link.packet_to(old, 9), Sent::Rebind);
    assert_eq!(link.table.link_header(old), None);
    assert_eq!(link.table.counters().table_full, 2);
}

#[test]
fn a_flood_of_requests_replaces_stale_entries_no_faster_than_the_minimum_age() {
    let mut link = Link::new(|config| config.max_entries = 2);
    let host = |n| Ipv4Addr::new(10, 0, 0, n);
    let ask = |link: &mut Link, n| link.table.arp_request(link.port, host(n), MAC_B, true, false, link.now);
    assert!(matches!(ask(&mut link, 1), Learned::Created(_)));
    link.pass(Duration::from_secs(1));
    assert!(matches!(ask(&mut link, 2), Learned::Created(_)));
    link.pass(Duration::from_millis(3_999));
    assert_eq!(ask(&mut link, 3), Learned::Ignored);
    link.pass(Duration::from_millis(1));
    assert!(matches!(ask(&mut link, 3), Learned::Created(_)));
    assert_eq!(link.info(host(1)), None, "the one that was STALE for longest");
    assert_eq!(ask(&mut link, 4), Learned::Ignored);
    link.bind(host(5));
    assert_eq!(link.info(host(2)), None, "for our own packet also a young one gives way");
}

#[test]
fn stale_unused_goes_after_the_time_when_the_table_is_above_the_threshold() {
    for (threshold, left) in [(0, 0), (1, 1)] {
        let mut link = Link::new(|config| config.gc_threshold = threshold);
        link.table.ns(link.port, V6, MAC_A, link.now);
        link.pass(Duration::from_millis(59_999));
        assert_eq!(link.table.len(), 1);
        link.pass(Duration::from_millis(1));
        assert_eq!(link.table.len(), left);
    }
    let mut failed = Link::in_state(State::Failed);
    failed.pass(Duration::from_secs(60));
    assert!(failed.table.is_empty());
    let mut unused = Link::in_state(State::New);
    unused.pass(Duration::from_secs(60));
    assert!(unused.table.is_empty());
}

#[test]
fn port_down_gives_waiting_frames_back_and_keeps_static_ones_for_its_return() {
    let mut link = Link::in_state(State::Permanent);
    let id = link.bind(V6);
    link.packet(V4, 1);
    link.actions();
    link.table.port_down(link.port);
    assert_eq!(link.actions(), [Did::Drop(1, DropReason::PortDown)]);
    assert_eq!((link.table.len(), link.table.link_header(id)), (1, None));
    assert_eq!(link.packet_to(id, 2), Sent::Drop(DropReason::PortDown));
    assert_eq!(link.table.bind(link.port, V4.into(), link.now), Err(DropReason::PortDown));
    assert_eq!(link.table.arp_request(link.port, V4, MAC_A, true, false, link.now), Learned::Ignored);
    assert_eq!(link.pool.available(), 64);
    link.table.set_port_mac(link.port, MAC_B);
    assert_eq!(link.table.link_header(id).unwrap()[6..12], MAC_B.0);
}

#[test]
fn port_down_leaves_the_other_ports_alone() {
    let mut link = Link::in_state(State::Reachable);
    let other = PortId::new(MAX_PORTS - 1).unwrap();
    link.table.set_port_mac(other, MAC_B);
    link.table.bind(other, V6.into(), link.now).unwrap();
    link.table.port_down(other);
    assert_eq!((link.table.len(), link.state().0), (1, State::Reachable));
}

#[test]
fn static_over_incomplete_releases_and_its_removal_makes_ids_stale() {
    let mut link = Link::in_state(State::Incomplete);
    let id = link.table.add_static(link.port, V6.into(), MAC_B, link.now).unwrap();
    assert_eq!(link.actions(), [Did::Release(1, MAC_B)]);
    assert_eq!(link.table.next_deadline(), Instant::NEVER);
    assert!(link.table.remove_static(link.port, V6.into()));
    assert!(!link.table.remove_static(link.port, V6.into()));
    assert_eq!(link.packet_to(id, 1), Sent::Rebind);
    let refused = link.table.add_static(link.port, V6.into(), MacAddr::BROADCAST, link.now);
    assert_eq!(refused, Err(DropReason::NeighbourNotUnicast));
}

#[test]
fn what_one_worker_hears_resolves_at_the_other_and_is_not_told_back() {
    let mut asks = Link::new(|config| config.share_facts = true);
    let mut hears = Link::new(|config| config.share_facts = true);
    asks.packet(V6, 1);
    asks.actions();
    assert_eq!(hears.na(Some(MAC_A), "S"), Learned::Ignored, "it has no entry");
    let told = hears.actions();
    let [Did::Learned(fact)] = told[..] else { panic!("{told:?}") };
    asks.table.learn(fact, asks.now);
    assert_eq!(asks.actions(), [Did::Release(1, MAC_A)]);
    assert_eq!(asks.state(), (State::Reachable, Some(MAC_A)));
    // A solicitation makes an entry at both.
    hears.table.ns(hears.port, V6, MAC_B, hears.now);
    let told = hears.actions();
    let [Did::Learned(fact)] = told[..] else { panic!("{told:?}") };
    asks.table.learn(fact, asks.now);
    assert_eq!((asks.state().1, hears.state().1), (Some(MAC_B), Some(MAC_B)));
    assert_eq!(asks.actions(), []);
    hears.table.ns(hears.port, V6, MAC_B, hears.now);
    assert_eq!(hears.actions(), [], "no news");
    hears.na(Some(MacAddr::BROADCAST), "S");
    assert_eq!(hears.actions(), [], "what must not be believed is not told on");
}

#[test]
fn queues_to_the_caller_are_bounded_at_their_edges() {
    let mut link = Link::new(|config| {
        config.solicit_burst = 1000;
        config.share_facts = true;
        config.max_pending_total = 1;
    });
    for n in 0..=NEIGHBOUR_SOLICITS as u32 {
        let id = link.bind(Ipv4Addr::from_bits(0x0a01_0000 + n));
        link.packet_to(id, 1);
    }
    assert_eq!(link.table.counters().solicits_lost, 1);
    assert_eq!(link.actions().len(), NEIGHBOUR_SOLICITS);
    for _ in 0..=NEIGHBOUR_FACTS {
        link.na(Some(MAC_A), "S");
    }
    assert_eq!(link.table.counters().facts_lost, 1);
    assert_eq!(link.actions().len(), NEIGHBOUR_FACTS);
}

#[test]
fn expire_does_no_more_than_its_budget() {
    let mut link = Link::new(|_| ());
    for n in 1..=10 {
        link.packet(Ipv4Addr::new(10, 0, 2, n), n);
    }
    link.actions();
    let later = link.now + Duration::from_secs(1);
    assert_eq!(link.table.expire(later, 4), 4);
    assert_eq!(link.actions().len(), 4);
    assert_eq!(link.table.expire(later, 100), 6);
    assert_eq!(link.table.next_deadline(), later + Duration::from_secs(1));
}

#[test]
fn a_generation_that_comes_round_begins_an_epoch() {
    let mut link = Link::new(|config| config.max_entries = 1);
    let first = link.bind(V4);
    for _ in 0..0xfffe {
        link.table.remove_static(link.port, V4.into());
        link.table.add_static(link.port, V4.into(), MAC_A, link.now).unwrap();
        link.table.remove_static(link.port, V4.into());
        assert_eq!(link.table.epoch(), 0);
        assert_ne!(link.bind(V4), first);
    }
    link.table.add_static(link.port, V4.into(), MAC_A, link.now).unwrap();
    link.table.remove_static(link.port, V4.into());
    assert_eq!((link.table.epoch(), link.bind(V4)), (1, first));
}

#[test]
fn the_largest_table_fills_to_its_last_place_and_takes_no_more() {
    let mut link = Link::new(|config| config.max_entries = crate::limits::MAX_NEIGHBOURS);
    let host = |n: usize| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0001 + n as u32));
    for n in 0..crate::limits::MAX_NEIGHBOURS {
        link.table.add_static(link.port, host(n), MAC_A, link.now).unwrap();
    }
    let one_more = link.table.bind(link.port, host(crate::limits::MAX_NEIGHBOURS), link.now);
    assert_eq!(one_more, Err(DropReason::NeighbourTableFull));
    assert!((0..crate::limits::MAX_NEIGHBOURS).all(|n| link.table.lookup(link.port, host(n)).is_some()));
}

#[test]
fn an_impossible_configuration_is_refused_with_its_field() {
    let config = NeighbourConfig { max_entries: 0, ..NeighbourConfig::default() };
    let error = NeighbourTable::<HeapFrame>::new(config, 1).err().unwrap();
    assert_eq!(error.to_string(), "max_entries must be 1 to 65536");
}
