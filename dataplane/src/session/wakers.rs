//! Threads that wake programs for which no worker waits ([`super::waking`]).
//!
//! Each user has one, for all his programs that are woken aside: so nobody waits for what others hang at their bells. The control thread
//! makes it, and it ends with the last of these programs, or with the service.

use super::socket::Credentials;
use super::waking::{Waking, ringer};
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Weak};
use std::thread::Thread;

/// Those threads. By the control thread.
#[derive(Debug, Default)]
pub struct Wakers {
    threads: Vec<UserThread>,
    /// Programs that no thread could be had for: tried again now and then.
    unbegun: Vec<Weak<Waking>>,
}

/// A user's thread.
#[derive(Debug)]
struct UserThread {
    user: u32,
    thread: Thread,
    /// Where its programs come from; it ends when nothing can come from there any more.
    given: Option<Sender<Weak<Waking>>>,
    programs: Vec<Weak<Waking>>,
}

impl Wakers {
    /// Threads that there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Has a program woken aside.
    pub fn take(&mut self, program: &Arc<Waking>) {
        let Credentials { uid: user, .. } = program.user();
        let at = match self.threads.iter().position(|thread| thread.user == user) {
            Some(at) => at,
            None => match UserThread::begin(user) {
                Ok(thread) => {
                    self.threads.push(thread);
                    self.threads.len() - 1
                }
                Err(error) => {
                    tracing::warn!(%error, user, "no thread to wake a program: it hears nothing for now");
                    return self.unbegun.push(Arc::downgrade(program));
                }
            },
        };
        self.threads[at].give(program);
    }

    /// Threads whose programs are all gone end, and those begin that could not. To be called now and then.
    pub fn housekeeping(&mut self) {
        for thread in &mut self.threads {
            thread.programs.retain(|program| program.strong_count() > 0);
        }
        self.threads.retain(|thread| !thread.programs.is_empty());
        for program in core::mem::take(&mut self.unbegun) {
            if let Some(program) = program.upgrade() {
                self.take(&program);
            }
        }
    }
}

impl UserThread {
    fn begin(user: u32) -> io::Result<UserThread> {
        let (given, programs) = channel();
        let thread = std::thread::Builder::new().name("flumen-waker".to_owned()).spawn(|| wake(programs))?;
        Ok(UserThread { user, thread: thread.thread().clone(), given: Some(given), programs: Vec::new() })
    }

    fn give(&mut self, program: &Arc<Waking>) {
        program.give_to(self.thread.clone());
        self.programs.push(Arc::downgrade(program));
        if let Some(given) = &self.given {
            // The thread takes what is sent for as long as the sender stands.
            let _taken = given.send(Arc::downgrade(program));
        }
        self.thread.unpark();
    }
}

impl Drop for UserThread {
    fn drop(&mut self) {
        self.given = None;
        self.thread.unpark();
    }
}

/// The thread: wakes what is asked for, once more when it is to end.
fn wake(given: Receiver<Weak<Waking>>) {
    let ringer = ringer();
    let mut programs: Vec<Weak<Waking>> = Vec::new();
    loop {
        let is_over = loop {
            match given.try_recv() {
                Ok(program) => programs.push(program),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        programs.retain(|program| {
            let program = program.upgrade();
            program.inspect(|program| program.serve(ringer.as_ref())).is_some()
        });
        if is_over {
            return;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_ipc::wake::Bell;
    use flumen_ipc::{Arena, Geometry};
    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::fs::OFlags;

    const GEOMETRY: Geometry = Geometry { slots: 128, calls: 64, rx_bytes: 4096, tx_bytes: 4096, workers: 1 };

    /// A program that is woken aside.
    fn program(uid: u32) -> Arc<Waking> {
        let (arena, _) = Arena::create(GEOMETRY).unwrap();
        let user = Credentials { uid, ..Credentials::default() };
        let program = Arc::new(Waking::new(Arc::new(arena), Bell::new().unwrap(), user));
        assert!(program.put_aside() && !program.put_aside(), "said once");
        program
    }

    fn ask(program: &Arc<Waking>) {
        assert!(!super::super::waking::Waker::new(Arc::clone(program)).ring(None));
    }

    fn rings(program: &Waking) -> bool {
        let mut fds = [PollFd::new(program.bell(), PollFlags::IN)];
        let time = Timespec { tv_sec: 60, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&time)).unwrap() == 1 && program.bell().silence()
    }

    /// A thread that looks at a program keeps it for that moment.
    fn until_there_are(wakers: &mut Wakers, threads: usize) {
        for _ in 0..10_000 {
            wakers.housekeeping();
            if wakers.threads() == threads {
                return;
            }
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
        panic!("{} threads", wakers.threads());
    }

    #[test]
    fn a_user_has_one_thread_and_it_ends_with_the_last_of_his_programs() {
        let mut wakers = Wakers::default();
        let programs = [1000, 1000, 1001].map(program);
        programs.iter().for_each(|program| wakers.take(program));
        assert_eq!(wakers.threads(), 2);
        for _ in 0..100 {
            programs.iter().for_each(ask);
            assert!(programs.iter().all(|program| rings(program)));
        }
        let [first, second, other] = programs;
        drop((first, other));
        until_there_are(&mut wakers, 1);
        ask(&second);
        assert!(rings(&second));
        drop(second);
        until_there_are(&mut wakers, 0);
    }

    #[test]
    fn what_was_asked_before_the_end_of_the_service_is_done() {
        let (mut wakers, program) = (Wakers::default(), program(1000));
        wakers.take(&program);
        ask(&program);
        drop(wakers);
        assert!(rings(&program));
    }

    #[test]
    fn who_keeps_the_thread_of_his_keeps_nobody_elses() {
        let mut wakers = Wakers::default();
        // Root's bells are written to, and this one blocks and is full.
        let [stuck, behind, other] = [0, 0, 1000].map(program);
        rustix::io::write(stuck.bell(), &(u64::MAX - 1).to_ne_bytes()).unwrap();
        rustix::fs::fcntl_setfl(stuck.bell(), OFlags::empty()).unwrap();
        wakers.take(&stuck);
        ask(&stuck);
        [&behind, &other].into_iter().for_each(|program| wakers.take(program));
        [&behind, &other].into_iter().for_each(ask);
        assert!(rings(&other));
        assert!(stuck.bell().silence(), "who reads it lets it go on");
        assert!(rings(&behind));
    }
}
