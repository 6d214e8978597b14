//! What programs passed to the control thread is closed by a thread that nobody waits for.
//!
//! A descriptor that came in a message is one that a program chose. Whoever closes it last may have to wait: a socket of TCP
//! that lingers (SO_LINGER) waits for its peer, for as long as the program that set it wished. So the control thread closes none
//! of them, neither those that it took nor those that are left in the queue of a connection that ends.

use super::limits::{LEFT_IN_A_QUEUE, MAX_ASIDE};
use flumen_ipc::attach;
use rustix::net::{Shutdown, sockopt};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

/// Where descriptors go that are to be closed.
#[derive(Debug)]
pub struct Aside {
    closer: Sender<OwnedFd>,
    waiting: Arc<AtomicUsize>,
}

impl Aside {
    /// Begins the thread, which ends with this.
    ///
    /// # Errors
    /// The system's: there is no thread for it.
    pub fn new() -> io::Result<Aside> {
        let (closer, descriptors) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        std::thread::Builder::new().name("flumen-closer".to_owned()).spawn(move || {
            for descriptor in descriptors {
                drop::<OwnedFd>(descriptor);
                left.fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        Ok(Aside { closer, waiting })
    }

    /// Descriptors that are not closed yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Closes what a program passed.
    pub fn close(&self, descriptors: impl IntoIterator<Item = OwnedFd>) {
        for descriptor in descriptors {
            if self.waiting() < MAX_ASIDE {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                // The thread stands as long as this does.
                let _taken = self.closer.send(descriptor);
            } else {
                // So many have one reason only. Where it is no socket there is nothing to be set.
                let _lingers_no_more = sockopt::set_socket_linger(&descriptor, None);
            }
        }
    }

    /// Empties the queue of a connection that is to be closed of what its program passed and nobody took.
    pub fn part(&self, connection: &OwnedFd) {
        // Nothing comes behind what is in the queue now.
        let _connected = rustix::net::shutdown(connection, Shutdown::Both);
        for _ in 0..LEFT_IN_A_QUEUE {
            // A message of no bytes looks like the end, so that all are looked for.
            match attach::receive_any(connection, &mut []) {
                Ok(message) => self.close(message.descriptors),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }
}
