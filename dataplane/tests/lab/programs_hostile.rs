//! A hostile program beside others: it is attached as any may be, and writes anything anywhere into the memory that it shares with
//! the service, makes its bells block, and knocks at the door with noise; as no user in particular.

use super::harness::{Lab, Program, Role, wait_until};
use super::scribbler::{Random, Scribbler, scribble};
use flumen_ipc::attach::{self, ATTACH, Hello, Welcome};
use flumen_ipc::Arena;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};
use std::os::fd::{AsFd, OwnedFd};
use zerocopy::FromBytes;

const BESIDE: &str = include_str!("programs/beside_hostile.py");

/// The first word of this binary's command line when it is to be the hostile program; the socket of the service follows.
pub const HOSTILE: &str = "be-hostile";

const NOBODY: u32 = 65_534;

/// What it says when it has begun.
const BEGUN: &str = "attached";

fn knock(socket: &str) -> OwnedFd {
    let one = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::connect(&one, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    one
}

/// Is the hostile program, until it is killed.
pub fn be(socket: &str) {
    // One whose threads fail is no hostile program any more.
    std::panic::set_hook(Box::new(|what| {
        println!("{what}");
        std::process::exit(1);
    }));
    nix::unistd::setgid(NOBODY.into()).unwrap();
    nix::unistd::setuid(NOBODY.into()).unwrap();
    let connection = knock(socket);
    attach::send(&connection, zerocopy::IntoBytes::as_bytes(&Hello::new(ATTACH)), &[]).unwrap();
    let mut message = [0; size_of::<Welcome>()];
    let (_, descriptors) = attach::receive(&connection, &mut message).unwrap();
    let welcome = Welcome::read_from_bytes(&message).unwrap();
    assert_eq!(welcome.status, 0);
    let (file, bells) = (&descriptors[0], &descriptors[2..]);
    let arena = Arena::open(file, welcome.geometry).unwrap();
    let size = welcome.geometry.bytes() as u64;
    println!("{BEGUN}");
    std::thread::scope(|scope| {
        let arena = &arena;
        scope.spawn(move || {
            let mut one = Scribbler { arena, random: Random(1) };
            loop {
                one.strike();
            }
        });
        scope.spawn(move || {
            let mut random = Random(2);
            loop {
                scribble(&mut random, file, size);
            }
        });
        scope.spawn(move || {
            let mut random = Random(3);
            for round in 0u64.. {
                for bell in bells {
                    // Blocks, and full: who writes would wait.
                    let nonblocking = rustix::fs::fcntl_setfl(bell, OFlags::NONBLOCK);
                    let _was_silent = rustix::io::read(bell, &mut [0u8; 8]);
                    let _full = rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes());
                    nonblocking.and_then(|()| rustix::fs::fcntl_setfl(bell, OFlags::empty())).unwrap();
                }
                // The memory goes, and comes back as zeros.
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let from = random.below(size / 4096) * 4096;
                rustix::fs::fallocate(file, hole, from, 4096 * (1 + random.below(64))).unwrap();
                if round.is_multiple_of(100) {
                    println!("goes on");
                    let one = knock(socket);
                    let noise: Vec<u8> = (0..random.below(100)).map(|_| random.next() as u8).collect();
                    let _turned_away = rustix::net::send(&one, &noise, SendFlags::NOSIGNAL);
                    let _turned_away = attach::send(&one, &[1; 40], &[file.as_fd(), one.as_fd()]);
                }
            }
        });
    });
}

fn start(lab: &Lab) -> Program {
    let binary = std::env::current_exe().unwrap();
    let line = format!("{} {HOSTILE} {}", binary.display(), lab.programs_socket().display());
    let hostile = lab.start_on_kernel(Role::Router, &line);
    wait_until("the hostile program is attached", 20, || hostile.log().contains(BEGUN));
    hostile
}

/// The word behind another one.
fn count(said: &str, name: &str) -> u64 {
    let mut words = said.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {name} in {said}"))
}

/// Programs talk with the peer for some seconds, over a family, and hear what they should.
fn talk(lab: &Lab, [here, there]: [&str; 2], seconds: u32, least: [(&str, u64); 3]) {
    let script = lab.file("beside_hostile.py", BESIDE);
    let _peer = lab.start_on_kernel(Role::Client, &format!("python3 {script} peer {here} {there}"));
    lab.wait_for_port(Role::Client, there, 7000);
    let said = lab.run_on_flumen(&format!("python3 {script} here {here} {there} {seconds}")).must();
    assert!(said.starts_with("failed [] "), "{said}");
    for (name, least) in least {
        assert!(count(&said, name) >= least, "{name}: {said}");
    }
    assert!(count(&said, "lost") <= 2, "{said}");
}

const FAMILIES: [[&str; 2]; 2] = [["10.0.1.1", "10.0.1.2"], ["fd00:1::1", "fd00:1::2"]];

/// Programs of others while hostile ones come and go, and after.
fn others_go_on(workers: usize) -> Lab {
    let lab = Lab::plan().workers(workers).programs("").up();
    let mut hostile = start(&lab);
    for family in FAMILIES {
        let before = hostile.log().len();
        talk(&lab, family, 2, [("accepted", 5), ("streamed", 500_000), ("datagrams", 20)]);
        let rest = hostile.log().split_off(before);
        assert!(rest.matches("goes on").count() > 10 && !rest.contains("panicked"), "{rest}");
        // Another one takes its place while the sockets of the first are closed.
        let next = start(&lab);
        hostile.kill();
        hostile = next;
    }
    hostile.kill();
    talk(&lab, FAMILIES[0], 1, [("accepted", 2), ("streamed", 100_000), ("datagrams", 5)]);
    lab
}

pub fn others_go_on_unharmed_beside_a_process_that_writes_anything_anywhere() {
    others_go_on(1);
}

pub fn others_go_on_unharmed_on_two_workers_and_nothing_is_left_of_a_process_that_wrote_anything_anywhere() {
    let mut lab = others_go_on(2);
    // What it wanted to be held is, for a while.
    wait_until("nothing of it is left", 30, || {
        ["programs", "sockets"].iter().all(|what| {
            let all = lab.flumen().json(what);
            all[what].as_array().expect("a list").is_empty()
        })
    });
}

const MANY_WAITERS: &str = include_str!("programs/many_waiters.py");

pub fn who_hangs_thousands_of_waiters_at_its_bell_is_woken_aside_and_hears_all_the_same() {
    let mut lab = Lab::plan().programs("").up();
    let script = lab.file("many_waiters.py", MANY_WAITERS);
    for (sets, is_aside) in [(0, false), (4000, true)] {
        let program = lab.start_on_flumen(&format!("python3 {script} 10.0.1.1 {sets}"));
        wait_until("all is heard", 60, || program.log().contains("heard all"));
        let programs = lab.flumen().json("programs");
        let all = programs["programs"].as_array().expect("a list");
        let program = all.iter().find(|one| one["pid"] == program.pid()).expect("the program");
        assert_eq!((&program["uid"], &program["woken_aside"]), (&NOBODY.into(), &is_aside.into()), "{sets}");
    }
}
