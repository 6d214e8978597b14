//! What calls of TCP sockets answer, as Linux would.

use crate::client::house;
use flumen::session::policy::Claim;
use flumen_ipc::{Flags, Op};

const AT: &str = "10.0.1.1:8080";

fn no(errno: i32) -> i64 {
    -i64::from(errno)
}

#[test]
fn a_connection_that_nobody_wants_is_refused_and_can_be_tried_again() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.tcp(&client, 1);
    assert!(client.flags(1).contains(Flags::HANG_UP));
    assert_eq!(house.at(&client, Op::Connect, 1, AT), no(libc::EINPROGRESS));
    house.turns(4);
    assert!(client.flags(1).contains(Flags::ERROR | Flags::HANG_UP), "{:?}", client.flags(1));
    assert!(client.news().contains(&1));
    assert_eq!((client.error(1), client.error(1)), (libc::ECONNREFUSED, 0));
    house.tcp(&server, 1);
    assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
    assert_eq!(house.call(&server, Op::Listen, 1, [1, 0, 0, 0]), 0);
    assert_eq!(house.at(&client, Op::Connect, 1, AT), no(libc::EINPROGRESS));
    house.turns(4);
    assert!(
        client.flags(1).contains(Flags::CONNECTED)
            && !client.flags(1).intersects(Flags::ERROR | Flags::HANG_UP)
    );
    assert_eq!(house.at(&client, Op::Connect, 1, AT), no(libc::EISCONN));
}

#[test]
fn names_are_ours_free_and_allowed() {
    let mut house = house(Claim::Owned);
    let (root, web, user) = (house.attach(0), house.attach(33), house.attach(1000));
    for (client, may) in [(&root, true), (&web, true), (&user, false)] {
        house.tcp(client, 1);
        assert_eq!(house.at(client, Op::Bind, 1, "10.0.1.1:80"), if may { 0 } else { no(libc::EACCES) });
        house.close(client, 1);
    }
    house.tcp(&user, 1);
    house.tcp(&user, 2);
    assert_eq!(house.at(&user, Op::Bind, 1, "10.0.1.99:8080"), no(libc::EADDRNOTAVAIL));
    assert_eq!(house.at(&user, Op::Bind, 1, "[fd00:1::1]:8080"), no(libc::EAFNOSUPPORT));
    assert_eq!(house.at(&user, Op::Bind, 1, AT), 0);
    assert_eq!(house.at(&user, Op::Bind, 1, "10.0.1.1:8081"), no(libc::EINVAL), "it has a name");
    assert_eq!(house.at(&user, Op::Bind, 2, AT), no(libc::EADDRINUSE));
    assert_eq!(house.at(&user, Op::Bind, 2, "10.0.1.1:0"), 0);
    let chosen = house.name(&user, 2, false);
    assert!(chosen.port() >= 32768 && chosen.ip().to_string() == "10.0.1.1", "{chosen}");
    // Closed, the name is free again.
    house.close(&user, 1);
    house.tcp(&web, 1);
    assert_eq!(house.at(&web, Op::Bind, 1, AT), 0);
}

#[test]
fn a_port_that_connect_chose_is_bound_by_nobody_else_until_its_time_wait_is_over() {
    const REUSE: (i32, i32) = (libc::SOL_SOCKET, libc::SO_REUSEADDR);
    for shares in [false, true] {
        let mut house = house(Claim::Owned);
        let (server, client) = (house.attach(0), house.attach(0));
        house.tcp(&server, 1);
        assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
        assert_eq!(house.call(&server, Op::Listen, 1, [16, 0, 0, 0]), 0);
        house.tcp(&client, 1);
        assert_eq!(house.set(&client, 1, REUSE, shares.into()), 0);
        assert_eq!(house.at(&client, Op::Connect, 1, AT), no(libc::EINPROGRESS));
        house.turns(8);
        assert_eq!(house.call(&server, Op::Accept, 1, [2, 77, 0, 0]), 0);
        let chosen = house.name(&client, 1, false).to_string();
        for time_wait in [false, true] {
            if time_wait {
                // Who closes first waits.
                house.close(&client, 1);
                house.turns(4);
                house.close(&server, 2);
                house.turns(4);
                assert_eq!(house.rig.worker.stack.tcp.time_waits(), 1);
            }
            for reuse in [false, true] {
                house.tcp(&client, 3);
                assert_eq!(house.set(&client, 3, REUSE, reuse.into()), 0);
                let expected = if reuse && shares { 0 } else { no(libc::EADDRINUSE) };
                assert_eq!(house.at(&client, Op::Bind, 3, &chosen), expected, "{time_wait} {reuse} {shares}");
                house.close(&client, 3);
            }
        }
    }
}

#[test]
fn slots_are_the_programs_own_and_taken_once() {
    let mut house = house(Claim::Owned);
    let (one, other) = (house.attach(0), house.attach(0));
    house.tcp(&one, 1);
    let args = [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0];
    assert_eq!(house.call(&one, Op::Open, 1, args), no(libc::EBUSY));
    assert_eq!(house.call(&one, Op::Open, 64, args), no(libc::EBUSY), "no such slot");
    assert_eq!(house.call(&one, Op::Open, u32::MAX, args), no(libc::EBUSY));
    assert_eq!(house.call(&one, Op::Open, 2, [1, 1, 0, 0]), no(libc::EAFNOSUPPORT));
    assert_eq!(house.call(&one, Op::Open, 2, [2, 5, 0, 0]), no(libc::ESOCKTNOSUPPORT));
    assert_eq!(house.call(&one, Op::Open, 2, [2, 1, 132, 0]), no(libc::EPROTONOSUPPORT));
    for op in [Op::Bind, Op::Listen, Op::Name, Op::Accept, Op::Hold, Op::ErrorQueue, Op::Send] {
        assert_eq!(house.call(&other, op, 1, [0; 4]), no(libc::EBADF), "{op:?}");
    }
    assert_eq!(house.call(&one, Op::Accept, 1, [2, 0, 0, 0]), no(libc::EINVAL), "it does not listen");
    assert_eq!(house.call(&one, Op::Listen, 1, [1, 0, 0, 0]), 0);
    assert_eq!(house.call(&one, Op::Accept, 1, [2, 0, 0, 0]), no(libc::EAGAIN));
    assert_eq!(house.call(&one, Op::Accept, 1, [1, 0, 0, 0]), no(libc::EBUSY));
    assert_eq!(house.call(&one, Op::Shutdown, 1, [7, 0, 0, 0]), no(libc::EINVAL));
}

#[test]
fn what_was_let_go_of_is_closed_before_what_is_asked_later() {
    let mut house = house(Claim::Owned);
    let (one, other) = (house.attach(0), house.attach(0));
    // Whoever of the two the worker looks at first.
    for (closes, binds) in [(&one, &other), (&other, &one), (&one, &one)] {
        house.tcp(closes, 1);
        house.tcp(binds, 2);
        assert_eq!(house.at(closes, Op::Bind, 1, AT), 0);
        closes.let_go(1);
        assert_eq!(house.at(binds, Op::Bind, 2, AT), 0, "the name is free");
        house.close(binds, 2);
    }
    house.tcp(&one, 1);
    one.let_go(1);
    house.tcp(&one, 1);
    assert_eq!(house.sessions().sockets(), 1);
}

#[test]
fn a_listener_that_is_shut_down_listens_no_more_and_keeps_its_name() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.tcp(&server, 1);
    assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
    assert_eq!(house.call(&server, Op::Listen, 1, [5, 0, 0, 0]), 0);
    house.tcp(&client, 1);
    assert_eq!(house.at(&client, Op::Connect, 1, AT), no(libc::EINPROGRESS));
    house.turns(4);
    assert_eq!(house.call(&server, Op::Shutdown, 1, [libc::SHUT_RD as u64, 0, 0, 0]), 0);
    assert!(server.flags(1).contains(Flags::HANG_UP) && !server.flags(1).contains(Flags::LISTENING));
    assert_eq!(house.call(&server, Op::Accept, 1, [3, 0, 0, 0]), no(libc::EINVAL));
    assert_eq!(house.name(&server, 1, false).to_string(), AT);
    house.turns(4);
    assert_eq!(client.error(1), libc::ECONNRESET, "it waited to be accepted");
    assert_eq!(house.call(&server, Op::Listen, 1, [5, 0, 0, 0]), 0);
    assert!(server.flags(1).contains(Flags::LISTENING));
}

#[test]
fn unread_data_reset_the_peer_on_close() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    client.write(1, b"nobody reads this");
    house.turns(4);
    house.close(&server, 2);
    house.turns(4);
    assert!(client.flags(1).contains(Flags::ERROR | Flags::HANG_UP), "{:?}", client.flags(1));
    assert_eq!(client.error(1), libc::ECONNRESET);
    assert_eq!(house.call(&client, Op::Send, 1, [0; 4]), no(libc::EPIPE));
    assert_eq!(house.call_with(&client, Op::Name, 1, [1, 0, 0, 0], &[]).0, no(libc::ENOTCONN));
}

#[test]
fn what_was_written_before_a_reset_on_close_goes_before_it() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    // struct linger: on, no time.
    let linger = [1i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat();
    let option = [libc::SOL_SOCKET as u64, libc::SO_LINGER as u64, 0, 0];
    assert_eq!(house.call_with(&client, Op::SetOption, 1, option, &linger).0, 0);
    client.write(1, b"last words");
    client.let_go(1);
    house.turns(6);
    assert_eq!(server.read(2, 100), b"last words");
    assert_eq!(server.error(2), libc::ECONNRESET);
    assert_eq!(house.sessions().sockets(), 2, "the listener and what it accepted");
}

#[test]
fn what_was_read_is_no_reason_for_a_reset() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    client.write(1, b"somebody reads this");
    house.turns(4);
    // Read, and closed before the worker heard of the reading.
    assert_eq!(server.read(2, 100).len(), 19);
    house.close(&server, 2);
    house.turns(4);
    assert!(client.flags(1).contains(Flags::READ_END));
    assert!(!client.flags(1).intersects(Flags::ERROR | Flags::HANG_UP), "{:?}", client.flags(1));
}

#[test]
fn both_directions_shut_hang_up() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    client.write(1, b"last words");
    assert_eq!(house.call(&client, Op::Shutdown, 1, [libc::SHUT_WR as u64, 0, 0, 0]), 0);
    assert!(client.flags(1).contains(Flags::WRITE_END) && !client.flags(1).contains(Flags::HANG_UP));
    assert_eq!(house.call(&client, Op::Send, 1, [0; 4]), no(libc::EPIPE));
    house.turns(4);
    assert!(server.flags(2).contains(Flags::READ_END) && !server.flags(2).contains(Flags::WRITE_END));
    assert_eq!(server.read(2, 100), b"last words");
    assert_eq!(house.call(&server, Op::Shutdown, 2, [libc::SHUT_WR as u64, 0, 0, 0]), 0);
    house.turns(4);
    for flags in [server.flags(2), client.flags(1)] {
        assert!(flags.contains(Flags::READ_END | Flags::WRITE_END | Flags::HANG_UP), "{flags:?}");
        assert!(!flags.contains(Flags::ERROR));
    }
}

#[test]
fn an_urgent_byte_comes_out_of_band_and_marks_its_place() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    assert_eq!(house.call(&server, Op::ReceiveUrgent, 2, [0; 4]), no(libc::EINVAL), "there is none");
    client.write(1, b"abc");
    assert_eq!(house.call(&client, Op::SendUrgent, 1, [b'!'.into(), 0, 0, 0]), 1);
    client.write(1, b"def");
    house.turns(6);
    let flags = server.flags(2);
    assert!(flags.contains(Flags::PRIORITY | Flags::URGENT), "{flags:?}");
    assert_eq!(server.read(2, 100), b"abc", "reading stops at the mark");
    house.turns(2);
    let mark = server.arena.cell(2).worker.urgent.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(mark, 3);
    assert_eq!(house.call(&server, Op::ReceiveUrgent, 2, [1, 0, 0, 0]), i64::from(b'!'), "a look");
    assert_eq!(house.call(&server, Op::ReceiveUrgent, 2, [0; 4]), i64::from(b'!'));
    assert_eq!(house.call(&server, Op::ReceiveUrgent, 2, [0; 4]), no(libc::EINVAL), "it was taken");
    assert!(!server.flags(2).contains(Flags::PRIORITY));
    assert_eq!(server.read(2, 100), b"def");
}

#[test]
fn a_reader_that_sleeps_stops_the_writer_and_lets_him_go_on() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    let mut written = 0;
    for _ in 0..2000 {
        written += client.write(1, &[7; 50_000]);
        house.turns(1);
    }
    // The send buffer and the receive buffer at their largest, and both rings.
    assert!(written < 16 << 20, "{written}");
    assert_eq!(client.write(1, b"x"), 0);
    assert!(!client.flags(1).contains(Flags::WRITABLE));
    client.want_room(1);
    client.news();
    let mut read = 0;
    for _ in 0..100_000 {
        read += server.read(2, 1 << 20).len();
        house.turns(1);
        if client.flags(1).contains(Flags::WRITABLE) {
            break;
        }
    }
    assert!(client.news().contains(&1) && read > 0);
    assert!(client.write(1, &[8; 1000]) == 1000);
}

#[test]
fn a_bell_rings_for_who_sleeps_and_for_nobody_else() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, AT);
    server.rang();
    client.write(1, b"one");
    house.turns(4);
    assert!(!server.rang());
    server.sleep(true);
    client.write(1, b"two");
    house.turns(4);
    assert!(server.rang() && !server.rang());
    assert_eq!(server.news(), [1, 2]);
}

#[test]
fn addresses_on_ipv6_sockets_are_mapped_and_links_have_numbers() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.open(&server, 1, libc::AF_INET6, libc::SOCK_STREAM, 0);
    assert_eq!(house.at(&server, Op::Bind, 1, "[::]:8080"), 0);
    assert_eq!(house.call(&server, Op::Listen, 1, [5, 0, 0, 0]), 0);
    house.tcp(&client, 1);
    assert_eq!(house.at(&client, Op::Connect, 1, AT), no(libc::EINPROGRESS));
    house.turns(4);
    assert_eq!(house.call(&server, Op::Accept, 1, [2, 0, 0, 0]), 0);
    assert_eq!(house.name(&server, 2, false).to_string(), "[::ffff:10.0.1.1]:8080");
    assert_eq!(house.name(&client, 1, true).to_string(), AT);
    // Link-local: the link is named by number, and told.
    house.open(&client, 3, libc::AF_INET6, libc::SOCK_STREAM, 0);
    assert_eq!(house.at(&client, Op::Bind, 3, "[fe80::2%101]:9"), 0);
    assert_eq!(house.name(&client, 3, false).to_string(), "[fe80::2%101]:9");
    house.open(&client, 4, libc::AF_INET6, libc::SOCK_STREAM, 0);
    assert_eq!(
        house.at(&client, Op::Bind, 4, "[fe80::2%100]:9"),
        no(libc::EADDRNOTAVAIL),
        "on the other link"
    );
    assert_eq!(house.at(&client, Op::Bind, 4, "[fe80::2%7]:9"), no(libc::ENODEV));
}
