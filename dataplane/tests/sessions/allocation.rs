//! After a process is attached, the worker allocates nothing for its sockets: not for connections that come and go, and not for
//! what is sent.

use crate::client::house;
use flumen::session::policy::Claim;
use flumen_ipc::Op;
use flumen_ipc::message::{Address, ToSend};
use zerocopy::IntoBytes;

#[test]
fn connections_and_their_bytes_allocate_nothing() {
    let at = "10.0.1.1:8080";
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(0), house.attach(0));
    house.connected(&server, &client, at);
    for round in 0..20 {
        let mut steps = [0; 7];
        let mut step = 0;
        let mut done = |house: &crate::client::House| {
            steps[step] = house.allocations;
            step += 1;
        };
        done(&house);
        house.tcp(&client, 5);
        done(&house);
        assert_eq!(house.at(&client, Op::Connect, 5, at), -i64::from(libc::EINPROGRESS));
        house.turns(4);
        done(&house);
        assert_eq!(house.call(&server, Op::Accept, 1, [5, 0, 0, 0]), 0);
        done(&house);
        assert!(client.write(5, &[7; 50_000]) > 10_000);
        house.turns(6);
        assert!(!server.read(5, 100_000).is_empty());
        house.turns(2);
        done(&house);
        house.close(&client, 5);
        house.close(&server, 5);
        house.turns(6);
        done(&house);
        house.open(&client, 6, libc::AF_INET, libc::SOCK_DGRAM, 0);
        let record = ToSend {
            len: 100,
            to: Address::from("10.0.1.1:9".parse::<std::net::SocketAddr>().unwrap()),
            ..ToSend::default()
        };
        client.write(6, &[record.as_bytes(), &[1; 100]].concat());
        house.turns(4);
        house.close(&client, 6);
        done(&house);
        // What is made once was made in the first rounds. A connection to a destination whose path is remembered notes that
        // on the side, when it is opened: one allocation of the call, and none of what follows.
        if round >= 2 {
            let [_, open, connect, rest @ ..] = steps.map(|count| count - steps[0]);
            assert!(open == 0 && connect <= 1, "{steps:?}");
            assert_eq!(rest, [connect; 4], "accept, send, close, datagrams");
        }
    }
}
