//! Who holds which local port, and whether somebody else may hold it too: the rules of `bind` and `listen`.
//!
//! ```text
//!   port ──> holders: │ address, device, SO_REUSEADDR, SO_REUSEPORT, user, state │ × count │ ──> next
//! ```
//!
//! Holders that look alike are counted, not listed: the thousand connections that a server accepted on one address
//! are one entry. So a port's list is as long as the ways in which it is held.
//!
//! Two holders meet when their addresses overlap and neither is bound to a device that the other is not. Then,
//! as in Linux (`inet_csk_bind_conflict`, `udp_lib_lport_inuse`):
//!
//! | both have | TCP | UDP, UDP-Lite |
//! |---|---|---|
//! | SO_REUSEADDR | may share, unless the one that is there listens | may share |
//! | SO_REUSEPORT, and one user | may share | may share |
//! | neither | conflict | conflict |
//!
//! `::` overlaps every IPv4 address unless the socket is IPv6 only. A port that is chosen for somebody ([`Bound::is_free`])
//! must meet nobody at all.

use super::homes::Home;
use super::zeroed::Zeroed;
use crate::port::PortId;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU32;

/// The local address of a socket. An IPv4 address that an IPv6 socket has in mapped form is [`Address::V4`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    /// 0.0.0.0
    AnyV4,
    /// ::, which takes IPv4 too unless `only` (IPV6_V6ONLY) is set.
    AnyV6 {
        /// No IPv4.
        only: bool,
    },
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// One IPv6 address.
    V6(Ipv6Addr),
}

impl Address {
    /// The address of a socket of this family, whose IPV6_V6ONLY is `only`.
    pub fn new(address: IpAddr, only: bool) -> Address {
        match address.to_canonical() {
            IpAddr::V4(address) if address.is_unspecified() => Address::AnyV4,
            IpAddr::V4(address) => Address::V4(address),
            IpAddr::V6(address) if address.is_unspecified() => Address::AnyV6 { only },
            IpAddr::V6(address) => Address::V6(address),
        }
    }

    /// True when some packet's destination is both.
    pub fn overlaps(self, other: Address) -> bool {
        use Address::{AnyV4, AnyV6, V4, V6};
        match (self, other) {
            (V4(a), V4(b)) => a == b,
            (V6(a), V6(b)) => a == b,
            (AnyV4, AnyV4 | V4(_)) | (V4(_), AnyV4) => true,
            (AnyV6 { .. }, AnyV6 { .. } | V6(_)) | (V6(_), AnyV6 { .. }) => true,
            (AnyV6 { only }, AnyV4 | V4(_)) | (AnyV4 | V4(_), AnyV6 { only }) => !only,
            (V6(_), AnyV4 | V4(_)) | (AnyV4 | V4(_), V6(_)) => false,
        }
    }
}

/// What a socket asks for when it binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// Its local address.
    pub address: Address,
    /// Its local port.
    pub port: u16,
    /// SO_BINDTODEVICE.
    pub device: Option<PortId>,
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// Whose it is: SO_REUSEPORT shares among the sockets of one user.
    pub user: u32,
    /// The port was chosen by `connect`, which shares it among connections to different peers.
    pub automatic: bool,
}

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// TCP's.
    Tcp,
    /// UDP's.
    Udp,
    /// Those of UDP-Lite, which are UDP's.
    UdpLite,
}

/// What a holder does with its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Bound,
    Listening,
    TimeWait,
}

/// A socket's hold on a port. Give it back once, with [`Bound::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct BindId(NonZeroU32);

impl BindId {
    /// Of the holder at a place; of nobody when that is the last number of all.
    const fn of(place: u32) -> BindId {
        match NonZeroU32::new(place.wrapping_add(1)) {
            Some(number) => BindId(number),
            None => BindId(NonZeroU32::MAX),
        }
    }

    const fn place(&self) -> u32 {
        self.0.get() - 1
    }
}

/// Why a port was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Somebody holds it who does not share (EADDRINUSE).
    #[error("the address and port are in use")]
    InUse,
    /// The port lives on another worker (see [`super::homes`]).
    #[error("the port is another worker's")]
    Elsewhere,
    /// The table of holders is full (ENOBUFS).
    #[error("no room for one more way to hold a port")]
    Full,
}

#[derive(Debug, Clone, Copy)]
struct Holder {
    bind: Bind,
    state: State,
    count: u32,
    /// The next holder of the port, or the next free place; as id + 1.
    next: u32,
}

/// The local ports of one protocol.
#[derive(Debug)]
pub struct Bound {
    rules: Rules,
    /// The first holder of each port, as id + 1.
    ports: Zeroed<u32>,
    holders: Vec<Holder>,
    free: u32,
    capacity: usize,
    home: Option<Home>,
}

impl Bound {
    /// A table for so many ways to hold ports (not holders: those that look alike are one).
    pub fn new(rules: Rules, capacity: usize) -> Self {
        let holders = Vec::with_capacity(capacity);
        Bound { rules, ports: Zeroed::new(1 << 16), holders, free: 0, capacity, home: None }
    }

    /// There are other workers: from now on ports are those that live on this one. (What is bound already is the same on
    /// all of them.)
    pub fn set_home(&mut self, home: Home) {
        self.home = Some(home);
    }

    /// Something is at this port from now on, and what comes for it is handed over to this worker.
    pub fn settle(&self, port: u16) {
        if let Some(home) = &self.home {
            home.settle(self.rules, port);
        }
    }

    /// The other worker that what comes for this port belongs to.
    #[inline]
    pub fn elsewhere(&self, port: u16) -> Option<usize> {
        self.home.as_ref().and_then(|home| home.elsewhere(self.rules, port))
    }

    /// True when a port lives on this worker.
    pub fn is_here(&self, port: u16) -> bool {
        self.home.as_ref().is_none_or(|home| home.is_here(port))
    }

    /// A port that the caller named.
    pub fn bind(&mut self, bind: &Bind) -> Result<BindId, BindError> {
        if !self.is_here(bind.port) {
            return Err(BindError::Elsewhere);
        }
        let id = self.claim(bind, State::Bound)?;
        self.settle(bind.port);
        Ok(id)
    }

    /// True when a port can be chosen for this socket: it would meet nobody, sharing or not.
    pub fn is_free(&self, bind: &Bind) -> bool {
        self.is_here(bind.port) && !self.on(bind.port).any(|(_, holder)| meet(bind, &holder.bind))
    }

    /// True when `connect` can choose this port: nobody bound it by name. (That the four-tuple is free, the
    /// connection table knows.)
    pub fn is_free_to_connect(&self, port: u16) -> bool {
        self.is_here(port) && self.on(port).all(|(_, holder)| holder.bind.automatic)
    }

    /// The holder listens from now on. That can fail where binding did not: two that may share a port by
    /// SO_REUSEADDR cannot both listen. It holds its port as before then, under the id in the error.
    pub fn listen(&mut self, id: BindId) -> Result<BindId, (BindId, BindError)> {
        let Some(Holder { bind, state, .. }) = self.holder(&id) else {
            return Err((id, BindError::InUse));
        };
        self.release(id);
        let claimed = self.claim(&bind, State::Listening);
        claimed.map_err(|error| (self.again(&bind, state), error))
    }

    /// The holder listens no more, and holds its port as one that was only bound.
    pub fn unlisten(&mut self, id: BindId) -> BindId {
        let Some(Holder { bind, .. }) = self.holder(&id) else { return id };
        self.release(id);
        self.again(&bind, State::Bound)
    }

    /// One more hold on a port, by a connection that came to the holder's port at this address; it does not listen
    /// and is not asked for conflicts.
    pub fn inherit(&mut self, id: &BindId, address: Address) -> Result<BindId, BindError> {
        let holder = self.holder(id).ok_or(BindError::InUse)?;
        self.add(&Bind { address, ..holder.bind }, State::Bound)
    }

    /// The socket is gone but for its TIME-WAIT: others are less strict about that. When the table is full it
    /// counts as what it was.
    pub fn time_wait(&mut self, id: BindId) -> BindId {
        let Some(Holder { bind, state, .. }) = self.holder(&id) else {
            return id;
        };
        self.release(id);
        self.add(&bind, State::TimeWait).unwrap_or_else(|_| self.again(&bind, state))
    }

    /// The socket gives its port back.
    pub fn release(&mut self, id: BindId) {
        let Some(holder) = self.holders.get_mut(id.place() as usize).filter(|holder| holder.count > 0) else {
            return;
        };
        holder.count -= 1;
        let (count, port, next) = (holder.count, holder.bind.port, holder.next);
        if count > 0 {
            return;
        }
        holder.next = core::mem::replace(&mut self.free, id.place() + 1);
        let before =
            self.on(port).find(|(_, holder)| holder.next == id.place() + 1).map(|(before, _)| before);
        match before {
            Some(before) => self.holders[before as usize].next = next,
            None => self.ports.get_mut()[usize::from(port)] = next,
        }
    }

    /// The holder's port and the rest of what it asked for.
    pub fn get(&self, id: &BindId) -> Option<Bind> {
        self.holder(id).map(|holder| holder.bind)
    }

    fn holder(&self, id: &BindId) -> Option<Holder> {
        self.holders.get(id.place() as usize).filter(|holder| holder.count > 0).copied()
    }

    fn claim(&mut self, bind: &Bind, state: State) -> Result<BindId, BindError> {
        let rules = self.rules;
        if self.on(bind.port).any(|(_, holder)| meet(bind, &holder.bind) && !share(rules, bind, holder)) {
            return Err(BindError::InUse);
        }
        self.add(bind, state)
    }

    /// Puts back what was just released: its place is still free.
    fn again(&mut self, bind: &Bind, state: State) -> BindId {
        self.add(bind, state).unwrap_or(BindId::of(u32::MAX))
    }

    fn add(&mut self, bind: &Bind, state: State) -> Result<BindId, BindError> {
        let alike = self.on(bind.port).find(|(_, holder)| holder.bind == *bind && holder.state == state);
        if let Some((id, _)) = alike {
            self.holders[id as usize].count += 1;
            return Ok(BindId::of(id));
        }
        let next = self.ports.get()[usize::from(bind.port)];
        let holder = Holder { bind: *bind, state, count: 1, next };
        let id = match self.free.checked_sub(1) {
            Some(id) => {
                self.free = core::mem::replace(&mut self.holders[id as usize], holder).next;
                id
            }
            None if self.holders.len() < self.capacity => {
                self.holders.push(holder);
                self.holders.len() as u32 - 1
            }
            None => return Err(BindError::Full),
        };
        self.ports.get_mut()[usize::from(bind.port)] = id + 1;
        Ok(BindId::of(id))
    }

    /// The holders of a port.
    fn on(&self, port: u16) -> impl Iterator<Item = (u32, &Holder)> {
        let at = |next: u32| Some((next.checked_sub(1)?, self.holders.get(next.checked_sub(1)? as usize)?));
        core::iter::successors(at(self.ports.get()[usize::from(port)]), move |(_, holder)| at(holder.next))
    }
}

/// True when packets could be for both.
fn meet(a: &Bind, b: &Bind) -> bool {
    let devices = a.device.is_none() || b.device.is_none() || a.device == b.device;
    devices && a.address.overlaps(b.address)
}

/// True when `new` may hold a port beside `old`, which it meets.
fn share(rules: Rules, new: &Bind, old: &Holder) -> bool {
    let reuse_address = new.reuse_address && old.bind.reuse_address;
    let same_user = new.user == old.bind.user || old.state == State::TimeWait;
    let reuse_port = new.reuse_port && old.bind.reuse_port && same_user;
    match rules {
        // Ports that connect chose are told apart by the peers.
        Rules::Tcp if new.automatic && old.bind.automatic => true,
        Rules::Tcp => reuse_port || reuse_address && old.state != State::Listening,
        Rules::Udp | Rules::UdpLite => reuse_port || reuse_address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Address = Address::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: Address = Address::V4(Ipv4Addr::new(10, 0, 0, 2));
    const V6: Address = Address::V6(Ipv6Addr::LOCALHOST);
    const DUAL: Address = Address::AnyV6 { only: false };
    const ONLY: Address = Address::AnyV6 { only: true };

    fn plain(address: Address) -> Bind {
        Bind {
            address,
            port: 80,
            device: None,
            reuse_address: false,
            reuse_port: false,
            user: 0,
            automatic: false,
        }
    }

    fn tcp() -> Bound {
        Bound::new(Rules::Tcp, 100)
    }

    #[test]
    fn without_options_overlapping_addresses_conflict_and_others_do_not() {
        use Address::AnyV4;
        let pairs = [
            (A, A, false),
            (A, B, true),
            (A, AnyV4, false),
            (AnyV4, AnyV4, false),
            (AnyV4, V6, true),
            (AnyV4, DUAL, false),
            (A, DUAL, false),
            (AnyV4, ONLY, true),
            (A, ONLY, true),
            (DUAL, ONLY, false),
            (V6, DUAL, false),
            (V6, ONLY, false),
            (V6, A, true),
        ];
        for (first, second, both) in pairs {
            for (first, second) in [(first, second), (second, first)] {
                for rules in [Rules::Tcp, Rules::Udp] {
                    let mut bound = Bound::new(rules, 2);
                    let _first = bound.bind(&plain(first)).unwrap();
                    assert_eq!(bound.bind(&plain(second)).is_ok(), both, "{first:?} {second:?} {rules:?}");
                    assert!(bound.bind(&Bind { port: 81, ..plain(first) }).is_ok() || both, "table of two");
                }
            }
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert_eq!(Address::new(mapped, false), A);
        assert_eq!(Address::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), true), ONLY);
    }

    #[test]
    fn sockets_bound_to_different_devices_do_not_meet() {
        let on = |device| Bind { device, ..plain(A) };
        let (eth0, eth1) = (PortId::new(0), PortId::new(1));
        let mut bound = tcp();
        let _first = bound.bind(&on(eth0)).unwrap();
        assert_eq!(bound.bind(&on(eth0)), Err(BindError::InUse));
        assert_eq!(bound.bind(&on(None)), Err(BindError::InUse));
        assert!(bound.bind(&on(eth1)).is_ok());
    }

    #[test]
    fn with_reuseaddr_two_tcp_sockets_bind_and_one_listens() {
        let reuse = Bind { reuse_address: true, ..plain(A) };
        let mut bound = tcp();
        let first = bound.bind(&reuse).unwrap();
        let second = bound.bind(&reuse).unwrap();
        assert_eq!(bound.bind(&plain(A)), Err(BindError::InUse), "both must have set it");
        let first = bound.listen(first).unwrap();
        let Err((second, BindError::InUse)) = bound.listen(second) else { panic!("two listen") };
        assert_eq!(bound.bind(&reuse), Err(BindError::InUse));
        bound.release(first);
        let second = bound.listen(second).unwrap();
        bound.release(second);
        assert!(bound.is_free(&plain(A)));
    }

    #[test]
    fn a_server_with_reuseaddr_starts_again_while_its_old_connections_live() {
        let listener = |reuse_address| Bind { reuse_address, ..plain(Address::AnyV4) };
        for reuse in [false, true] {
            let mut bound = tcp();
            let id = bound.bind(&listener(reuse)).unwrap();
            let id = bound.listen(id).unwrap();
            let child = bound.inherit(&id, A).unwrap();
            let closing = bound.inherit(&id, A).unwrap();
            let closing = bound.time_wait(closing);
            bound.release(id);
            assert_eq!(bound.bind(&listener(reuse)).is_ok(), reuse);
            assert!(!bound.is_free(&listener(reuse)));
            bound.release(child);
            bound.release(closing);
        }
    }

    #[test]
    fn reuseport_shares_among_the_sockets_of_one_user_and_with_time_wait() {
        for rules in [Rules::Tcp, Rules::Udp] {
            let of = |user| Bind { reuse_port: true, user, ..plain(A) };
            let mut bound = Bound::new(rules, 100);
            let first = bound.bind(&of(1)).unwrap();
            let first = bound.listen(first).unwrap();
            let second = bound.bind(&of(1)).unwrap();
            let second = bound.listen(second).unwrap();
            assert_eq!(bound.bind(&of(2)), Err(BindError::InUse));
            let gone = bound.inherit(&first, A).unwrap();
            bound.release(first);
            bound.release(second);
            let gone = bound.time_wait(gone);
            assert!(bound.bind(&of(2)).is_ok());
            bound.release(gone);
        }
    }

    #[test]
    fn two_udp_sockets_with_reuseaddr_share_a_port() {
        let mut bound = Bound::new(Rules::Udp, 4);
        let reuse = Bind { reuse_address: true, ..plain(Address::AnyV4) };
        let _first = bound.bind(&reuse).unwrap();
        assert!(bound.bind(&reuse).is_ok());
        assert!(!bound.is_free(&reuse), "but none is chosen that somebody holds");
    }

    #[test]
    fn connect_shares_ports_that_connect_chose() {
        let mut bound = tcp();
        assert!(bound.is_free_to_connect(80));
        let automatic = Bind { automatic: true, ..plain(A) };
        let _connected = bound.bind(&automatic).unwrap();
        assert!(bound.is_free_to_connect(80));
        assert_eq!(bound.bind(&plain(A)), Err(BindError::InUse));
        let named = bound.bind(&plain(B)).unwrap();
        assert!(!bound.is_free_to_connect(80));
        bound.release(named);
        assert!(bound.is_free_to_connect(80));
    }

    #[test]
    fn a_full_table_refuses_and_takes_nothing_away() {
        let mut bound = Bound::new(Rules::Tcp, 1);
        let first = bound.bind(&plain(A)).unwrap();
        assert_eq!(bound.bind(&plain(B)), Err(BindError::Full));
        let child = bound.inherit(&first, A).unwrap();
        let child = bound.time_wait(child);
        assert_eq!(bound.get(&child), Some(plain(A)));
        bound.release(child);
        let first = bound.listen(first).unwrap();
        bound.release(first);
        assert!(bound.bind(&plain(B)).is_ok());
    }

    fn any_bind() -> impl Strategy<Value = Bind> {
        let address = prop_oneof![Just(Address::AnyV4), Just(DUAL), Just(ONLY), Just(A), Just(B), Just(V6)];
        (address, 80u16..82, any::<[bool; 3]>(), 0u32..2).prop_map(|(address, port, flags, user)| Bind {
            address,
            port,
            device: None,
            reuse_address: flags[0],
            reuse_port: flags[1],
            user,
            automatic: flags[2],
        })
    }

    proptest! {
        /// The model is a plain list of everybody.
        #[test]
        fn it_does_what_a_list_of_all_holders_does(steps in proptest::collection::vec((0u8..6, any_bind(), any::<usize>()), 1..80)) {
            let mut bound = Bound::new(Rules::Tcp, 1000);
            let mut model: Vec<(Bind, State, BindId)> = Vec::new();
            for (kind, bind, pick) in steps {
                let allowed = |model: &[(Bind, State, BindId)], new: &Bind| model.iter().all(|(old, state, _)| {
                    let old = Holder { bind: *old, state: *state, count: 1, next: 0 };
                    new.port != old.bind.port || !meet(new, &old.bind) || share(Rules::Tcp, new, &old)
                });
                if kind < 3 || model.is_empty() {
                    let expected = allowed(&model, &bind);
                    let result = bound.bind(&bind);
                    prop_assert_eq!(result.is_ok(), expected);
                    model.extend(result.ok().map(|id| (bind, State::Bound, id)));
                } else {
                    let (old, state, id) = model.swap_remove(pick % model.len());
                    prop_assert_eq!(bound.get(&id), Some(old));
                    match kind {
                        3 => bound.release(id),
                        4 => model.push((old, State::TimeWait, bound.time_wait(id))),
                        _ => {
                            let expected = allowed(&model, &old);
                            match bound.listen(id) {
                                Ok(id) => {
                                    prop_assert!(expected);
                                    model.push((old, State::Listening, id));
                                }
                                Err((id, _)) => {
                                    prop_assert!(!expected);
                                    model.push((old, state, id));
                                }
                            }
                        }
                    }
                }
                prop_assert_eq!(bound.is_free(&bind), model.iter().all(|(old, ..)| old.port != bind.port || !meet(&bind, old)));
                let connect = model.iter().all(|(old, ..)| old.port != bind.port || old.automatic);
                prop_assert_eq!(bound.is_free_to_connect(bind.port), connect);
            }
            for (_, _, id) in model {
                bound.release(id);
            }
            prop_assert!(bound.ports.get().iter().all(|&head| head == 0));
        }

        /// Several workers, each with the ports that live there, decide as one table would: whoever asks where the port lives.
        #[test]
        fn workers_together_do_what_one_table_does(
            rules in prop_oneof![Just(Rules::Tcp), Just(Rules::Udp)],
            steps in proptest::collection::vec((0u8..4, any_bind(), any::<usize>()), 1..80),
        ) {
            use crate::socket::homes::{Home, PortHomes};
            let table = std::sync::Arc::new(PortHomes::default());
            let mut one = Bound::new(rules, 1000);
            let mut workers: Vec<Bound> = (0..2)
                .map(|number| {
                    let mut bound = Bound::new(rules, 1000);
                    bound.set_home(Home::new(table.clone(), number, 2).unwrap());
                    bound
                })
                .collect();
            let mut held: Vec<(usize, BindId, BindId)> = Vec::new();
            for (kind, bind, pick) in steps {
                let home = usize::from(bind.port % 2);
                match kind {
                    0 | 1 => {
                        prop_assert_eq!(workers[1 - home].bind(&bind), Err(BindError::Elsewhere));
                        match (one.bind(&bind), workers[home].bind(&bind)) {
                            (Ok(a), Ok(b)) => held.push((home, a, b)),
                            (a, b) => prop_assert_eq!(a.err(), b.err()),
                        }
                        prop_assert_eq!(workers[1 - home].elsewhere(bind.port).is_some(), true);
                        prop_assert_eq!(workers[home].elsewhere(bind.port), None);
                    }
                    _ if held.is_empty() => {}
                    2 => {
                        let (home, a, b) = held.swap_remove(pick % held.len());
                        one.release(a);
                        workers[home].release(b);
                    }
                    _ => {
                        let (home, a, b) = held.swap_remove(pick % held.len());
                        match (one.listen(a), workers[home].listen(b)) {
                            (Ok(a), Ok(b)) => held.push((home, a, b)),
                            (Err((a, why)), Err((b, same))) => {
                                prop_assert_eq!(why, same);
                                held.push((home, a, b));
                            }
                            (a, b) => prop_assert!(false, "{a:?} {b:?}"),
                        }
                    }
                }
                let free = (0..2).filter(|worker| workers[*worker].is_free(&bind)).count();
                prop_assert_eq!(free, usize::from(one.is_free(&bind)), "one worker may choose it, or none");
            }
        }
    }
}
