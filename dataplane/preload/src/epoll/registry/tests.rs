use super::*;
use std::cell::Cell;
use std::rc::Rc;

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;
const HUP: u32 = libc::EPOLLHUP as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONE_SHOT: u32 = libc::EPOLLONESHOT as u32;

/// A socket that is what the test says.
#[derive(Debug, Clone, Default)]
struct Fake(Rc<State>);

#[derive(Debug, Default)]
struct State {
    now: Cell<Now>,
    slot: Cell<Option<u32>>,
    told: Cell<u64>,
    kernel: Cell<bool>,
    closed: Cell<bool>,
}

impl Source for Fake {
    fn now(&self) -> Now {
        self.0.now.get()
    }
    fn identity(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
    fn slot(&self) -> Option<u32> {
        self.0.slot.get()
    }
    fn told(&self) -> u64 {
        self.0.told.get()
    }
    fn has_kernel_part(&self) -> bool {
        self.0.kernel.get()
    }
    fn is_closed(&self) -> bool {
        self.0.closed.get()
    }
}

impl Fake {
    fn at(slot: u32) -> Fake {
        let fake = Fake::default();
        fake.0.slot.set(Some(slot));
        fake
    }
    fn is(&self, events: u32) {
        self.0.now.set(Now { events, ..self.0.now.get() });
    }
    fn gets(&self, bytes: u64) {
        let now = self.0.now.get();
        self.0.now.set(Now { events: now.events | IN, arrivals: now.arrivals + bytes, ..now });
    }
    fn refuses(&self) {
        let now = self.0.now.get();
        self.0.now.set(Now { events: now.events & !OUT, refusals: now.refusals + 1, ..now });
    }
}

/// A registry with one set.
fn one_set() -> (Registry<Fake>, u32) {
    let mut registry = Registry::new();
    let set = registry.sets.insert(Set::new(false));
    (registry, set)
}

fn add(registry: &mut Registry<Fake>, set: u32, socket: &Fake, interest: u32) -> u32 {
    let fd = socket.slot().unwrap_or(90) as i32 + 100;
    registry.add(set, fd, Watched::Socket(socket.clone()), interest, u64::from(fd as u32), false).unwrap()
}

/// What a wait with room for so many reports: data and events.
fn wait(registry: &mut Registry<Fake>, set: u32, room: usize) -> Vec<(u64, u32)> {
    let mut got = Vec::new();
    registry.gather(set, room, |event| got.push((event.u64, event.events)));
    got
}

#[test]
fn level_triggered_interest_is_told_until_the_socket_is_quiet() {
    let (mut registry, set) = one_set();
    let socket = Fake::at(3);
    add(&mut registry, set, &socket, IN);
    assert_eq!(wait(&mut registry, set, 8), []);
    socket.gets(10);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [(103, IN)]);
    assert_eq!(wait(&mut registry, set, 8), [(103, IN)], "nobody read");
    socket.is(OUT);
    assert_eq!(wait(&mut registry, set, 8), []);
    socket.is(OUT | HUP);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [(103, HUP)], "always reported");
}

#[test]
fn edge_triggered_interest_is_told_once_for_each_arrival_and_each_refusal() {
    let (mut registry, set) = one_set();
    let socket = Fake::at(3);
    socket.is(OUT);
    add(&mut registry, set, &socket, IN | OUT | RDHUP | EDGE);
    assert_eq!(wait(&mut registry, set, 8), [(103, OUT)], "as it is when it is added");
    assert_eq!(wait(&mut registry, set, 8), []);
    socket.gets(1);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [(103, IN | OUT)]);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [], "news that change nothing");
    socket.gets(1);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [(103, IN | OUT)], "more behind what is unread");
    // The program fills the buffer, and the worker makes room before anybody looks.
    socket.refuses();
    socket.is(OUT);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [(103, OUT)]);
}

#[test]
fn a_refusal_while_the_socket_is_looked_at_still_leads_to_room() {
    let (mut registry, set) = one_set();
    let socket = Fake::at(3);
    socket.is(OUT);
    add(&mut registry, set, &socket, OUT | EDGE);
    assert_eq!(wait(&mut registry, set, 8), [(103, OUT)]);
    socket.refuses();
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), []);
    socket.is(OUT);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [(103, OUT)]);
}

#[test]
fn one_shot_interest_is_spent_until_it_is_changed() {
    let (mut registry, set) = one_set();
    let socket = Fake::at(3);
    let item = add(&mut registry, set, &socket, IN | ONE_SHOT);
    socket.gets(1);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [(103, IN)]);
    socket.is(IN | HUP);
    registry.news(3);
    assert_eq!(wait(&mut registry, set, 8), [], "not even a hang-up");
    registry.modify(set, item, IN | ONE_SHOT, 7);
    assert_eq!(wait(&mut registry, set, 8), [(7, IN | HUP)]);
}

#[test]
fn those_that_found_no_room_come_first_the_next_time() {
    let (mut registry, set) = one_set();
    let sockets: Vec<Fake> = (0..3).map(Fake::at).collect();
    for socket in &sockets {
        socket.is(IN);
        add(&mut registry, set, socket, IN);
    }
    let told: Vec<u64> = (0..6).flat_map(|_| wait(&mut registry, set, 1)).map(|(data, _)| data).collect();
    assert_eq!(told, [100, 101, 102, 100, 101, 102]);
}

#[test]
fn news_that_are_taken_together_are_told_in_the_order_in_which_they_came() {
    let (mut registry, set) = one_set();
    let sockets: Vec<Fake> = (0..3).map(Fake::at).collect();
    for (socket, told) in sockets.iter().zip([7, 5, 6]) {
        add(&mut registry, set, socket, IN);
        socket.gets(1);
        socket.0.told.set(told);
    }
    [0, 1, 2, 9].into_iter().for_each(|slot| registry.hear(slot));
    registry.tell_heard();
    assert_eq!(wait(&mut registry, set, 8), [(101, IN), (102, IN), (100, IN)]);
}

#[test]
fn idle_sockets_cost_nothing() {
    let (mut registry, set) = one_set();
    let sockets: Vec<Fake> = (0..1000).map(Fake::at).collect();
    sockets.iter().for_each(|socket| {
        add(&mut registry, set, socket, IN);
    });
    sockets[700].gets(1);
    registry.news(700);
    assert_eq!(registry.sets.get(set).unwrap().queue_len(), 1);
    assert_eq!(wait(&mut registry, set, 8), [(800, IN)]);
}

#[test]
fn what_is_closed_leaves_all_sets() {
    let (mut registry, first) = one_set();
    let second = registry.sets.insert(Set::new(false));
    let socket = Fake::at(3);
    socket.is(IN);
    add(&mut registry, first, &socket, IN);
    add(&mut registry, second, &socket, IN);
    socket.0.closed.set(true);
    registry.closed(&socket);
    assert_eq!((wait(&mut registry, first, 8), wait(&mut registry, second, 8)), (vec![], vec![]));
    assert_eq!(Rc::strong_count(&socket.0), 1, "nothing holds it");
    // The slot is used again: news of the new socket are not told to those who watched the old one.
    let next = Fake::at(3);
    next.is(IN);
    add(&mut registry, first, &next, IN);
    registry.news(3);
    assert_eq!(wait(&mut registry, first, 8).len(), 1);
    assert_eq!(wait(&mut registry, second, 8), []);
}

#[test]
fn a_socket_that_was_decided_is_heard_by_news() {
    let (mut registry, set) = one_set();
    let socket = Fake::default();
    socket.0.kernel.set(true);
    registry.add(set, 5, Watched::Socket(socket.clone()), IN, 50, true).unwrap();
    registry.sets.get_mut(set).unwrap().tell_from_kernel(0, HUP);
    assert_eq!(wait(&mut registry, set, 8), [(50, HUP)], "the kernel's socket speaks for it");
    socket.0.kernel.set(false);
    socket.0.slot.set(Some(9));
    assert_eq!(registry.decided(&socket, false), [KernelChange { set, fd: 5, to: None }]);
    socket.gets(1);
    registry.news(9);
    assert_eq!(wait(&mut registry, set, 8), [(50, IN)]);
}

#[test]
fn a_socket_that_is_the_kernels_gets_its_data_back_in_the_kernels_set() {
    let (mut registry, set) = one_set();
    let socket = Fake::default();
    socket.0.kernel.set(true);
    registry.add(set, 5, Watched::Socket(socket.clone()), IN | EDGE, 50, true).unwrap();
    let change = KernelChange { set, fd: 5, to: Some((IN | EDGE, 50)) };
    assert_eq!(registry.decided(&socket, true), [change]);
    let set = registry.sets.get(set).unwrap();
    assert!(set.has_strangers && set.kernel_parts == 0 && set.find((5, socket.identity())).is_none());
}

#[test]
fn a_socket_of_both_is_reported_once_for_both() {
    let (mut registry, set) = one_set();
    let socket = Fake::at(3);
    socket.0.kernel.set(true);
    socket.is(IN);
    let item = registry.add(set, 5, Watched::Socket(socket.clone()), IN, 50, true).unwrap();
    registry.sets.get_mut(set).unwrap().tell_from_kernel(item, IN);
    assert_eq!(wait(&mut registry, set, 8), [(50, IN)]);
    socket.is(0);
    assert_eq!(wait(&mut registry, set, 8), [], "the kernel is asked anew");
}

#[test]
fn a_set_in_a_set_is_readable_while_it_has_something_to_report() {
    let (mut registry, inner) = one_set();
    let outer = registry.sets.insert(Set::new(false));
    let socket = Fake::at(3);
    add(&mut registry, inner, &socket, IN);
    registry.add(outer, 9, Watched::Set(inner), IN, 90, false).unwrap();
    assert_eq!(wait(&mut registry, outer, 8), []);
    socket.gets(1);
    registry.news(3);
    assert_eq!(wait(&mut registry, outer, 8), [(90, IN)]);
    assert_eq!(wait(&mut registry, outer, 8), [(90, IN)]);
    assert_eq!(wait(&mut registry, inner, 8), [(103, IN)]);
    socket.is(0);
    assert_eq!(wait(&mut registry, outer, 8), []);
    registry.remove_set(inner);
    assert!(registry.sets.get(outer).unwrap().find((9, identity::<Fake>(&Watched::Set(inner)))).is_none());
}

#[test]
fn only_sets_with_sleepers_are_knocked_at() {
    let (mut registry, set) = one_set();
    let outer = registry.sets.insert(Set::new(false));
    let socket = Fake::at(3);
    add(&mut registry, set, &socket, IN);
    registry.add(outer, 9, Watched::Set(set), IN, 90, false).unwrap();
    socket.gets(1);
    registry.news(3);
    assert_eq!(registry.take_knock(), None);
    assert_eq!(wait(&mut registry, outer, 8), [(90, IN)]);
    socket.is(0);
    assert_eq!(wait(&mut registry, set, 8), []);
    assert_eq!(wait(&mut registry, outer, 8), []);
    registry.sets.get_mut(outer).unwrap().sleepers = 1;
    socket.gets(1);
    registry.news(3);
    assert_eq!((registry.take_knock(), registry.take_knock()), (Some(outer), None));
    // A second thread sleeps in it while the first leaves something behind.
    assert_eq!(wait(&mut registry, outer, 1), [(90, IN)]);
    assert_eq!(registry.take_knock(), Some(outer));
}

#[test]
fn removing_what_is_ready_takes_it_off_the_list() {
    let (mut registry, set) = one_set();
    let socket = Fake::at(3);
    socket.is(IN);
    add(&mut registry, set, &socket, IN);
    assert!(registry.remove(set, (103, socket.identity())));
    assert!(!registry.remove(set, (103, socket.identity())));
    assert_eq!(wait(&mut registry, set, 8), []);
    // The item's number is used again.
    let other = Fake::at(4);
    add(&mut registry, set, &other, IN);
    assert_eq!(wait(&mut registry, set, 8), []);
}
