//! TCP_FASTOPEN_CONNECT, and listeners that open fast though nobody asked (`fast_open = "all"`).

use crate::client::{Client, House, house, house_that_listens};
use flumen::session::policy::Claim;
use flumen_ipc::{Flags, Op};
use flumen_stack::tcp::listen::ListenSettings;

const AT: &str = "10.0.1.1:8080";
const FAST_OPEN: (i32, i32) = (libc::SOL_TCP, libc::TCP_FASTOPEN);
const FAST_OPEN_CONNECT: (i32, i32) = (libc::SOL_TCP, libc::TCP_FASTOPEN_CONNECT);

fn no(errno: i32) -> i64 {
    -i64::from(errno)
}

fn listens(house: &mut House, server: &Client) {
    house.tcp(server, 1);
    assert_eq!(house.at(server, Op::Bind, 1, AT), 0);
    assert_eq!(house.call(server, Op::Listen, 1, [16, 0, 0, 0]), 0);
}

/// Opens the first connection, which asks for a cookie, and closes it.
fn ask_for_a_cookie(house: &mut House, server: &Client, client: &Client) {
    house.tcp(client, 1);
    assert_eq!(house.set(client, 1, FAST_OPEN_CONNECT, 1), 0);
    assert_eq!(house.at(client, Op::Connect, 1, AT), no(libc::EINPROGRESS), "no cookie is known");
    house.turns(8);
    assert!(client.flags(1).contains(Flags::CONNECTED));
    assert_eq!(house.set(client, 1, FAST_OPEN_CONNECT, 1), no(libc::EINVAL), "it is too late");
    assert_eq!(house.call(server, Op::Accept, 1, [2, 77, 0, 0]), 0);
    house.close(client, 1);
    house.close(server, 2);
    house.turns(4);
}

fn defers(house: &mut House, client: &Client) {
    house.tcp(client, 1);
    assert_eq!(house.set(client, 1, FAST_OPEN_CONNECT, 1), 0);
    assert_eq!(house.at(client, Op::Connect, 1, AT), 0, "done at once");
    assert!(client.flags(1).contains(Flags::DEFERRED | Flags::CONNECTING), "{:?}", client.flags(1));
    assert!(house.name(client, 1, false).port() > 0, "it has a name");
    assert_eq!(house.at(client, Op::Connect, 1, AT), no(libc::EISCONN));
}

#[test]
fn the_first_write_goes_with_the_syn_when_the_cookie_is_known() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    listens(&mut house, &server);
    assert_eq!(house.set(&server, 1, FAST_OPEN, 5), 0);
    ask_for_a_cookie(&mut house, &server, &client);
    defers(&mut house, &client);
    house.turns(8);
    assert!(!server.flags(1).contains(Flags::ACCEPTABLE), "nothing left");
    assert_eq!(client.write(1, b"question"), 8);
    house.turns(8);
    assert!(!client.flags(1).intersects(Flags::DEFERRED));
    assert_eq!(house.call(&server, Op::Accept, 1, [2, 77, 0, 0]), 0);
    assert_eq!(server.read(2, 100), b"question");
    house.turns(4);
    assert!(client.flags(1).contains(Flags::CONNECTED));
    assert_eq!(house.rig.worker.stack.tcp.stats.fast_open_active, 1, "it went with the SYN");
}

#[test]
fn a_connection_that_waits_for_its_first_write_opens_without_one_and_is_closed_without_a_packet() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    listens(&mut house, &server);
    assert_eq!(house.set(&server, 1, FAST_OPEN, 5), 0);
    ask_for_a_cookie(&mut house, &server, &client);
    defers(&mut house, &client);
    let sent = house.rig.worker.stack.tcp.stats.out_segs;
    house.close(&client, 1);
    house.turns(8);
    assert_eq!(house.rig.worker.stack.tcp.stats.out_segs, sent);
    defers(&mut house, &client);
    assert_eq!(house.call(&client, Op::Send, 1, [0; 4]), 0, "a write of nothing");
    house.turns(8);
    assert!(client.flags(1).contains(Flags::CONNECTED) && server.flags(1).contains(Flags::ACCEPTABLE));
}

#[test]
fn listeners_open_fast_though_nobody_asked_where_all_do() {
    let mut house =
        house_that_listens(Claim::Owned, ListenSettings { fast_open: 8, ..ListenSettings::default() });
    let (server, client) = (house.attach(0), house.attach(0));
    listens(&mut house, &server);
    let args = [libc::SOL_TCP as u64, libc::TCP_FASTOPEN as u64, 4, 0];
    let (result, queue) = house.call_with(&server, Op::GetOption, 1, args, &[]);
    assert_eq!((result, &queue[..]), (0, &8i32.to_ne_bytes()[..]));
    ask_for_a_cookie(&mut house, &server, &client);
    defers(&mut house, &client);
    client.write(1, b"question");
    house.turns(8);
    assert_eq!(house.call(&server, Op::Accept, 1, [2, 77, 0, 0]), 0);
    assert_eq!(server.read(2, 100), b"question");
}
