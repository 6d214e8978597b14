//! Sockets of programs that come and go by the thousand: nothing of them stays, neither with the service nor in the program.

use super::harness::Lab;
use super::programs_calls::compiled;
use super::programs_crowd::Before;

const HANDLERS: &str = include_str!("programs/handlers.c");
const CHURN: &str = include_str!("programs/churn.c");

/// How many rounds there are: in `scripts/check` enough that what stays from one of them would show.
fn rounds() -> u32 {
    std::env::var("FLUMEN_LAB_ROUNDS").map_or(300, |text| text.parse().expect("FLUMEN_LAB_ROUNDS is a number"))
}

/// Connections, datagrams, sets, children, executed programs, descriptors in messages, killed programs and threads: the program holds
/// at the end what it held after the first rounds, and the service what it held before.
pub fn sockets_that_come_and_go_by_every_way_leave_nothing_behind() {
    let mut lab = Lab::plan().programs("").up();
    let churn = compiled(&lab, "churn", CHURN, "-O1");
    lab.client(&format!("{churn} 10.0.1.2 32")).must();
    let before = Before::of(&mut lab);
    for here in ["10.0.1.1", "fd00:1::1"] {
        lab.run_on_flumen(&format!("{churn} {here} {}", rounds())).says(" 0 failed");
    }
    before.is_now(&mut lab);
}

/// Forks of a program in handlers that interrupt its calls: enough that they hit each of them, in a few seconds.
const FORKS: u32 = 150;

pub fn forks_in_handlers_that_interrupt_calls_lose_no_byte_and_leave_nothing_behind() {
    let mut lab = Lab::plan().programs("").up();
    let handlers = compiled(&lab, "handlers", HANDLERS, "-O1");
    lab.client(&format!("{handlers} 10.0.1.2 {FORKS}")).must();
    let before = Before::of(&mut lab);
    for here in ["10.0.1.1", "fd00:1::1"] {
        lab.run_on_flumen(&format!("{handlers} {here} {FORKS}")).says(" 0 failed");
    }
    before.is_now(&mut lab);
}
