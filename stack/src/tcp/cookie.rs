//! SYN cookies (RFC 4987 section 3.6; Bernstein, 1996): a handshake that costs us no memory until it is
//! complete.
//!
//! The initial sequence number of the SYN-ACK carries what we need to know when the ACK comes back, and a
//! keyed hash that only we can make:
//!
//! ```text
//!   iss = H0(names) + irs + | minute (8 bits) | H1(names, irs, minute) + size (24 bits) |
//!
//!   iss - H0 - irs  gives back the minute, and with it the size, which must be a place in the table of sizes
//! ```
//! H1 covers irs too (in Linux it does not): else the numbers next to a cookie would be cookies for other
//! sizes. A cookie counts in its minute and the next. A guess is right with a chance of 8 (sizes × minutes)
//! in 2^32; and cookies are looked at only for two minutes after the listener's queue overflowed.
//!
//! Options other than the MSS would be lost. If the peer sends timestamps, the low six bits of ours carry
//! them, as in Linux: the clock is set back by at most 64 ms for it, and never forward.
//!
//! ```text
//!   | clock (26 bits) | ecn | sack | window shift (4 bits; 15: none) |
//! ```

use super::Seq;
use super::secret::{Purpose, Secret};
use super::tuple::Tuple;
use crate::Instant;
use core::time::Duration;

/// Sizes that a cookie can carry, smallest first: the MSS that hosts really send (536 and 1220 are the
/// defaults).
const SIZES_IPV4: [u16; 4] = [536, 1300, 1440, 1460];
/// The same for IPv6: minimum MTU, tunnels, Ethernet, jumbo frames.
const SIZES_IPV6: [u16; 4] = [1220, 1420, 1440, 8940];
/// Minutes for which a cookie is good, the one it was made in included.
const MAX_AGE: u32 = 2;
/// How long after an overflow cookies are looked for in ACKs.
pub const VALID_AFTER_OVERFLOW: Duration = Duration::from_secs(60 * MAX_AGE as u64);

const BITS: u32 = 24;
const MASK: u32 = (1 << BITS) - 1;

/// Makes and reads cookies. Workers share the key: the ACK may come to another one.
#[derive(Debug, Clone, Copy)]
pub struct SynCookies {
    secret: Secret,
}

impl SynCookies {
    /// With a secret key.
    pub const fn new(secret: Secret) -> SynCookies {
        SynCookies { secret }
    }

    /// The sequence number of the SYN-ACK to a SYN with number `irs` and that MSS; and the MSS that it
    /// carries: the largest of the table that is not above it (the smallest of the table if all are).
    pub fn make(&self, tuple: &Tuple, irs: Seq, mss: u16, now: Instant) -> (Seq, u16) {
        let sizes = sizes(tuple);
        let place = sizes.iter().rposition(|&size| size <= mss).unwrap_or(0);
        let minute = minute(now);
        let low = self.mac(tuple, irs, minute).wrapping_add(place as u32) & MASK;
        let iss = self.base(tuple).wrapping_add(irs.0).wrapping_add(minute << BITS).wrapping_add(low);
        (Seq(iss), sizes[place])
    }

    /// The MSS that the cookie `iss` carries, if we made it for these names and `irs` in this minute or the
    /// last.
    pub fn read(&self, tuple: &Tuple, irs: Seq, iss: Seq, now: Instant) -> Option<u16> {
        let plain = iss.0.wrapping_sub(self.base(tuple)).wrapping_sub(irs.0);
        let age = minute(now).wrapping_sub(plain >> BITS) & (u32::MAX >> BITS);
        if age >= MAX_AGE {
            return None;
        }
        let place = plain.wrapping_sub(self.mac(tuple, irs, minute(now).wrapping_sub(age))) & MASK;
        sizes(tuple).get(place as usize).copied()
    }

    fn base(&self, tuple: &Tuple) -> u32 {
        self.secret.mix(Purpose::CookieBase, &tuple.words()) as u32
    }

    fn mac(&self, tuple: &Tuple, irs: Seq, minute: u32) -> u32 {
        let [a, b, c, d, e] = tuple.words();
        self.secret.mix(Purpose::CookieMac, &[a, b, c, d, e, u64::from(irs.0) << 32 | u64::from(minute)])
            as u32
    }
}

const fn sizes(tuple: &Tuple) -> &'static [u16; 4] {
    if tuple.is_ipv4() { &SIZES_IPV4 } else { &SIZES_IPV6 }
}

const fn minute(now: Instant) -> u32 {
    (now.nanos() / 60_000_000_000) as u32
}

/// What our timestamp remembers of the SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieOptions {
    /// The shift of the peer's windows (0 to 14), when it sent the option.
    pub scale: Option<u8>,
    /// SACK permitted.
    pub sack: bool,
    /// ECN was asked for and agreed.
    pub ecn: bool,
}

const NO_SCALE: u32 = 0xf;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;
const OPTIONS: u32 = 0x3f;

impl CookieOptions {
    /// The timestamp, from the clock of [`super::isn::timestamp_clock`], that carries them: at most the
    /// clock. The connection's offset is yet to be added.
    pub const fn timestamp(self, clock: u32) -> u32 {
        let scale = match self.scale {
            Some(shift) if shift < 15 => shift as u32,
            _ => NO_SCALE,
        };
        let bits = scale | if self.sack { SACK } else { 0 } | if self.ecn { ECN } else { 0 };
        let stamp = clock & !OPTIONS | bits;
        if stamp & OPTIONS > clock & OPTIONS { stamp.wrapping_sub(OPTIONS + 1) } else { stamp }
    }

    /// What an echo carries, the connection's offset taken off.
    pub const fn from_echo(echo: u32) -> CookieOptions {
        let scale = if echo & NO_SCALE == NO_SCALE { None } else { Some((echo & NO_SCALE) as u8) };
        CookieOptions { scale, sack: echo & SACK != 0, ecn: echo & ECN != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    const COOKIES: SynCookies = SynCookies::new(Secret::new([7, 8]));

    fn tuple(remote: u128, port: u16, six: bool) -> Tuple {
        let (local, remote): (IpAddr, IpAddr) = if six {
            (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::from_bits(0x2001_0db8 << 96 | remote >> 32).into())
        } else {
            (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::from_bits(remote as u32).into())
        };
        Tuple::new((local, 80), (remote, port))
    }

    proptest! {
        #[test]
        fn a_cookie_comes_back_as_the_largest_size_that_fits_for_one_to_two_minutes(
            remote: u128, port: u16, six: bool, irs: u32, mss: u16, made in 0u64..1 << 56,
        ) {
            let (tuple, irs, now) = (tuple(remote, port, six), Seq(irs), Instant::from_nanos(made));
            let (iss, size) = COOKIES.make(&tuple, irs, mss, now);
            let fits = sizes(&tuple).iter().copied().filter(|&size| size <= mss).max();
            prop_assert_eq!(size, fits.unwrap_or(sizes(&tuple)[0]));
            prop_assert_eq!(COOKIES.read(&tuple, irs, iss, now), Some(size));
            let end = (made / 60_000_000_000 + 2) * 60_000_000_000;
            prop_assert_eq!(COOKIES.read(&tuple, irs, iss, Instant::from_nanos(end - 1)), Some(size));
            prop_assert_eq!(COOKIES.read(&tuple, irs, iss, Instant::from_nanos(end)), None);
        }

        #[test]
        fn every_set_of_options_comes_back_from_the_timestamp_which_is_never_ahead(
            scale in prop::option::of(0u8..15), sack: bool, ecn: bool, clock: u32,
        ) {
            let options = CookieOptions { scale, sack, ecn };
            let stamp = options.timestamp(clock);
            prop_assert_eq!(CookieOptions::from_echo(stamp), options);
            prop_assert!(clock.wrapping_sub(stamp) < 64);
        }
    }

    #[test]
    fn guesses_and_cookies_of_others_are_refused() {
        let (now, irs) = (Instant::from_millis(600_000), Seq(1000));
        let mine = tuple(1, 1, false);
        let (iss, _) = COOKIES.make(&mine, irs, 1460, now);
        let others = (2..2000).filter(|&port| COOKIES.read(&tuple(1, port, false), irs, iss, now).is_some());
        assert_eq!(others.count(), 0);
        // Numbers that walk through the whole space hit with a chance of 8 in 2^32 each.
        let hits = (0..100_000u32).filter(|n| COOKIES.read(&mine, irs, Seq(n * 42_949), now).is_some());
        assert!(hits.count() <= 1);
        assert_eq!(COOKIES.read(&mine, Seq(1001), iss, now), None, "with another number of the SYN's");
        let other_key = SynCookies::new(Secret::new([7, 9]));
        assert_eq!(other_key.read(&mine, irs, iss, now), None);
    }

    #[test]
    fn a_cookie_from_the_future_is_refused() {
        let (iss, _) = COOKIES.make(&tuple(1, 1, false), Seq(1), 1460, Instant::from_millis(120_000));
        assert_eq!(COOKIES.read(&tuple(1, 1, false), Seq(1), iss, Instant::from_millis(60_000)), None);
    }
}
