//! Sockets that several processes have, processes that end, and sockets that wait to be adopted.

use crate::client::{Client, House, house};
use core::time::Duration;
use flumen::session::order::{Done, Found, Order};
use flumen::session::policy::Claim;
use flumen_ipc::{Flags, Op};
use std::sync::atomic::Ordering::SeqCst;

const AT: &str = "10.0.1.1:8080";

fn adopt(house: &mut House, program: u16, slot: u32, cookie: u64) -> Result<Option<Found>, ()> {
    adopt_of(house, program, slot, cookie, 0)
}

/// The same for a descriptor that user `maker` made.
fn adopt_of(
    house: &mut House,
    program: u16,
    slot: u32,
    cookie: u64,
    maker: u32,
) -> Result<Option<Found>, ()> {
    house.control.orders.push(Order::Adopt { program, slot, cookie, maker }).unwrap();
    house.turns(1);
    match house.control.done.pop().unwrap() {
        Done::Adopted(place, found) if place == program => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_goes_on_with_what_the_parent_closed() {
    let mut house = house(Claim::Owned);
    let (parent, client) = (house.attach(0), house.attach(0));
    house.connected(&parent, &client, AT);
    let child = house.fork(&parent);
    let args = [2, 1, 0, 0];
    house.close(&parent, 2);
    assert_eq!(house.call(&parent, Op::Open, 2, args), -i64::from(libc::EBUSY), "its home is in use");
    client.write(1, b"for the child");
    house.turns(4);
    assert_eq!(child.news(), [2]);
    // The memory is the parent's, and the child has it mapped; the kick is the child's own.
    let home = house.map(parent.place);
    let mut out = vec![0; home.cell(2).readable() as usize];
    home.rx(2).copy_out(0, &mut out);
    assert_eq!(out, b"for the child");
    home.cell(2).program.rx_head.store(13, std::sync::atomic::Ordering::SeqCst);
    child.kick(2);
    house.turns(2);
    // The child's own slot with this number is no home.
    assert_eq!(house.call(&child, Op::Open, 2, args), -i64::from(libc::EBUSY));
    house.close(&child, 2);
    house.turns(4);
    assert!(client.flags(1).contains(Flags::READ_END) && !client.flags(1).contains(Flags::ERROR));
    assert_eq!(house.call(&parent, Op::Open, 2, args), 0, "and its home is free");
}

#[test]
fn what_a_process_wrote_before_it_let_go_is_sent_for_those_who_still_have_the_socket() {
    let mut house = house(Claim::Owned);
    let (parent, client) = (house.attach(0), house.attach(0));
    house.connected(&parent, &client, AT);
    // The memory is the parent's; the kick is the child's, and nobody took it when the child is gone.
    let written_by = |child: &Client, bytes: &[u8]| {
        parent.write_without_kick(2, bytes);
        child.kick(2);
    };
    let child = house.fork(&parent);
    written_by(&child, b"ended");
    house.kill(&child);
    assert_eq!(client.read(1, 100), b"ended");
    assert!(matches!(house.control.done.pop(), Ok(Done::Gone(program)) if program.place == child.place));
    let child = house.fork(&parent);
    written_by(&child, b"closed");
    child.let_go(2);
    house.turns(4);
    assert_eq!(client.read(1, 100), b"closed");
    assert!(!client.flags(1).contains(Flags::READ_END), "the parent has it");
}

#[test]
fn programs_hear_that_the_service_stops_and_that_addresses_are_others() {
    let mut house = house(Claim::Owned);
    let client = house.attach(0);
    house.tcp(&client, 1);
    house.rig.worker.housekeeping();
    let generation = house.page().words().generation.load(SeqCst);
    let lan = house.rig.worker.stack.interfaces.iter().next().unwrap().id;
    let now = house.rig.worker.clock.now();
    assert!(house.rig.worker.stack.add_address(now, lan, "10.0.1.77/24".parse().unwrap()));
    house.rig.worker.housekeeping();
    assert_ne!(house.page().words().generation.load(SeqCst), generation);
    let home = house.map(client.place);
    home.cell(1).program.readers.store(1, SeqCst);
    let seen = home.cell(1).worker.seq.load(SeqCst);
    assert!(!client.rang() && house.page().words().stopping.load(SeqCst) == 0);
    house.rig.worker.leave();
    assert_ne!(house.page().words().stopping.load(SeqCst), 0);
    assert!(client.rang() && home.cell(1).worker.seq.load(SeqCst) != seen);
}

#[test]
fn a_process_that_is_killed_leaves_nothing_behind() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    client.write(1, b"never read");
    house.turns(4);
    house.kill(&server);
    assert!(matches!(house.control.done.pop(), Ok(Done::Gone(program)) if program.place == server.place));
    house.turns(4);
    assert_eq!(client.error(1), libc::ECONNRESET, "what it had not read");
    assert_eq!(house.sessions().sockets(), 1, "the client's");
    // What it had written before is sent.
    let server = house.attach(0);
    house.close(&client, 1);
    house.connected(&server, &client, "10.0.1.1:8081");
    server.write(2, b"last words");
    house.kill(&server);
    house.turns(4);
    assert_eq!(client.read(1, 100), b"last words");
    assert!(client.flags(1).contains(Flags::READ_END) && client.error(1) == 0);
}

#[test]
fn the_memory_of_a_dead_parent_lives_as_long_as_a_child_uses_it() {
    let mut house = house(Claim::Owned);
    let (parent, client) = (house.attach(0), house.attach(0));
    house.connected(&parent, &client, AT);
    let child = house.fork(&parent);
    house.kill(&parent);
    assert!(house.control.done.pop().is_err(), "the memory is in use");
    client.write(1, b"hello");
    house.turns(4);
    assert_eq!(house.map(parent.place).cell(2).readable(), 5);
    assert!(child.news().contains(&2));
    house.kill(&child);
    let mut gone: Vec<u16> = Vec::new();
    while let Ok(Done::Gone(program)) = house.control.done.pop() {
        gone.push(program.place);
    }
    gone.sort_unstable();
    assert_eq!(gone, [parent.place, child.place]);
}

#[test]
fn a_socket_waits_for_the_program_that_adopts_it() {
    let mut house = house(Claim::Owned);
    let (old, client) = (house.attach(0), house.attach(0));
    house.connected(&old, &client, AT);
    assert_eq!(house.call(&old, Op::Hold, 2, [0; 4]), 0);
    house.kill(&old);
    house.turns(4);
    assert!(!client.flags(1).intersects(Flags::READ_END | Flags::ERROR));
    let new = house.attach(0);
    assert_eq!(adopt(&mut house, new.place, 9, 12345), Ok(None), "nobody has such a socket");
    // 77 is the cookie that the connection was accepted with.
    let found = adopt(&mut house, new.place, 9, 77).unwrap().unwrap();
    assert_eq!((found.home, found.slot, found.socket_type), (old.place, 2, libc::SOCK_STREAM));
    assert_eq!(adopt(&mut house, new.place, 9, 77), Err(()), "the slot is taken");
    client.write(1, b"hello");
    house.turns(4);
    assert!(new.news().contains(&9));
    assert_eq!(house.name(&new, 9, false).to_string(), AT);
    // Nobody waits for it any more: it ends with who adopted it.
    house.rig.worker.clock.0 -= Duration::from_secs(60);
    house.turns(2);
    assert!(!client.flags(1).intersects(Flags::READ_END | Flags::ERROR));
    house.kill(&new);
    house.turns(4);
    assert_eq!(client.error(1), libc::ECONNRESET);
}

#[test]
fn a_program_cannot_name_the_descriptor_of_another_user() {
    let mut house = house(Claim::All);
    let (liar, root, heir) = (house.attach(1000), house.attach(0), house.attach(1001));
    let open = |cookie| [libc::AF_INET as u64, libc::SOCK_DGRAM as u64, libc::IPPROTO_UDP as u64, cookie];
    assert_eq!(house.call(&liar, Op::Open, 1, open(555)), 0, "it says what it likes");
    assert_eq!(adopt_of(&mut house, heir.place, 4, 555, 1001), Ok(None), "the descriptor is somebody else's");
    // Whom it belongs to finds it among others of that name, in whatever order they came.
    assert_eq!(house.call(&heir, Op::Open, 2, open(555)), 0);
    let found = adopt_of(&mut house, root.place, 4, 555, 1001).unwrap().unwrap();
    assert_eq!((found.home, found.slot), (heir.place, 2));
    let found = adopt_of(&mut house, root.place, 5, 555, 1000).unwrap().unwrap();
    assert_eq!((found.home, found.slot), (liar.place, 1));
    // Root's programs make sockets as other users: a server that gave up its rights still has its own.
    assert_eq!(house.call(&root, Op::Open, 1, open(556)), 0);
    let found = adopt_of(&mut house, heir.place, 6, 556, 33).unwrap().unwrap();
    assert_eq!((found.home, found.slot), (root.place, 1));
}

#[test]
fn a_socket_that_nobody_adopts_ends_in_time() {
    let mut house = house(Claim::Owned);
    let (old, client) = (house.attach(0), house.attach(0));
    house.connected(&old, &client, AT);
    assert_eq!(house.call(&old, Op::Hold, 2, [0; 4]), 0);
    assert_eq!(house.call(&old, Op::Hold, 2, [0; 4]), 0, "twice is once");
    house.kill(&old);
    house.rig.worker.clock.0 -= Duration::from_secs(9);
    house.turns(4);
    assert!(!client.flags(1).contains(Flags::READ_END));
    house.rig.worker.clock.0 -= Duration::from_secs(2);
    house.turns(4);
    assert!(client.flags(1).contains(Flags::READ_END));
}
