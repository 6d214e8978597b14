//! A keyed function whose results nobody can foretell who does not know the key: SipHash-2-4 (Aumasson and
//! Bernstein, 2012). Sequence numbers, cookies and limits that peers see are made with it; tables that only
//! we see use the faster [`crate::hash`].
//!
//! One key serves all purposes: each names itself in the first word, so that what one shows tells nothing
//! about another.

use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// What a value is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    SequenceNumber = 1,
    TimestampOffset,
    CookieBase,
    CookieMac,
    ChallengeBudget,
}

/// 128 secret bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u64; 2]);

impl Secret {
    /// A key of 128 random bits, which the caller takes from the system.
    pub const fn new(random: [u64; 2]) -> Secret {
        Secret(random)
    }

    /// A key as `net.ipv4.tcp_fastopen_key` writes it: four groups of up to eight hexadecimal digits with dashes between
    /// them. `None` when it is none.
    pub fn parse(text: &str) -> Option<Secret> {
        let mut groups = text.split('-').map(|group| {
            let digits = (1..=8).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(group, 16).ok()).flatten()
        });
        let mut word = || Some(groups.next()?? | groups.next()?? << 32);
        let secret = Secret([word()?, word()?]);
        groups.next().is_none().then_some(secret)
    }

    /// 64 bits that depend on all of `bytes`. For keys that serve no other purpose.
    pub(crate) fn of_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0[0], self.0[1]);
        hasher.write(bytes);
        hasher.finish()
    }

    /// 64 bits that depend on all of `words`.
    pub(crate) fn mix(&self, purpose: Purpose, words: &[u64]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0[0], self.0[1]);
        hasher.write_u64(purpose as u64);
        for word in words {
            hasher.write_u64(*word);
        }
        hasher.finish()
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_purpose_and_each_word_matter_and_the_key_is_not_shown() {
        let secret = Secret::new([1, 2]);
        let base = secret.mix(Purpose::CookieMac, &[1, 2, 3]);
        assert_eq!(base, secret.mix(Purpose::CookieMac, &[1, 2, 3]));
        assert_ne!(base, secret.mix(Purpose::CookieBase, &[1, 2, 3]));
        assert_ne!(base, secret.mix(Purpose::CookieMac, &[1, 3, 2]));
        assert_ne!(base, Secret::new([1, 3]).mix(Purpose::CookieMac, &[1, 2, 3]));
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn a_key_is_four_groups_of_hexadecimal_digits() {
        let key = Secret::parse("1-2-a-FFFFFFFF").unwrap();
        assert!(key == Secret::new([0x2_0000_0001, 0xffff_ffff_0000_000a]));
        for wrong in ["", "1-2-3", "1-2-3-4-5", "1-2-3-g", "1-2-3-+4", "1-2-3-123456789", "1--3-4"] {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
        }
    }
}
