//! TCP Fast Open (RFC 7413): data in the SYN, from a client that has shown before that it is where it says.
//!
//! ```text
//!   first time     SYN, cookie? ──>          <── SYN-ACK, cookie          ... an ordinary handshake
//!   next times     SYN, cookie, data ──>     <── SYN-ACK of all of it     ... the service may answer already
//! ```
//! Three parts: [`FastOpenKeys`] makes and checks the server's cookies, [`FastOpenQueue`] limits what one
//! listener lets in before its handshake is complete (section 5.1), and [`FastOpenCache`] is the client's
//! memory of cookies, and of servers to which SYNs with data got lost (section 4.1.3).

use super::secret::Secret;
use super::tuple::{Tuple, mapped};
use crate::Instant;
use crate::hash::hash2;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use std::collections::VecDeque;

/// Bytes of the cookies that we make (RFC 7413 section 4.1.1 allows 4 to 16).
const OUR_LEN: u8 = 8;

/// A cookie: 4 to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    bytes: [u8; 16],
    len: u8,
}

impl Cookie {
    /// The cookie with these bytes; `None` when they are fewer than 4 or more than 16.
    pub fn new(bytes: &[u8]) -> Option<Cookie> {
        if !(4..=16).contains(&bytes.len()) {
            return None;
        }
        let mut cookie = Cookie { bytes: [0; 16], len: bytes.len() as u8 };
        cookie.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(cookie)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl core::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Cookie({:02x?})", self.as_bytes())
    }
}

/// What a client's cookie is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieCheck {
    /// We made it.
    Good,
    /// We made it with the key before: let it pass, and send a new one.
    Old,
    /// We did not.
    Bad,
}

/// The keys of a server's cookies. Servers behind one address share them (Linux: TCP_FASTOPEN_KEY).
#[derive(Debug, Clone, Copy)]
pub struct FastOpenKeys {
    primary: Secret,
    backup: Option<Secret>,
}

impl FastOpenKeys {
    /// `primary` makes cookies; those of `backup` are still good.
    pub const fn new(primary: Secret, backup: Option<Secret>) -> FastOpenKeys {
        FastOpenKeys { primary, backup }
    }

    /// Makes `next` the key; the one in use stays good until the next change.
    pub fn rotate(&mut self, next: Secret) {
        self.backup = Some(core::mem::replace(&mut self.primary, next));
    }

    /// The cookie of a client: of its address and ours, not of ports.
    pub fn make(&self, tuple: &Tuple) -> Cookie {
        cookie_of(&self.primary, tuple)
    }

    /// What `cookie` is worth, coming from this client.
    pub fn check(&self, tuple: &Tuple, cookie: &Cookie) -> CookieCheck {
        use subtle::ConstantTimeEq;
        let is = |secret: &Secret| bool::from(cookie_of(secret, tuple).as_bytes().ct_eq(cookie.as_bytes()));
        if is(&self.primary) {
            CookieCheck::Good
        } else if self.backup.as_ref().is_some_and(is) {
            CookieCheck::Old
        } else {
            CookieCheck::Bad
        }
    }
}

/// As Linux makes it, so that servers of both kinds behind one address can share a key: the client's address, then ours,
/// as they stand in the packet.
fn cookie_of(secret: &Secret, tuple: &Tuple) -> Cookie {
    let mut bytes = [0; 16];
    let value = match (tuple.remote_ip(), tuple.local_ip()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            secret.of_bytes([client.octets(), server.octets()].as_flattened())
        }
        (client, server) => {
            secret.of_bytes([mapped(client).octets(), mapped(server).octets()].as_flattened())
        }
    };
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    Cookie { bytes, len: OUR_LEN }
}

/// How long a connection that the client reset counts against the limit (RFC 7413 section 5.1: else somebody
/// with stolen cookies could have as many as he can reset).
pub const RESET_PENALTY: Duration = Duration::from_secs(60);

/// Connections of one listener that were opened by their SYN and whose handshake is not complete.
#[derive(Debug)]
pub struct FastOpenQueue {
    max: usize,
    pending: usize,
    /// Ends of the penalties for resets, earliest first. They are among the pending ones.
    penalties: VecDeque<Instant>,
}

impl FastOpenQueue {
    /// At most `max` at a time; 0 turns fast open off.
    pub fn new(max: usize) -> FastOpenQueue {
        FastOpenQueue { max, pending: 0, penalties: VecDeque::with_capacity(max) }
    }

    /// The limit.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Changes the limit; those that are open stay.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
        self.penalties.reserve(max.saturating_sub(self.penalties.len()));
    }

    /// Those that count now.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// True when one more may be opened; does not count it yet.
    pub fn has_room(&mut self, now: Instant) -> bool {
        if self.pending >= self.max && self.penalties.front().is_some_and(|&end| end <= now) {
            self.penalties.pop_front();
            self.pending -= 1;
        }
        self.pending < self.max
    }

    /// One was opened.
    pub fn opened(&mut self) {
        self.pending += 1;
    }

    /// The handshake of one is complete, or it ended by itself.
    pub fn finished(&mut self) {
        self.pending = self.pending.saturating_sub(1).max(self.penalties.len());
    }

    /// The client reset one before its handshake was complete.
    pub fn was_reset(&mut self, now: Instant) {
        if self.penalties.len() < self.pending.min(self.max) {
            self.penalties.push_back(now + RESET_PENALTY);
        }
    }
}

const WAYS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Known {
    destination: Ipv6Addr,
    cookie: Option<Cookie>,
    mss: u16,
    losses: u8,
    last_loss: Instant,
    /// [`Instant::NEVER`] for an empty place.
    touched: Instant,
}

const UNKNOWN: Known = Known {
    destination: Ipv6Addr::UNSPECIFIED,
    cookie: None,
    mss: 0,
    losses: 0,
    last_loss: Instant::ZERO,
    touched: Instant::NEVER,
};

/// What a client puts into its SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFastOpen {
    /// Nothing: SYNs with data got lost on the way to this server lately.
    Avoid,
    /// An empty option, which asks for a cookie.
    Ask,
    /// The cookie and data; the server's MSS as far as it is known (0: not), which limits them.
    Use(Cookie, u16),
}

/// A client's memory of servers, one for each worker. Bounded, four-way set-associative and keyed.
#[derive(Debug)]
pub struct FastOpenCache {
    sets: Box<[[Known; WAYS]]>,
    key: [u64; 2],
}

impl FastOpenCache {
    /// Room for `entries`, rounded up to four times a power of two. `key` is random.
    pub fn new(entries: usize, key: [u64; 2]) -> FastOpenCache {
        let sets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        FastOpenCache { sets: vec![[UNKNOWN; WAYS]; sets].into_boxed_slice(), key }
    }

    /// What to put into a SYN to `server`.
    pub fn on_connect(&self, server: IpAddr, now: Instant) -> ClientFastOpen {
        let server = mapped(server);
        let Some(known) = self.sets[self.set(server)].iter().find(|known| known.is_for(server)) else {
            return ClientFastOpen::Ask;
        };
        // One loss may be chance. From the second on the path is left alone for 4, 8, 16 ... minutes.
        let pause = Duration::from_secs(60 << known.losses.min(10));
        if known.losses > 1 && now.since(known.last_loss) < pause {
            return ClientFastOpen::Avoid;
        }
        match known.cookie {
            Some(cookie) => ClientFastOpen::Use(cookie, known.mss),
            None => ClientFastOpen::Ask,
        }
    }

    /// The server's SYN-ACK came: with a cookie, if it sent one, and its MSS. `data_lost`: a SYN with data
    /// had to be sent again without them before it was answered.
    pub fn on_syn_ack(
        &mut self,
        server: IpAddr,
        cookie: Option<Cookie>,
        mss: u16,
        data_lost: bool,
        now: Instant,
    ) {
        if cookie.is_none() && !data_lost && !self.knows(server) {
            return; // a server without fast open takes nobody's place
        }
        let known = self.entry(server, now);
        known.mss = mss;
        if cookie.is_some() {
            known.cookie = cookie;
        }
        if data_lost {
            known.losses = known.losses.saturating_add(1);
            known.last_loss = now;
        } else {
            known.losses = 0;
        }
    }

    /// Forgets the cookie of a server (one that it did not accept stays until a new one comes; this is for
    /// whoever administers us).
    pub fn forget(&mut self, server: IpAddr) {
        let server = mapped(server);
        let set = self.set(server);
        if let Some(known) = self.sets[set].iter_mut().find(|known| known.is_for(server)) {
            *known = UNKNOWN;
        }
    }

    fn knows(&self, server: IpAddr) -> bool {
        let server = mapped(server);
        self.sets[self.set(server)].iter().any(|known| known.is_for(server))
    }

    fn entry(&mut self, server: IpAddr, now: Instant) -> &mut Known {
        let server = mapped(server);
        let set = self.set(server);
        let set = &mut self.sets[set];
        let way = set.iter().position(|known| known.is_for(server)).unwrap_or_else(|| {
            let age = |way: &usize| match set[*way].touched {
                Instant::NEVER => Instant::ZERO,
                touched => touched,
            };
            let way = (0..WAYS).min_by_key(age).unwrap_or(0);
            set[way] = Known { destination: server, ..UNKNOWN };
            way
        });
        set[way].touched = now;
        &mut set[way]
    }

    fn set(&self, server: Ipv6Addr) -> usize {
        let bits = server.to_bits();
        hash2(bits as u64, (bits >> 64) as u64, self.key) as usize & (self.sets.len() - 1)
    }
}

impl Known {
    fn is_for(&self, server: Ipv6Addr) -> bool {
        self.touched != Instant::NEVER && self.destination == server
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn tuple(remote: u32, port: u16) -> Tuple {
        Tuple::new((Ipv4Addr::LOCALHOST.into(), 80), (Ipv4Addr::from_bits(remote).into(), port))
    }

    fn server(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_cookie_is_good_for_its_client_whatever_the_port_and_for_nobody_else() {
        let keys = FastOpenKeys::new(Secret::new([1, 1]), None);
        let cookie = keys.make(&tuple(1, 1));
        assert_eq!(cookie.as_bytes().len(), 8);
        assert_eq!(keys.check(&tuple(1, 2), &cookie), CookieCheck::Good);
        assert_eq!(keys.check(&tuple(2, 1), &cookie), CookieCheck::Bad);
        for at in 0..8 {
            let mut bytes = cookie.bytes;
            bytes[at] ^= 1;
            let forged = Cookie::new(&bytes[..8]).unwrap();
            assert_eq!(keys.check(&tuple(1, 1), &forged), CookieCheck::Bad);
        }
        let short = Cookie::new(&cookie.as_bytes()[..4]).unwrap();
        assert_eq!(keys.check(&tuple(1, 1), &short), CookieCheck::Bad);
        assert_eq!((Cookie::new(&[0; 3]), Cookie::new(&[0; 17])), (None, None));
    }

    /// What Linux 6.18 answers with `net.ipv4.tcp_fastopen_key` at this value.
    #[test]
    fn cookies_are_those_of_linux_with_the_same_key() {
        let secret = Secret::parse("a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4").unwrap();
        let keys = FastOpenKeys::new(secret, None);
        let cookie = |server: &str, client: &str| {
            let tuple = Tuple::new((server.parse().unwrap(), 8080), (client.parse().unwrap(), 40_000));
            u64::from_be_bytes(keys.make(&tuple).as_bytes().try_into().unwrap())
        };
        assert_eq!(cookie("192.168.0.1", "192.0.2.1"), 0x3021_b9d8_8901_7eeb);
        assert_eq!(cookie("fd3d:a0b:17d6::1", "fd3d:fa7b:d17d::1"), 0xc1d1_e974_2a47_a9bc);
    }

    #[test]
    fn a_cookie_outlives_one_change_of_keys_and_not_two() {
        let mut keys = FastOpenKeys::new(Secret::new([1, 1]), None);
        let cookie = keys.make(&tuple(1, 1));
        keys.rotate(Secret::new([2, 2]));
        assert_eq!(keys.check(&tuple(1, 1), &cookie), CookieCheck::Old);
        assert_eq!(keys.check(&tuple(1, 1), &keys.make(&tuple(1, 1))), CookieCheck::Good);
        keys.rotate(Secret::new([3, 3]));
        assert_eq!(keys.check(&tuple(1, 1), &cookie), CookieCheck::Bad);
    }

    #[test]
    fn the_queue_is_full_at_its_limit_and_resets_count_for_a_minute() {
        let mut queue = FastOpenQueue::new(2);
        assert!(queue.has_room(at(0)));
        queue.opened();
        queue.opened();
        assert!(!queue.has_room(at(0)));
        queue.finished();
        assert!(queue.has_room(at(0)));
        queue.was_reset(at(0));
        queue.opened();
        assert!(!queue.has_room(at(59)));
        assert!(queue.has_room(at(60)));
        assert_eq!(queue.pending(), 1);
        assert!(!FastOpenQueue::new(0).has_room(at(0)));
    }

    #[test]
    fn a_client_asks_then_uses_and_stops_where_data_get_lost() {
        let mut cache = FastOpenCache::new(16, [1, 2]);
        let cookie = Cookie::new(&[1, 2, 3, 4]).unwrap();
        assert_eq!(cache.on_connect(server(1), at(0)), ClientFastOpen::Ask);
        cache.on_syn_ack(server(1), Some(cookie), 1460, false, at(0));
        assert_eq!(cache.on_connect(server(1), at(1)), ClientFastOpen::Use(cookie, 1460));
        cache.on_syn_ack(server(1), None, 1400, true, at(10));
        assert_eq!(cache.on_connect(server(1), at(11)), ClientFastOpen::Use(cookie, 1400));
        cache.on_syn_ack(server(1), None, 1400, true, at(20));
        assert_eq!(cache.on_connect(server(1), at(259)), ClientFastOpen::Avoid);
        assert_eq!(cache.on_connect(server(1), at(260)), ClientFastOpen::Use(cookie, 1400));
        cache.on_syn_ack(server(1), None, 1400, false, at(261));
        assert_eq!(cache.on_connect(server(1), at(262)), ClientFastOpen::Use(cookie, 1400));
        cache.forget(server(1));
        assert_eq!(cache.on_connect(server(1), at(262)), ClientFastOpen::Ask);
    }

    #[test]
    fn servers_without_cookies_take_no_place_and_a_flood_stays_within_the_table() {
        let mut cache = FastOpenCache::new(16, [1, 2]);
        let cookie = Cookie::new(&[9; 16]).unwrap();
        cache.on_syn_ack(server(0), Some(cookie), 1460, false, at(0));
        for number in 1..1000 {
            cache.on_syn_ack(server(number), None, 1460, false, at(1));
        }
        assert_eq!(cache.on_connect(server(0), at(2)), ClientFastOpen::Use(cookie, 1460));
        for number in 1..1000 {
            cache.on_syn_ack(server(number), Some(cookie), 1460, false, at(u64::from(number)));
        }
        let known =
            (0..1000).filter(|&n| cache.on_connect(server(n), at(1000)) != ClientFastOpen::Ask).count();
        assert!(known <= 16, "{known}");
    }
}
