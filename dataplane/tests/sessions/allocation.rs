//! After a process is attached, the worker allocates nothing for its sockets: not for connections that come and go, and not for
//! what is sent.

use crate::client::{House, house};
use flumen::session::policy::Claim;
use flumen_ipc::Op;

#[test]
fn connections_and_their_bytes_allocate_nothing() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, "10.0.1.1:8080");
    let round = |house: &mut House| {
        house.tcp(&client, 5);
        assert_eq!(house.at(&client, Op::Connect, 5, "10.0.1.1:8080"), -i64::from(libc::EINPROGRESS));
        house.turns(4);
        assert_eq!(house.call(&server, Op::Accept, 1, [5, 0, 0, 0]), 0);
        assert!(client.write(5, &[7; 50_000]) > 10_000);
        house.turns(6);
        assert!(server.arena.cell(5).readable() > 0);
        assert_eq!(house.call(&client, Op::Close, 5, [0; 4]), 0);
        assert_eq!(house.call(&server, Op::Close, 5, [0; 4]), 0);
        house.turns(6);
    };
    round(&mut house);
    let before = house.allocations;
    (0..20).for_each(|_| round(&mut house));
    assert_eq!(house.allocations, before);
}
