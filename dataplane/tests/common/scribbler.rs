//! A hostile program's threads: they write anything anywhere into the memory that it shares with the service, and most of it where it
//! matters.

use flumen_ipc::message::{Address, TO_SEND_HEAD, ToSend};
use flumen_ipc::{Arena, Op};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use zerocopy::IntoBytes;

/// Numbers that look random.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 27
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

fn address(at: &str) -> Address {
    Address::from(at.parse::<SocketAddr>().unwrap())
}

/// Writes noise somewhere into an arena of so many bytes. Most of what matters stands in front of the rings.
pub fn scribble(random: &mut Random, file: impl AsFd, size: u64) {
    let within = if random.below(4) == 0 { size } else { size.min(400_000) };
    let noise: [u8; 64] = core::array::from_fn(|_| random.next() as u8);
    let bytes = [&noise[..], &[0xff; 64], &[0; 64]][random.below(3) as usize];
    let len = 1 + random.below(64);
    rustix::io::pwrite(file, &bytes[..len as usize], random.below(within - len)).unwrap();
}

/// Writes anything anywhere, as fast as it can.
pub struct Scribbler<'a> {
    pub arena: &'a Arena,
    pub random: Random,
}

impl Scribbler<'_> {
    /// A number that is wrong, or nearly right.
    fn word(&mut self, near: u64) -> u64 {
        let choices = [0, 1, u64::MAX, u64::MAX - 5, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 63];
        match self.random.below(4) {
            0 => choices[self.random.below(choices.len() as u64) as usize],
            1 => self.random.next(),
            _ => near.wrapping_add(self.random.below(131_074)),
        }
    }

    fn worker(&mut self) -> usize {
        self.random.below(self.arena.geometry().workers.into()) as usize
    }

    /// Some words, a record, marks, or a call.
    pub fn strike(&mut self) {
        let most = [64, 8, 8][self.random.below(3) as usize];
        let slot = self.random.below(most) as u32;
        let (cell, ring, worker) = (self.arena.cell(slot), self.arena.tx(slot), self.worker());
        match self.random.below(9) {
            0 => cell.program.rx_head.store(self.word(cell.program.rx_head.load(Relaxed)), SeqCst),
            1 => cell.program.tx_tail.store(self.word(cell.worker.tx_head.load(Relaxed)), SeqCst),
            2 => {
                let words =
                    [&cell.worker.rx_tail, &cell.worker.tx_head, &cell.worker.tx_limit, &cell.worker.told];
                words.iter().for_each(|word| word.store(self.word(0), SeqCst));
                let halves = [&cell.worker.flags, &cell.worker.seq, &cell.worker.state, &cell.error];
                halves.iter().for_each(|word| word.store(self.random.next() as u32, SeqCst));
            }
            3 => {
                let program = &cell.program;
                let halves = [&program.open_flags, &program.readers, &program.writers, &program.rx_lock];
                halves.iter().for_each(|word| word.store(self.random.next() as u32, SeqCst));
            }
            4 => self.ask(worker, slot),
            5 => {
                let number = self.random.next() as u32;
                self.arena.closes(worker).mark(number);
                self.arena.call_marks(worker).mark(number);
                self.arena.news().mark(number);
            }
            6 => {
                // A record whose length changes while it is looked at.
                let at = cell.worker.tx_head.load(Relaxed);
                let to = if self.random.below(2) == 0 { Address::NONE } else { address("10.0.1.1:9001") };
                for turn in 0..8u32 {
                    let lengths = [16, u32::MAX, 0, 65_536, u32::MAX - 71, 60_000, 17, 65_535];
                    let flags = self.random.next() as u32;
                    let segment = self.random.below(3) as u16;
                    let len = lengths[turn as usize];
                    ring.copy_in(at, ToSend { len, flags, to, segment, ..ToSend::default() }.as_bytes());
                    let tail = at.wrapping_add(TO_SEND_HEAD as u64 + [16, 4096, 65_536][turn as usize % 3]);
                    cell.program.tx_tail.store(tail, SeqCst);
                    self.arena.kicks(worker).mark(slot);
                }
            }
            7 if self.random.below(2) == 0 => self.arena.head().lie_down(),
            7 => self.arena.head().get_up(),
            _ => {
                self.arena.kicks(worker).mark(slot);
            }
        }
    }

    /// A call of any kind, the slot claimed or not. What it names are ports of its own.
    fn ask(&mut self, worker: usize, slot: u32) {
        let number = self.random.below(64) as u32;
        let op = Op::from_number(self.random.below(20) as u32).unwrap_or(Op::Open);
        let kinds = [1, 2, 3, 5, u64::MAX];
        let args = match (op, self.random.below(3)) {
            (Op::Open, 0..2) => [2 + 8 * self.random.below(2), kinds[self.random.below(5) as usize], 0, 7],
            (_, 0) => [(); 4].map(|()| self.random.below(70)),
            _ => [(); 4].map(|()| self.random.next()),
        };
        let port = 9000 + self.random.below(8) as u16;
        let mut at =
            address(["10.0.1.1:1", "0.0.0.0:1", "[::ffff:10.0.1.1]:1"][self.random.below(3) as usize]);
        at.port = port;
        let noise: Vec<u8> = (0..self.random.below(2000)).map(|_| self.random.next() as u8).collect();
        let data = if self.random.below(2) == 0 { at.as_bytes() } else { &noise };
        self.arena.call(number).submit(op, slot, args, data);
        self.arena.call_marks(worker).mark(number);
    }
}
