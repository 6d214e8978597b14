//! Sockets by the kernel's socket that stands for them: how one that was passed on is found among a hundred thousand.
//!
//! A table of lists, which are linked through the sockets: no memory is taken when a socket comes. Which socket of the kernel's
//! one stands for its program says itself, so many may say the same: the key is the cookie and the user, who so is only in
//! his own way, the hash is secret, and a look goes through no more than a few.

use super::limits::COOKIES_LOOKED_AT;
use super::socket::{Credentials, Socket};
use flumen_stack::socket::{Handle, Slab};
use std::hash::{BuildHasher, RandomState};

/// The links of a socket in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Links {
    before: Option<Handle>,
    next: Option<Handle>,
}

/// The table.
#[derive(Debug)]
pub struct Cookies {
    heads: Box<[Option<Handle>]>,
    secret: RandomState,
}

impl Cookies {
    /// For at most so many sockets.
    pub fn new(sockets: usize) -> Cookies {
        let heads = vec![None; sockets.next_power_of_two()].into_boxed_slice();
        Cookies { heads, secret: RandomState::new() }
    }

    fn list(&self, cookie: u64, uid: u32) -> usize {
        self.secret.hash_one((cookie, uid)) as usize & (self.heads.len() - 1)
    }

    /// A socket came; its links are new.
    pub fn insert(&mut self, sockets: &mut Slab<Socket>, handle: Handle) {
        let Some(socket) = sockets.get(handle) else { return };
        let list = self.list(socket.cookie, socket.user.uid);
        let next = self.heads[list].replace(handle);
        if let Some(socket) = sockets.get_mut(handle) {
            socket.by_cookie = Links { before: None, next };
        }
        if let Some(next) = next.and_then(|next| sockets.get_mut(next)) {
            next.by_cookie.before = Some(handle);
        }
    }

    /// This one was taken out.
    pub fn remove(&mut self, sockets: &mut Slab<Socket>, gone: &Socket) {
        let Links { before, next } = gone.by_cookie;
        match before.and_then(|before| sockets.get_mut(before)) {
            Some(before) => before.by_cookie.next = next,
            None => {
                let list = self.list(gone.cookie, gone.user.uid);
                self.heads[list] = next;
            }
        }
        if let Some(next) = next.and_then(|next| sockets.get_mut(next)) {
            next.by_cookie.before = before;
        }
    }

    /// The socket of a user that stands for a socket of the kernel's, and is not being closed: the newest one.
    pub fn find(&self, sockets: &Slab<Socket>, cookie: u64, uid: u32) -> Option<Handle> {
        let mut at = self.heads[self.list(cookie, uid)];
        for _ in 0..COOKIES_LOOKED_AT {
            let handle = at?;
            let socket = sockets.get(handle)?;
            let Credentials { uid: its, .. } = socket.user;
            if socket.cookie == cookie && its == uid && !socket.closing {
                return Some(handle);
            }
            at = socket.by_cookie.next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Place;
    use super::super::socket::Kind;
    use super::*;
    use flumen_stack::socket::Family;
    use proptest::prelude::*;

    fn socket(cookie: u64, uid: u32) -> Socket {
        let user = Credentials { uid, gid: uid, pid: 1 };
        Socket::new(Kind::TcpClosed, Family::Ipv4, user, Place { program: 0, slot: 0 }, cookie)
    }

    proptest! {
        #[test]
        fn what_is_there_is_found_and_what_is_gone_is_not(
            steps in prop::collection::vec((any::<bool>(), 0u64..6, 0u32..3), 1..200)
        ) {
            let (mut sockets, mut cookies) = (Slab::new(32), Cookies::new(32));
            let mut model: Vec<(u64, u32, Handle)> = Vec::new();
            for (comes, cookie, uid) in steps {
                let there = model.iter().rposition(|one| (one.0, one.1) == (cookie, uid));
                prop_assert_eq!(cookies.find(&sockets, cookie, uid), there.map(|place| model[place].2));
                if comes {
                    if let Ok(handle) = sockets.insert(socket(cookie, uid)) {
                        cookies.insert(&mut sockets, handle);
                        model.push((cookie, uid, handle));
                    }
                } else if let Some(first) = model.iter().position(|one| (one.0, one.1) == (cookie, uid)) {
                    // The oldest of them: from the middle of a list.
                    let (_, _, handle) = model.remove(first);
                    let gone = sockets.remove(handle).unwrap();
                    cookies.remove(&mut sockets, &gone);
                }
            }
        }
    }

    #[test]
    fn who_is_being_closed_is_passed_over_and_a_look_is_bounded() {
        let (mut sockets, mut cookies) = (Slab::new(COOKIES_LOOKED_AT + 2), Cookies::new(1));
        let mut add = |closing| {
            let handle = sockets.insert(Socket { closing, ..socket(7, 0) }).unwrap();
            cookies.insert(&mut sockets, handle);
            (handle, cookies.find(&sockets, 7, 0))
        };
        let (first, found) = add(false);
        assert_eq!(found, Some(first));
        for _ in 1..COOKIES_LOOKED_AT {
            assert_eq!(add(true).1, Some(first));
        }
        assert_eq!(add(true).1, None, "behind too many");
    }
}
