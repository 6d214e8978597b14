//! TCP: two programs and a worker between them. Connections to an address of ours run through the stack in memory.

use crate::client::{House, house};
use core::sync::atomic::Ordering::SeqCst;
use flumen::session::policy::Claim;
use flumen_ipc::call::SEND_RECORD;
use flumen_ipc::{Flags, Op};

const AT: &str = "10.0.1.1:8080";

#[test]
fn two_programs_talk_over_an_address_of_ours() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(1000));
    house.connected(&server, &client, AT);
    assert_eq!(house.name(&server, 1, false).to_string(), AT);
    assert_eq!(house.name(&client, 1, true).to_string(), AT);
    assert_eq!(house.name(&client, 1, false), house.name(&server, 2, true));
    assert_eq!(client.write(1, b"question"), 8);
    house.turns(4);
    assert_eq!(server.read(2, 100), b"question");
    assert_eq!(server.write(2, b"answer"), 6);
    house.turns(4);
    assert!(client.news().contains(&1));
    assert_eq!(client.read(1, 100), b"answer");
    // The client closes, the server sees the end, and closes too.
    house.close(&client, 1);
    house.turns(4);
    assert!(server.flags(2).contains(Flags::READ_END) && !server.flags(2).contains(Flags::HANG_UP));
    house.close(&server, 2);
    house.close(&server, 1);
    house.turns(4);
    assert_eq!(house.sessions().sockets(), 0);
    assert_eq!(house.rig.worker.stack.tcp.connections(), 0);
}

#[test]
fn what_is_said_to_this_node_is_heard_in_the_same_turn() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    let turns = |house: &House| house.page().words().turns[0].0.load(SeqCst);
    assert!(client.flags(1).contains(Flags::NEAR) && server.flags(2).contains(Flags::NEAR));
    for (from, to, slots) in [(&client, &server, [1, 2]), (&server, &client, [2, 1])] {
        let before = turns(&house);
        assert_eq!(from.write(slots[0], b"heard"), 5);
        house.turns(1);
        assert_eq!(to.read(slots[1], 100), b"heard");
        assert_eq!(turns(&house), before + 1, "who waits for turns sees them");
    }
    house.close(&client, 1);
    house.turns(1);
    assert!(server.flags(2).contains(Flags::READ_END));
}

#[test]
fn a_megabyte_arrives_whole_whatever_the_pieces() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    let sent: Vec<u8> = (0..1_000_000u32).map(|index| (index / 7 % 251) as u8).collect();
    let (mut written, mut read) = (0, Vec::new());
    for round in 0..20_000 {
        written += client.write(1, &sent[written..]);
        house.turns(1);
        read.extend(server.read(2, 1 + round * 37 % 70_000));
        if read.len() == sent.len() {
            break;
        }
    }
    assert_eq!(written, sent.len());
    assert!(read == sent, "{} bytes of {}", read.len(), sent.len());
}

#[test]
fn to_ourselves_as_much_is_written_at_once_as_on_the_loopback_interface() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, "10.0.1.1:8080");
    for (place, slot) in [(client.place, 1), (server.place, 2)] {
        let room = house.map(place).cell(slot).worker.tx_limit.load(std::sync::atomic::Ordering::SeqCst);
        assert!(room > 1 << 20, "{room}");
    }
}

#[test]
fn the_end_of_a_record_parts_what_a_cork_would_join() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    let cork = [libc::IPPROTO_TCP as u64, libc::TCP_CORK as u64, 0, 0];
    assert_eq!(house.call_with(&client, Op::SetOption, 1, cork, &1i32.to_ne_bytes()).0, 0);
    client.write(1, b"one ");
    assert_eq!(house.call(&client, Op::Send, 1, [4, SEND_RECORD, 0, 0]), 0);
    house.turns(4);
    assert_eq!(server.read(2, 100), b"", "it is the last, and the cork holds it");
    client.write(1, b"record");
    house.turns(4);
    assert_eq!(server.read(2, 100), b"one ");
    // A position that cannot be is refused, and harms nobody.
    let wrong = house.call(&client, Op::Send, 1, [1 << 40, SEND_RECORD, 0, 0]);
    assert_eq!(wrong, -i64::from(libc::EINVAL));
}
