//! What an attachment says to workers and hears of them: kicks, news, calls.

use super::{Answer, Attachment, WorkerBell};
use core::sync::atomic::Ordering::*;
use flumen_ipc::{Op, tree};

impl Attachment {
    /// Tells the worker that rings or cursors of a slot changed.
    #[inline]
    pub fn kick(&self, worker: u32, slot: u32) {
        self.arena().kicks(worker as usize).mark(slot);
        self.ring(worker);
    }

    /// Wakes the worker, if it sleeps; once for each of its sleeps.
    #[inline]
    pub(super) fn ring(&self, worker: u32) {
        let sleep = self.page.sleep(worker as usize);
        if sleep != 0
            && let Some(WorkerBell { bell, rung }) = self.workers.get(worker as usize)
            && rung.load(Relaxed) != sleep
        {
            // One that rings already (EAGAIN) rings on.
            let _rings = rustix::io::write(bell.fd(), &1u64.to_ne_bytes());
            // Noted when it is done: a thread that is stopped before lets others ring once more, and none forget it.
            rung.store(sleep, Relaxed);
        }
    }

    /// Takes all news: `tell` is called with each slot that something happened to. Several threads may take news at the same
    /// time; each news goes to one of them.
    pub fn take_news(&self, mut tell: impl FnMut(u32)) {
        // No more rounds than there are groups: workers that go on marking must not keep us here.
        for _ in 0..=self.sockets.len() / 64 {
            let Some(group) = self.arena().news().take() else { return };
            tree::numbers(group).for_each(&mut tell);
        }
    }

    /// News that do not come from a worker: who waits for the slot looks again.
    pub fn tell_ourselves(&self, slot: u32) {
        self.arena().news().mark(slot);
        if self.arena().sleep().is_some() {
            // One that rings already (EAGAIN) rings on.
            let _rings = rustix::io::write(self.bell(), &1u64.to_ne_bytes());
        }
    }

    /// Silences the bell; to be done before news are taken.
    pub fn silence(&self) {
        let _was_silent = rustix::io::read(self.bell(), &mut [0u8; 8]);
    }

    /// Asks a worker and waits for its result: negative for an errno. A dead service is ECONNRESET.
    pub fn call(&self, worker: u32, op: Op, slot: u32, args: [u64; 4], data: &[u8]) -> i64 {
        self.ask(worker, op, slot, args, data, None).0
    }

    /// As [`Attachment::call`]; also the answer's data, and how many bytes.
    pub fn call_for(
        &self,
        worker: u32,
        op: Op,
        slot: u32,
        args: [u64; 4],
        data: &[u8],
        answer: &mut Answer,
    ) -> (i64, usize) {
        self.ask(worker, op, slot, args, data, Some(answer))
    }

    fn ask(
        &self,
        worker: u32,
        op: Op,
        slot: u32,
        args: [u64; 4],
        data: &[u8],
        answer: Option<&mut Answer>,
    ) -> (i64, usize) {
        let dead = (-i64::from(libc::ECONNRESET), 0);
        if self.is_dead() {
            return dead;
        }
        let Some(number) = self.claim() else { return dead };
        let call = self.arena().call(number);
        call.submit(op, slot, args, data);
        self.arena().call_marks(worker as usize).mark(number);
        self.ring(worker);
        let beside = self.page.is_beside(worker as usize);
        let Some(result) = call.wait(beside, || self.look()) else { return dead };
        let len = answer.map_or(0, |answer| call.answer_data(answer));
        call.release();
        (result, len)
    }

    /// A free call slot; waits when all are on their way.
    fn claim(&self) -> Option<u32> {
        let calls = self.arena().geometry().calls;
        loop {
            let hint = self.hint.load(Relaxed);
            for number in (hint..hint + calls).map(|number| number % calls) {
                if self.arena().call(number).claim() {
                    self.hint.store(number, Relaxed);
                    return Some(number);
                }
            }
            if !self.look() {
                return None;
            }
            std::thread::yield_now();
        }
    }
}
