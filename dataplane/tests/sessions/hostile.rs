//! A program that writes anything anywhere into the memory that it shares, and asks for anything: its own sockets end, others go
//! on unharmed.

use crate::client::{GEOMETRY, house};
use crate::scribbler::Random;
use flumen::session::policy::Claim;
use flumen_ipc::limits::CALL_DATA;
use flumen_ipc::{Flags, Op};
use proptest::prelude::*;
use rustix::fs::OFlags;
use std::sync::atomic::Ordering::SeqCst;

const AT: &str = "10.0.1.1:8080";

#[test]
fn a_cursor_that_lies_ends_the_socket() {
    type Lie = fn(&flumen_ipc::Cell);
    let lies: [(&str, Lie); 4] = [
        ("read more than there was", |cell| cell.program.rx_head.store(1 << 40, SeqCst)),
        ("read backwards", |cell| cell.program.rx_head.store(u64::MAX, SeqCst)),
        ("wrote more than fits", |cell| cell.program.tx_tail.store(1 << 40, SeqCst)),
        ("wrote backwards", |cell| cell.program.tx_tail.store(u64::MAX - 5, SeqCst)),
    ];
    for (what, lie) in lies {
        let mut house = house(Claim::Owned);
        let (server, client) = (house.attach(0), house.attach(0));
        house.connected(&server, &client, AT);
        lie(client.arena.cell(1));
        client.kick(1);
        house.turns(6);
        assert!(client.flags(1).contains(Flags::GONE), "{what}: {:?}", client.flags(1));
        assert_eq!(server.error(2), libc::ECONNRESET, "{what}");
        assert_eq!(house.call(&client, Op::Name, 1, [0; 4]), -i64::from(libc::ECONNABORTED), "{what}");
        house.close(&client, 1);
        assert_eq!(house.call(&client, Op::Open, 1, [2, 1, 0, 0]), 0, "{what}");
    }
}

#[test]
fn a_record_that_is_none_ends_a_datagram_socket() {
    for bytes in [vec![0xff; 200], vec![1; 3], vec![0; 70]] {
        let mut house = house(Claim::Owned);
        let client = house.attach(0);
        house.open(&client, 1, libc::AF_INET, libc::SOCK_DGRAM, 0);
        client.write(1, &bytes);
        house.turns(4);
        assert!(client.flags(1).contains(Flags::GONE), "{bytes:?}");
    }
}

#[test]
fn a_bell_that_its_program_made_blocking_and_full_keeps_no_worker() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(1000), house.attach(0));
    house.connected(&server, &client, AT);
    rustix::io::write(&server.bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    rustix::fs::fcntl_setfl(&server.bell, OFlags::empty()).unwrap();
    for _ in 0..3 {
        server.news();
        // Each time another sleep, for which the bell is to be rung.
        server.sleep(true);
        client.write(1, b"news");
        house.turns(4);
        assert_eq!(server.news(), [2]);
        assert_eq!(server.read(2, 100), b"news");
        server.sleep(false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn others_go_on_unharmed_while_one_writes_anything_anywhere(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut house = house(Claim::Owned);
        let (server, client, hostile) = (house.attach(0), house.attach(0), house.attach(0));
        house.connected(&server, &client, AT);
        // The hostile one has sockets of each kind, some of them connected.
        for (slot, kind) in [(1, libc::SOCK_STREAM), (2, libc::SOCK_DGRAM), (3, libc::SOCK_RAW)] {
            house.open(&hostile, slot, libc::AF_INET, kind, if kind == libc::SOCK_RAW { 1 } else { 0 });
            house.at(&hostile, Op::Connect, slot, AT);
        }
        house.turns(4);
        let size = GEOMETRY.bytes() as u64;
        let (mut sent, mut received) = (0u64, 0u64);
        for _ in 0..300 {
            // Most of what matters stands in front of the rings.
            for _ in 0..random.below(20) {
                let within = if random.below(4) == 0 { size } else { 400_000 };
                let offset = random.below(within - 64);
                let bytes: Vec<u8> = match random.below(3) {
                    0 => vec![0xff; 1 + random.below(64) as usize],
                    1 => random.next().to_ne_bytes().to_vec(),
                    _ => (0..random.below(64)).map(|_| random.next() as u8).collect(),
                };
                house.scribble(&hostile, offset, &bytes);
            }
            // Calls of any kind with any arguments, too.
            let call = hostile.arena.call(random.below(64) as u32);
            let op = Op::from_number(1 + random.below(Op::Stamp as u64) as u32).unwrap_or(Op::Hold);
            let args = [(); 4].map(|()| if random.below(2) == 0 { random.below(8) } else { random.next() });
            let data: Vec<u8> = (0..random.below(CALL_DATA as u64)).map(|_| random.next() as u8).collect();
            call.submit(op, random.below(6) as u32, args, &data);
            hostile.arena.call_marks(0).mark(random.below(64) as u32);
            hostile.kick(random.below(8) as u32);
            hostile.let_go(random.below(64) as u32);
            // The others talk on, byte by byte as it should be.
            let text: Vec<u8> = (0..random.below(500)).map(|step| (sent + step) as u8).collect();
            sent += client.write(1, &text) as u64;
            house.turns(2);
            for byte in server.read(2, 10_000) {
                prop_assert_eq!(byte, received as u8);
                received += 1;
            }
        }
        house.turns(8);
        received += server.read(2, 1 << 20).len() as u64;
        prop_assert_eq!(sent, received);
        // It goes, and leaves nothing behind.
        house.kill(&hostile);
        // Nobody adopts what it wanted to be held.
        house.rig.worker.clock.0 -= core::time::Duration::from_secs(20);
        house.turns(20);
        prop_assert_eq!(house.sessions().sockets(), 3);
        prop_assert_eq!(house.sessions().programs(), 2);
    }
}
