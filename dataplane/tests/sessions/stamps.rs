//! Stamps of what is sent: what a program asks of the worker for them, and what stands in the error queue.

use crate::client::{Client, House, house};
use flumen::session::policy::Claim;
use flumen_ipc::call::STAMPS_AS_SET;
use flumen_ipc::message::ErrorRecord;
use flumen_ipc::{Flags, Op};
use zerocopy::FromBytes;

const AT: &str = "10.0.1.1:8080";
const STAMPING: (i32, i32) = (libc::SOL_SOCKET, libc::SO_TIMESTAMPING);
const TX_SOFTWARE: i32 = 1 << 1;
const OPT_ID: i32 = 1 << 7;
const TX_SCHED: i32 = 1 << 8;
const TX_ACK: i32 = 1 << 9;
const OPT_TSONLY: i32 = 1 << 11;
const OPT_STATS: i32 = 1 << 12;

/// Kind, key and length of each entry of the error queue.
fn stamps(house: &mut House, client: &Client, slot: u32) -> Vec<(u32, u32, u32)> {
    let mut found = Vec::new();
    loop {
        let (result, data) = house.call_with(client, Op::ErrorQueue, slot, [0; 4], &[]);
        if result == -i64::from(libc::EAGAIN) {
            return found;
        }
        let (record, _) = ErrorRecord::read_from_prefix(&data).unwrap();
        assert_eq!((record.errno as i32, record.origin), (libc::ENOMSG, 4));
        found.push((record.info, record.data, record.len));
    }
}

#[test]
fn a_stream_is_stamped_where_the_program_says_before_it_writes() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.tcp(&client, 3);
    let wanted = TX_SOFTWARE | TX_SCHED | TX_ACK | OPT_ID;
    let invalid = -i64::from(libc::EINVAL);
    assert_eq!(house.set(&client, 3, STAMPING, wanted), invalid, "nothing to count yet");
    assert_eq!(house.set(&client, 3, STAMPING, wanted & !OPT_ID), 0);
    assert_eq!(house.call(&client, Op::Stamp, 3, [4, STAMPS_AS_SET, 0, 0]), -i64::from(libc::ENOTCONN));
    house.connected(&server, &client, AT);
    assert_eq!(house.set(&client, 1, STAMPING, wanted | OPT_STATS), invalid, "not with its packet");
    assert_eq!(house.set(&client, 1, STAMPING, wanted), 0);
    assert_eq!(house.call(&client, Op::Stamp, 1, [4, STAMPS_AS_SET, 0, 0]), 0);
    client.write(1, b"when");
    house.turns(8);
    assert!(client.flags(1).contains(Flags::ERROR_QUEUE) && client.news().contains(&1));
    assert_eq!(stamps(&mut house, &client, 1), [(1, 3, 4), (0, 3, 4), (2, 3, 4)], "scheduled, sent, there");
    assert!(!client.flags(1).contains(Flags::ERROR_QUEUE));
    // One call asks for its own; times alone quote nothing; what asks for none has none.
    assert_eq!(house.set(&client, 1, STAMPING, OPT_ID | OPT_TSONLY), 0);
    assert_eq!(house.call(&client, Op::Stamp, 1, [6, TX_SOFTWARE as u64, 0, 0]), 0);
    client.write(1, b"it");
    house.turns(8);
    assert_eq!(house.call(&client, Op::Stamp, 1, [8, STAMPS_AS_SET, 0, 0]), 0);
    client.write(1, b"is");
    assert_eq!(house.call(&client, Op::SendUrgent, 1, [b'!'.into(), TX_ACK as u64, 0, 0]), 1);
    house.turns(8);
    assert_eq!(stamps(&mut house, &client, 1), [(0, 5, 0), (2, 8, 0)]);
    // A position that cannot be is refused, and harms nobody.
    for position in [1 << 40, u64::MAX / 2] {
        assert_eq!(house.call(&client, Op::Stamp, 1, [position, STAMPS_AS_SET, 0, 0]), invalid);
    }
    assert_eq!(server.read(2, 100), b"whenitis");
}

#[test]
fn figures_of_the_connection_are_what_a_stamp_quotes() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    assert_eq!(house.set(&client, 1, STAMPING, TX_SCHED | TX_ACK | OPT_TSONLY | OPT_STATS), 0);
    for kinds in [STAMPS_AS_SET, TX_SOFTWARE as u64] {
        assert_eq!(house.call(&client, Op::Stamp, 1, [4, kinds, 0, 0]), 0);
    }
    client.write(1, b"when");
    house.turns(8);
    for (kind, expected, ttl) in [(1, 248, false), (0, 248, false), (2, 256, true)] {
        let (result, data) = house.call_with(&client, Op::ErrorQueue, 1, [0; 4], &[]);
        assert!(result >= 0);
        let (record, figures) = ErrorRecord::read_from_prefix(&data).unwrap();
        assert_eq!((record.info, record.figures, record.len), (kind, 1, expected));
        assert_eq!(figures.len(), expected as usize);
        // The first is how long it was busy; the fourth counts segments; that of the TTL is there for an acknowledgment.
        assert_eq!(
            (figures[..4].to_vec(), &figures[36..48]),
            (vec![12, 0, 1, 0], &[12, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0][..])
        );
        assert_eq!(figures.ends_with(&[5, 0, 26, 0, 64, 0, 0, 0, 8, 0, 27, 0, 0, 0, 0, 0]), ttl);
    }
}

#[test]
fn a_connection_that_was_accepted_asks_as_its_listener_did_and_a_datagram_socket_has_no_bytes_to_stamp() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    // The listener was told before: the next connection inherits it.
    assert_eq!(house.set(&server, 1, STAMPING, TX_SOFTWARE | OPT_TSONLY), 0);
    house.tcp(&client, 5);
    assert_eq!(house.at(&client, Op::Connect, 5, AT), -i64::from(libc::EINPROGRESS));
    house.turns(8);
    assert!(house.call(&server, Op::Accept, 1, [6, 0, 0, 0]) >= 0);
    assert_eq!(house.call(&server, Op::Stamp, 6, [2, STAMPS_AS_SET, 0, 0]), 0);
    server.write(6, b"hi");
    house.turns(8);
    assert_eq!(stamps(&mut house, &server, 6), [(0, 0, 0)]);
    house.open(&client, 7, libc::AF_INET, libc::SOCK_DGRAM, 0);
    assert_eq!(house.call(&client, Op::Stamp, 7, [2, STAMPS_AS_SET, 0, 0]), -i64::from(libc::EOPNOTSUPP));
}
