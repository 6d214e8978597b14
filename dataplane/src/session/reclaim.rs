//! Memory of rings that nobody uses goes back to the system.
//!
//! A ring takes memory when it is used, and keeps it when its socket is closed: the next socket in the slot finds it warm. But a
//! program that had a thousand connections once must not keep the memory of a thousand for ever. So the control thread
//! looks now and then, and what has been free from one look to the next is given back: a program that opens and closes
//! connections all the time, in the slots that are free first, has its memory always.
//!
//! ```text
//!   worker          a socket is at home in a slot       control thread, at a look
//!   ──────          ─────────────────────────────       ─────────────────────────
//!   opens           taken, used                         used? since the last look: it has memory, and is warm
//!   closes          not taken                           not taken at the last look, not used since: idle
//!   (cannot open) ─ taken by the control thread ──────  punches a hole, gives the slot back
//! ```
//!
//! While a hole is punched the slot is taken, so that no socket begins in it; a program that wanted it takes another.

use super::program::Homes;
use flumen_ipc::Geometry;
use std::os::fd::AsFd;

/// What the control thread knows of the slots of a program; a bit for each, in groups of 64.
#[derive(Debug)]
pub struct Reclaim {
    homes: Homes,
    /// Those whose rings may have memory.
    warm: Box<[u64]>,
    /// Those that were homes at the last look.
    before: Box<[u64]>,
    /// Those whose memory nobody needs.
    idle: Box<[u64]>,
    /// Where [`Reclaim::give_back`] goes on.
    next: usize,
}

impl Reclaim {
    /// Of a program that has used nothing.
    pub fn new(homes: Homes) -> Reclaim {
        let none = vec![0; homes.groups()].into_boxed_slice();
        Reclaim { homes, warm: none.clone(), before: none.clone(), idle: none, next: 0 }
    }

    /// Looks which slots have not been used since the last look.
    pub fn look(&mut self) {
        let groups = self.warm.iter_mut().zip(&mut self.before).zip(&mut self.idle);
        for (group, ((warm, before), idle)) in groups.enumerate() {
            let (taken, used) = self.homes.look(group);
            *warm |= used | taken;
            *idle = *warm & !(used | taken | *before);
            *before = taken;
        }
    }

    /// Gives the memory of idle slots back, of at most `most` groups; says of how many.
    pub fn give_back(&mut self, arena: impl AsFd, geometry: &Geometry, most: usize) -> usize {
        let mut done = 0;
        while done < most
            && let Some(ahead) =
                self.idle.get(self.next..).and_then(|rest| rest.iter().position(|idle| *idle != 0))
        {
            let group = self.next + ahead;
            self.next = group + 1;
            let got = self.homes.take_free(group, core::mem::take(&mut self.idle[group]));
            for (bit, count) in runs(got) {
                if let Err(error) = geometry.release_rings(&arena, group as u32 * 64 + bit, count) {
                    tracing::debug!(%error, "memory of closed sockets stays");
                }
            }
            self.warm[group] &= !got;
            self.homes.give_back_free(group, got);
            done += 1;
        }
        if done < most {
            self.next = 0;
        }
        done
    }
}

/// The runs of ones in a word: first bit, and how many.
fn runs(word: u64) -> impl Iterator<Item = (u32, u32)> {
    let mut left = word;
    core::iter::from_fn(move || {
        let first = (left != 0).then(|| left.trailing_zeros())?;
        let count = (left >> first).trailing_ones();
        // Adding one at the run's first bit carries through the run.
        left &= left.wrapping_add(1 << first);
        Some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::super::program::{Program, Shared};
    use super::super::socket::Credentials;
    use super::*;
    use flumen_ipc::Arena;
    use flumen_ipc::wake::Bell;
    use proptest::prelude::*;
    use std::os::fd::OwnedFd;

    const GEOMETRY: Geometry = Geometry { slots: 256, calls: 64, rx_bytes: 8192, tx_bytes: 8192, workers: 1 };

    struct Bench {
        program: Program,
        reclaim: Reclaim,
        fd: OwnedFd,
    }

    fn bench() -> Bench {
        let (arena, fd) = Arena::create(GEOMETRY).unwrap();
        let shared = Shared::new(arena, Bell::new().unwrap(), Credentials::default());
        let reclaim = Reclaim::new(shared.homes().clone());
        Bench { program: Program::new(0, &shared), reclaim, fd }
    }

    impl Bench {
        /// A socket in a slot fills its rings.
        fn open(&mut self, slot: u32) {
            assert!(self.program.settle(slot));
            self.program.arena.rx(slot).copy_in(0, &[1; 8192]);
            self.program.arena.tx(slot).copy_in(0, &[2; 8192]);
        }

        /// Bytes of the arena that are memory.
        fn bytes(&self) -> i64 {
            rustix::fs::fstat(&self.fd).unwrap().st_blocks * 512
        }

        fn look(&mut self) -> usize {
            self.reclaim.look();
            self.reclaim.give_back(&self.fd, &GEOMETRY, usize::MAX)
        }
    }

    #[test]
    fn what_was_free_between_two_looks_goes_back_to_the_system() {
        let mut bench = bench();
        let empty = bench.bytes();
        (0..256).for_each(|slot| bench.open(slot));
        assert_eq!(bench.bytes() - empty, 256 * 16_384);
        assert_eq!(bench.look(), 0);
        (0..256).filter(|slot| slot % 3 != 0).for_each(|slot| bench.program.leave(slot));
        assert_eq!(bench.look(), 0, "they were used a moment ago");
        assert_eq!(bench.look(), 4, "groups");
        assert_eq!(bench.bytes() - empty, 86 * 16_384);
        assert_eq!(bench.look(), 0, "it is given back once");
        // What the others hold is whole, and the slots are as new.
        let mut out = [0; 8192];
        bench.program.arena.rx(3).copy_out(0, &mut out);
        assert_eq!(out, [1; 8192]);
        (0..256).filter(|slot| slot % 3 != 0).for_each(|slot| bench.open(slot));
        assert_eq!(bench.bytes() - empty, 256 * 16_384);
    }

    #[test]
    fn a_slot_that_is_used_all_the_time_keeps_its_memory() {
        let mut bench = bench();
        bench.open(0);
        bench.open(1);
        bench.program.leave(1);
        let full = bench.bytes();
        for _ in 0..10 {
            bench.program.leave(0);
            bench.open(0);
            bench.program.leave(0);
            bench.look();
            assert!(bench.program.settle(0));
        }
        assert_eq!(full - bench.bytes(), 16_384, "of the other one");
    }

    #[test]
    fn a_look_has_a_bound_and_the_next_goes_on() {
        let mut bench = bench();
        let empty = bench.bytes();
        (0..256).for_each(|slot| bench.open(slot));
        (0..256).for_each(|slot| bench.program.leave(slot));
        bench.reclaim.look();
        bench.reclaim.look();
        let some = |bench: &mut Bench, most| bench.reclaim.give_back(&bench.fd, &GEOMETRY, most);
        assert_eq!((some(&mut bench, 3), bench.bytes() - empty), (3, 64 * 16_384));
        assert_eq!((some(&mut bench, 3), bench.bytes() - empty), (1, 0));
        assert_eq!(some(&mut bench, 3), 0);
    }

    #[test]
    fn a_slot_that_was_taken_since_the_look_is_left_alone() {
        let mut bench = bench();
        bench.open(5);
        bench.program.leave(5);
        bench.reclaim.look();
        bench.reclaim.look();
        let full = bench.bytes();
        bench.open(5);
        assert_eq!(bench.reclaim.give_back(&bench.fd, &GEOMETRY, 9), 1);
        assert_eq!(bench.bytes(), full);
        assert!(!bench.program.settle(5), "it is still the socket's");
        bench.program.leave(5);
        assert_eq!((bench.look(), bench.look()), (0, 1), "it was used since the last look");
        assert!(bench.bytes() < full && bench.program.settle(5));
    }

    proptest! {
        #[test]
        fn runs_are_the_ones_of_a_word(word: u64) {
            let mut made = 0u64;
            for (first, count) in runs(word) {
                let ones = if count == 64 { u64::MAX } else { ((1 << count) - 1) << first };
                prop_assert_eq!(made & ones, 0);
                prop_assert!(first + count == 64 || word & 1 << (first + count) == 0, "the run is whole");
                made |= ones;
            }
            prop_assert_eq!(made, word);
        }
    }
}
