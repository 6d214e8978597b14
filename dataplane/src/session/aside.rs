//! What programs passed to the control thread is closed by threads that nobody waits for.
//!
//! A descriptor that came in a message is one that a program chose, and whoever closes it last may have to wait: a socket of TCP
//! that lingers (SO_LINGER) waits for its peer for as long as the program that set it wished, and a connection has what nobody took of
//! its queue closed with it. So the control thread closes none of them. Each user has a thread for them, so that one user's
//! descriptors wait for nobody else's; it ends when it has nothing left.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Where descriptors go that are to be closed.
#[derive(Debug, Default)]
pub struct Aside {
    closers: Vec<Closer>,
    /// Those that no thread could be had for: tried again now and then.
    unbegun: Vec<(u32, Vec<OwnedFd>)>,
}

/// A user's thread.
#[derive(Debug)]
struct Closer {
    user: u32,
    descriptors: Sender<OwnedFd>,
    waiting: Arc<AtomicUsize>,
}

impl Closer {
    fn begin(user: u32) -> io::Result<Closer> {
        let (descriptors, passed): (_, Receiver<OwnedFd>) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        std::thread::Builder::new().name("flumen-closer".to_owned()).spawn(move || {
            for descriptor in passed {
                drop(descriptor);
                left.fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        Ok(Closer { user, descriptors, waiting })
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Aside {
    /// Descriptors that are not closed yet.
    pub fn waiting(&self) -> usize {
        let unbegun: usize = self.unbegun.iter().map(|(_, descriptors)| descriptors.len()).sum();
        self.closers.iter().map(Closer::waiting).sum::<usize>() + unbegun
    }

    /// Those of a user.
    pub fn waiting_of(&self, user: u32) -> usize {
        let of_user = self.closers.iter().find(|closer| closer.user == user);
        of_user.map_or(0, Closer::waiting)
    }

    /// Tries again to close what there was no thread for.
    pub fn try_again(&mut self) {
        for (user, descriptors) in core::mem::take(&mut self.unbegun) {
            self.hand_over(user, descriptors);
        }
    }

    /// Closes what a user passed.
    pub fn close(&mut self, user: u32, descriptors: Vec<OwnedFd>) {
        if !descriptors.is_empty() {
            self.hand_over(user, descriptors);
        }
    }

    fn hand_over(&mut self, user: u32, descriptors: Vec<OwnedFd>) {
        if self.waiting_of(user) == 0 {
            // Threads that have nothing to do end with their senders.
            self.closers.retain(|closer| closer.waiting() > 0 || closer.user == user);
        }
        let at = match self.closers.iter().position(|closer| closer.user == user) {
            Some(at) => at,
            None => match Closer::begin(user) {
                Ok(closer) => {
                    self.closers.push(closer);
                    self.closers.len() - 1
                }
                Err(error) => {
                    tracing::warn!(%error, user, "no thread to close what a program passed: it stays open for now");
                    return self.unbegun.push((user, descriptors));
                }
            },
        };
        for descriptor in descriptors {
            self.closers[at].waiting.fetch_add(1, Ordering::Relaxed);
            // The thread takes what is sent for as long as the sender stands.
            let _taken = self.closers[at].descriptors.send(descriptor);
        }
    }
}
