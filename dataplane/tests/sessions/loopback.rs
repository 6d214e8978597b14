//! Programs talk to each other, and to themselves, over loopback addresses when those are ours.

use crate::client::house;
use flumen::session::policy::Claim;
use flumen_ipc::message::{Address, ToSend};
use flumen_ipc::{Flags, Op};
use zerocopy::IntoBytes;

#[test]
fn a_program_talks_to_itself_over_loopback() {
    let mut house = house(Claim::All);
    let client = house.attach(0);
    for (round, at) in ["127.0.0.1:8080", "127.3.2.1:8080"].into_iter().enumerate() {
        let base = 10 * round as u32;
        house.tcp(&client, base + 1);
        assert_eq!(house.at(&client, Op::Bind, base + 1, at), 0);
        assert_eq!(house.call(&client, Op::Listen, base + 1, [5, 0, 0, 0]), 0);
        house.tcp(&client, base + 2);
        assert_eq!(house.at(&client, Op::Connect, base + 2, at), -i64::from(libc::EINPROGRESS));
        house.turns(6);
        assert_eq!(house.call(&client, Op::Accept, base + 1, [u64::from(base) + 3, 9, 0, 0]), 0);
        assert_eq!(house.name(&client, base + 2, false).ip().to_string(), "127.0.0.1");
        client.write(base + 2, b"to myself");
        house.turns(4);
        assert_eq!(client.read(base + 3, 100), b"to myself");
    }
}

#[test]
fn ipv6_loopback_and_unspecified_destinations_lead_home() {
    let mut house = house(Claim::All);
    let client = house.attach(0);
    house.open(&client, 1, libc::AF_INET6, libc::SOCK_STREAM, 0);
    assert_eq!(house.at(&client, Op::Bind, 1, "[::]:8080"), 0);
    assert_eq!(house.call(&client, Op::Listen, 1, [5, 0, 0, 0]), 0);
    for (slot, to, peer) in [(2, "[::1]:8080", "[::1]:8080"), (3, "[::]:8080", "[::1]:8080")] {
        house.open(&client, slot, libc::AF_INET6, libc::SOCK_STREAM, 0);
        assert_eq!(house.at(&client, Op::Connect, slot, to), -i64::from(libc::EINPROGRESS));
        house.turns(6);
        assert!(client.flags(slot).contains(Flags::CONNECTED), "{to}");
        assert_eq!(house.name(&client, slot, true).to_string(), peer);
    }
    house.tcp(&client, 4);
    assert_eq!(house.at(&client, Op::Connect, 4, "0.0.0.0:8080"), -i64::from(libc::EINPROGRESS));
    house.turns(6);
    assert!(client.flags(4).contains(Flags::CONNECTED), "the dual listener takes IPv4");
    assert_eq!(house.name(&client, 4, true).to_string(), "127.0.0.1:8080");
}

#[test]
fn datagrams_and_their_errors_come_back() {
    let mut house = house(Claim::All);
    let client = house.attach(0);
    house.open(&client, 1, libc::AF_INET, libc::SOCK_DGRAM, 0);
    assert_eq!(house.at(&client, Op::Connect, 1, "127.0.0.1:5000"), 0);
    let record = ToSend { len: 4, to: Address::NONE, ..ToSend::default() };
    client.write(1, &[record.as_bytes(), b"ping"].concat());
    house.turns(4);
    assert_eq!(client.error(1), libc::ECONNREFUSED);
    house.open(&client, 2, libc::AF_INET, libc::SOCK_DGRAM, 0);
    assert_eq!(house.at(&client, Op::Bind, 2, "127.0.0.1:5000"), 0);
    client.write(1, &[record.as_bytes(), b"ping"].concat());
    house.turns(4);
    assert!(client.arena.cell(2).readable() > 4);
}

#[test]
fn loopback_is_the_kernels_unless_all_is_claimed() {
    let mut house = house(Claim::Owned);
    let client = house.attach(0);
    house.tcp(&client, 1);
    assert_eq!(house.at(&client, Op::Bind, 1, "127.0.0.1:8080"), -i64::from(libc::EADDRNOTAVAIL));
    assert_ne!(house.at(&client, Op::Connect, 1, "127.0.0.1:8080"), -i64::from(libc::EINPROGRESS));
}
