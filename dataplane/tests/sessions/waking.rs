//! Programs that keep whoever wakes them: the worker finds that out, and has them woken aside.

use crate::client::{Client, House, house};
use core::time::Duration;
use flumen::session::limits::LONG_WAKES;
use flumen::session::order::Done;
use flumen::session::policy::Claim;
use flumen::session::wakers::Wakers;
use flumen_ipc::wake::futex_wait;
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

const AT: &str = "10.0.1.1:8080";

/// Epoll sets at one bell: to walk over them takes some times as long as a wake may.
const WAITERS: usize = 6000;

/// Turns within which a program is found out, whatever else the machine does meanwhile.
const SOON: u32 = 100 * LONG_WAKES;

fn hang_many_at(bell: impl AsFd) -> Vec<OwnedFd> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let set = || {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        epoll::add(&set, &bell, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
        set
    };
    (0..WAITERS).map(|_| set()).collect()
}

/// News for a program that sleeps: another sleep each time. True when the worker says that it is woken aside from now on.
fn news(house: &mut House, client: &Client, to: &Client) -> bool {
    to.news();
    to.sleep(true);
    client.write(1, b"news");
    house.turns(4);
    assert_eq!((to.news(), to.read(2, 100)), (vec![2], b"news".to_vec()));
    house.turns(2);
    to.sleep(false);
    match house.control.done.pop() {
        Ok(Done::Aside(place)) => {
            assert_eq!(place, to.place);
            true
        }
        other => {
            assert!(other.is_err(), "{other:?}");
            false
        }
    }
}

fn rings_in_the_end(client: &Client) -> bool {
    let mut fds = [PollFd::new(&client.bell, PollFlags::IN)];
    let time = Timespec { tv_sec: 60, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&time)).unwrap() == 1 && client.rang()
}

fn woken_aside(house: &House) -> Vec<bool> {
    house.sessions().reports().map(|program| program.woken_aside).collect()
}

#[test]
fn no_worker_rings_a_bell_with_thousands_of_waiters_for_long_and_its_program_hears_all_the_same() {
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(1000), house.attach(1001));
    house.connected(&server, &client, AT);
    while house.control.done.pop().is_ok() {}
    for _ in 0..u64::BITS {
        assert!(!news(&mut house, &client, &server), "nobody is put aside who takes no longer than others");
        assert!(server.rang());
    }
    let waiters = hang_many_at(&server.bell);
    let found_out = (0..SOON).any(|_| {
        let is_aside = news(&mut house, &client, &server);
        assert!(server.rang(), "until then it is rung");
        is_aside
    });
    assert!(found_out && server.waking.is_aside());
    assert_eq!(woken_aside(&house), [true, false]);
    // From now on by nobody who is not asked.
    house.allocations = 0;
    for _ in 0..20 {
        assert!(!news(&mut house, &client, &server), "said once");
        assert!(!server.rang(), "no worker rings it");
    }
    // What was to be rung before there was a thread is rung once there is.
    let mut wakers = Wakers::default();
    wakers.take(&server.waking);
    assert!(rings_in_the_end(&server));
    for _ in 0..20 {
        assert!(!news(&mut house, &client, &server));
        assert!(rings_in_the_end(&server));
    }
    assert_eq!(house.allocations, 0);
    // What waits no more costs no more, but who was found out once is not believed.
    drop(waiters);
    assert!(!news(&mut house, &client, &server));
    assert!(rings_in_the_end(&server));
    assert!(server.waking.is_aside() && !client.waking.is_aside());
}

#[test]
fn no_worker_wakes_hundreds_who_sleep_on_one_socket_for_long_and_they_wake_all_the_same() {
    const SLEEPERS: usize = 300;
    let mut house = house(Claim::Owned);
    let (server, client) = (house.attach(1000), house.attach(1001));
    house.connected(&server, &client, AT);
    while house.control.done.pop().is_ok() {}
    let map = house.map(server.place);
    let cell = map.cell(2);
    cell.program.readers.store(1, SeqCst);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sleeper = || {
            while !is_over.load(SeqCst) {
                futex_wait(&cell.worker.seq, cell.worker.seq.load(SeqCst), Duration::from_millis(500));
            }
        };
        for _ in 0..SLEEPERS {
            std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, sleeper).unwrap();
        }
        let found_out = (0..SOON).any(|_| {
            // They lie down again.
            std::thread::sleep(Duration::from_millis(2));
            news(&mut house, &client, &server)
        });
        is_over.store(true, SeqCst);
        assert!(found_out);
    });
    assert_eq!(woken_aside(&house), [true, false]);
    let mut wakers = Wakers::default();
    wakers.take(&server.waking);
    std::thread::scope(|scope| {
        let asleep = cell.worker.seq.load(SeqCst);
        let sleeper = scope.spawn(move || futex_wait(&cell.worker.seq, asleep, Duration::from_secs(60)));
        // It lies down. (If it has not yet, it sees another word when it does.)
        std::thread::sleep(Duration::from_millis(20));
        while !sleeper.is_finished() {
            assert!(!news(&mut house, &client, &server));
            std::thread::yield_now();
        }
        assert_eq!(sleeper.join().unwrap(), flumen_ipc::wake::Slept::Woken);
    });
}
