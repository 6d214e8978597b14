//! The MD5 signature option (RFC 2385): MD5 over pseudo-header, fixed header without checksum, data, key.
//!
//! The options are not covered; the key comes last. That is weak by today's measure (RFC 5925 obsoletes it),
//! but it keeps blind resets away from sessions with old routers, which is all that it was ever for.

use super::segment::Signed;
use crate::limits::MAX_MD5_KEY;
use arrayvec::ArrayVec;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// A key of 1 to [`MAX_MD5_KEY`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(ArrayVec<u8, MAX_MD5_KEY>);

impl Md5Key {
    /// The key; `None` when it is empty or too long.
    pub fn new(key: &[u8]) -> Option<Md5Key> {
        if key.is_empty() {
            return None;
        }
        ArrayVec::try_from(key).ok().map(Md5Key)
    }

    /// The signature of a segment.
    pub fn sign(&self, segment: &Signed<'_>) -> [u8; 16] {
        let mut digest = Md5::new();
        segment.feed_pseudo_header(|bytes| digest.update(bytes));
        segment.feed_fixed_header(|bytes| digest.update(bytes));
        segment.feed_data(|bytes| digest.update(bytes));
        digest.update(&self.0);
        digest.finalize().into()
    }

    /// True when `signature` is that of the segment; takes equally long either way.
    pub fn verify(&self, segment: &Signed<'_>, signature: &[u8; 16]) -> bool {
        self.sign(segment).ct_eq(signature).into()
    }
}

impl core::fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Md5Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: [u8; 20] =
        [0x1f, 0x90, 0, 179, 1, 2, 3, 4, 5, 6, 7, 8, 0xa0, 0x18, 0x10, 0, 0xde, 0xad, 0, 0];

    /// What RFC 2385 section 2.0 lists, put into one string by hand.
    fn by_the_book(pseudo: &[u8], header: &[u8; 20], data: &[u8], key: &[u8]) -> [u8; 16] {
        let mut header = *header;
        header[16..18].fill(0);
        Md5::digest([pseudo, &header[..], data, key].concat()).into()
    }

    #[test]
    fn the_digest_is_the_md5_of_rfc_1321() {
        let known = Md5::digest(b"message digest");
        assert_eq!(known[..4], [0xf9, 0x6b, 0x69, 0x7d]);
    }

    #[test]
    fn a_signature_covers_what_rfc_2385_lists_in_both_families() {
        let key = Md5Key::new(b"secret").unwrap();
        let v4 = Signed {
            source: [192, 0, 2, 1].into(),
            destination: [192, 0, 2, 2].into(),
            header: &HEADER,
            data: &[b"OPEN"],
        };
        let pseudo = [192, 0, 2, 1, 192, 0, 2, 2, 0, 6, 0, 24];
        assert_eq!(key.sign(&v4), by_the_book(&pseudo, &HEADER, b"OPEN", b"secret"));
        let v6 = Signed {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            ..v4
        };
        let mut pseudo = vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        pseudo.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 24, 0, 0, 0, 6]);
        assert_eq!(key.sign(&v6), by_the_book(&pseudo, &HEADER, b"OPEN", b"secret"));
    }

    #[test]
    fn keys_have_1_to_80_bytes() {
        assert!(Md5Key::new(&[]).is_none());
        assert!(Md5Key::new(&[1; MAX_MD5_KEY]).is_some());
        assert!(Md5Key::new(&[1; MAX_MD5_KEY + 1]).is_none());
        assert_eq!(format!("{:?}", Md5Key::new(b"x").unwrap()), "Md5Key");
    }

    proptest! {
        #[test]
        fn one_changed_bit_of_header_or_data_is_noticed_and_pieces_do_not_matter(
            data in prop::collection::vec(any::<u8>(), 1..100), cut in any::<prop::sample::Index>(),
            bit in 0usize..8, at in any::<prop::sample::Index>(),
        ) {
            let key = Md5Key::new(b"k").unwrap();
            let whole = Signed {
                source: [1, 1, 1, 1].into(), destination: [2, 2, 2, 2].into(), header: &HEADER, data: &[&data],
            };
            let signature = key.sign(&whole);
            let (a, b) = data.split_at(cut.index(data.len()));
            let pieces = Signed { data: &[a, b], ..whole };
            prop_assert!(key.verify(&pieces, &signature));
            let mut changed = data.clone();
            changed[at.index(data.len())] ^= 1 << bit;
            let forged = Signed { data: &[&changed], ..whole };
            prop_assert!(!key.verify(&forged, &signature));
            let mut header = HEADER;
            header[at.index(16)] ^= 1 << bit;
            let forged = Signed { header: &header, ..whole };
            prop_assert!(!key.verify(&forged, &signature));
            prop_assert!(!Md5Key::new(b"j").unwrap().verify(&whole, &signature));
        }
    }
}
