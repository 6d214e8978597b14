//! What a program may have of one turn, and of what all share: each bound at its edge.

use crate::client::{Client, GEOMETRY, House, house, house_of};
use crate::workers::LAN;
use core::time::Duration;
use flumen::session::limits::*;
use flumen::session::order::Order;
use flumen::session::policy::Claim;
use flumen_ipc::message::{Address, ToSend};
use flumen_ipc::{DirtyTree, Geometry, Op};
use std::sync::atomic::Ordering::SeqCst;
use zerocopy::IntoBytes;

/// Room for many sockets and calls.
const LARGE: Geometry =
    Geometry { slots: 16_384, calls: 256, rx_bytes: 32_768, tx_bytes: 32_768, ..GEOMETRY };

const UDP: i32 = libc::SOCK_DGRAM;

fn marked(tree: DirtyTree<'_>, numbers: u32) -> usize {
    (0..numbers).filter(|number| tree.is_marked(*number)).count()
}

/// Submits a call and tells nobody but by its mark.
fn ask(client: &Client, call: u32, op: Op) {
    assert!(client.arena.call(call).claim());
    client.arena.call(call).submit(op, 0, [0; 4], &[]);
    client.arena.call_marks(0).mark(call);
}

fn answered(client: &Client) -> usize {
    (0..LARGE.calls).filter(|call| client.arena.call(*call).is_answered()).count()
}

#[test]
fn of_many_calls_a_turn_does_some_and_all_are_done_in_the_end() {
    let mut house = house(Claim::Owned);
    let client = house.attach_with(LARGE, 0);
    (0..CALLS_A_TURN as u32).for_each(|call| ask(&client, call, Op::Name));
    house.turns(1);
    assert_eq!(answered(&client), CALLS_A_TURN, "so many");
    (0..LARGE.calls).for_each(|call| client.arena.call(call).release());
    (0..LARGE.calls).for_each(|call| ask(&client, call, Op::Name));
    house.turns(1);
    assert_eq!(answered(&client), CALLS_A_TURN, "and no more");
    house.turns(3);
    assert_eq!(answered(&client), LARGE.calls as usize);
}

#[test]
fn calls_that_move_much_leave_the_rest_of_them_to_the_next_turn() {
    const CALLS: u32 = 40;
    let mut house = house(Claim::Owned);
    let client = house.attach(0);
    let record = record(60_000);
    (0..CALLS).for_each(|slot| house.open(&client, slot, libc::AF_INET, UDP, 0));
    for slot in 0..CALLS {
        // Written, and nobody is told but by the call.
        put(&client, slot, &record);
        assert!(client.arena.call(slot).claim());
        client.arena.call(slot).submit(Op::Name, slot, [0; 4], &[]);
        client.arena.call_marks(0).mark(slot);
    }
    let answered = || (0..CALLS).filter(|call| client.arena.call(*call).is_answered()).count();
    house.turns(1);
    // The one that goes beyond is done.
    assert_eq!(answered(), BYTES_A_TURN / (60_000 + DATAGRAM_COST) + 1);
    house.turns(4);
    assert_eq!(answered(), CALLS as usize);
}

#[test]
fn marks_of_slots_are_taken_so_many_groups_in_a_turn() {
    let mut house = house(Claim::Owned);
    let client = house.attach_with(LARGE, 0);
    let (all, slots) = (LARGE.slots as usize, LARGE.slots);
    for slot in 0..slots {
        client.arena.kicks(0).mark(slot);
        client.arena.closes(0).mark(slot);
    }
    house.turns(1);
    assert_eq!(marked(client.arena.kicks(0), slots), all - 64 * KICK_GROUPS_A_TURN);
    assert_eq!(marked(client.arena.closes(0), slots), all - 64 * CLOSE_GROUPS_A_TURN);
    // Who asks for something that may depend on what was closed has all closed before; but not more slots in which nothing is.
    ask(&client, 0, Op::Bind);
    house.turns(1);
    assert_eq!(marked(client.arena.closes(0), slots), all - 64 * CLOSE_GROUPS_A_TURN - EMPTY_CLOSES_A_TURN);
    assert_eq!(answered(&client), 1);
    house.turns(all / (64 * CLOSE_GROUPS_A_TURN));
    assert_eq!(marked(client.arena.closes(0), slots) + marked(client.arena.kicks(0), slots), 0);
}

/// A datagram to a neighbour. (One to this node would be heard, and more be done, in the same turn.)
fn record(len: usize) -> Vec<u8> {
    let to = Address::from("10.0.1.2:9".parse::<std::net::SocketAddr>().unwrap());
    [ToSend { len: len as u32, to, ..ToSend::default() }.as_bytes(), &vec![7; len]].concat()
}

/// Writes into an empty ring, and kicks nobody.
fn put(client: &Client, slot: u32, bytes: &[u8]) {
    client.arena.tx(slot).copy_in(0, bytes);
    client.arena.cell(slot).program.tx_tail.store(bytes.len() as u64, SeqCst);
}

fn taken(client: &Client, slot: u32) -> u64 {
    client.arena.cell(slot).worker.tx_head.load(SeqCst)
}

#[test]
fn sockets_that_were_kicked_are_looked_at_so_many_in_a_turn() {
    const MORE: u32 = SOCKETS_A_TURN as u32 + 20;
    let mut house = house(Claim::Owned);
    house.rig.introduce(LAN, "10.0.1.2", 2);
    let client = house.attach_with(LARGE, 0);
    let record = record(10);
    for slot in 0..MORE {
        house.open(&client, slot, libc::AF_INET, UDP, 0);
        put(&client, slot, &record);
        client.kick(slot);
    }
    let served = || (0..MORE).filter(|slot| taken(&client, *slot) > 0).count();
    assert_eq!(served(), MORE as usize - 1, "the last one was kicked a moment ago");
    for slot in 0..MORE {
        client.arena.tx(slot).copy_in(record.len() as u64, &record);
        client.arena.cell(slot).program.tx_tail.store(2 * record.len() as u64, SeqCst);
        client.kick(slot);
    }
    let served = || (0..MORE).filter(|slot| taken(&client, *slot) == 2 * record.len() as u64).count();
    house.turns(1);
    assert_eq!(served(), SOCKETS_A_TURN);
    house.turns(1);
    assert_eq!(served(), MORE as usize);
}

#[test]
fn datagrams_of_one_socket_leave_so_many_in_a_turn() {
    let mut house = house(Claim::Owned);
    house.rig.introduce(LAN, "10.0.1.2", 2);
    let client = house.attach(0);
    house.open(&client, 1, libc::AF_INET, UDP, 0);
    let record = record(1);
    put(&client, 1, &record.repeat(DATAGRAMS_A_TURN + 3));
    client.kick(1);
    house.turns(1);
    assert_eq!(taken(&client, 1), (DATAGRAMS_A_TURN * record.len()) as u64);
    house.turns(1);
    assert_eq!(taken(&client, 1), ((DATAGRAMS_A_TURN + 3) * record.len()) as u64);
}

#[test]
fn sockets_of_a_program_that_ended_are_closed_so_many_in_a_turn() {
    let mut house = house(Claim::Owned);
    let client = house.attach_with(LARGE, 0);
    let count = CLOSINGS_A_TURN + 36;
    (0..count as u32).for_each(|slot| house.tcp(&client, slot));
    house.control.orders.push(Order::Detach(client.place)).unwrap();
    house.turns(1);
    assert_eq!(house.sessions().sockets(), 36);
    house.turns(1);
    assert_eq!((house.sessions().sockets(), house.sessions().programs()), (0, 0));
}

fn later(house: &mut House, time: Duration) {
    house.rig.worker.clock.0 -= time;
    house.turns(2);
}

#[test]
fn what_is_held_for_a_process_that_never_comes_waits_so_long_and_so_many_do() {
    let mut house = house_of(2 * MAX_HELD);
    let client = house.attach_with(LARGE, 0);
    for slot in 0..=MAX_HELD as u32 {
        house.tcp(&client, slot);
        assert_eq!(house.call(&client, Op::Hold, slot, [0; 4]), 0);
        client.let_go(slot);
    }
    house.turns(50);
    assert_eq!(house.sessions().sockets(), MAX_HELD, "the one that waited longest gave way");
    // (The clock goes on by itself, too.)
    later(&mut house, HOLD - Duration::from_secs(8));
    assert_eq!(house.sessions().sockets(), MAX_HELD);
    later(&mut house, Duration::from_secs(8));
    assert_eq!(house.sessions().sockets(), 0);
}
