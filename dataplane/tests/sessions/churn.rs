//! Sockets that come and go for a day leave nothing behind: no socket, no port, no block of memory, no mark.

use crate::client::{Client, House, house};
use core::time::Duration;
use flumen::session::policy::Claim;
use flumen_ipc::Op;

const AT: &str = "10.0.1.1:8080";

/// Connections in the day, and the time between two of them.
const ROUNDS: u32 = 1_200;
const BETWEEN: Duration = Duration::from_secs(24 * 3600 / ROUNDS as u64);

/// What the worker holds: sockets of programs, connections, TIME-WAIT records, blocks, programs.
fn held(house: &House) -> [usize; 5] {
    let stack = &house.rig.worker.stack;
    let sessions = house.sessions();
    [
        sessions.sockets(),
        stack.tcp.connections(),
        stack.tcp.time_waits(),
        stack.blocks.in_use(),
        sessions.programs(),
    ]
}

/// The clock goes on by `time`.
fn later(house: &mut House, time: Duration) {
    house.rig.worker.clock.0 -= time;
    house.turns(8);
}

/// A connection from the client's slot 5 to the server's.
fn connect(house: &mut House, server: &Client, client: &Client) {
    house.tcp(client, 5);
    assert_eq!(house.at(client, Op::Connect, 5, AT), -i64::from(libc::EINPROGRESS));
    house.turns(6);
    assert_eq!(house.call(server, Op::Accept, 1, [5, 0, 0, 0]), 0);
}

#[test]
fn connections_of_a_day_leave_nothing_behind() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.tcp(&server, 1);
    assert_eq!(house.at(&server, Op::Bind, 1, AT), 0);
    assert_eq!(house.call(&server, Op::Listen, 1, [16, 0, 0, 0]), 0);
    later(&mut house, BETWEEN);
    let before = held(&house);
    for round in 0..ROUNDS {
        connect(&mut house, &server, &client);
        client.write(5, b"to the server");
        server.write(5, b"to the client");
        house.turns(4);
        // Everything that can become of a connection: read or not, closed by either side first, by both at once, half at a
        // time.
        match round % 5 {
            0 => {
                assert_eq!(server.read(5, 100).len() + client.read(5, 100).len(), 26);
                house.close(&client, 5);
                house.turns(4);
                house.close(&server, 5);
            }
            1 => {
                assert_eq!(server.read(5, 100).len() + client.read(5, 100).len(), 26);
                house.close(&server, 5);
                house.turns(4);
                house.close(&client, 5);
            }
            2 => {
                client.let_go(5);
                server.let_go(5);
            }
            3 => {
                house.close(&server, 5);
                house.close(&client, 5);
            }
            _ => {
                let shut = [libc::SHUT_WR as u64, 0, 0, 0];
                assert_eq!(house.call(&client, Op::Shutdown, 5, shut), 0);
                assert_eq!(server.read(5, 100), b"to the server");
                house.close(&server, 5);
                house.turns(4);
                assert_eq!(client.read(5, 100), b"to the client");
                house.close(&client, 5);
            }
        }
        later(&mut house, BETWEEN);
    }
    // The last TIME-WAIT takes a minute.
    later(&mut house, Duration::from_secs(120));
    assert_eq!(held(&house), before);
    for program in [&server, &client] {
        assert!(program.arena.kicks(0).is_empty() && program.arena.call_marks(0).is_empty());
        assert!(program.arena.closes(0).is_empty());
    }
}
