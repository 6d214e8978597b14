//! The Internet checksum: one algebra behind the checks of IPv4, ICMP, UDP and TCP.
//!
//! The checksum is the complement of the *one's complement sum* of the 16-bit words of the data (RFC 1071):
//! an addition where the carry out of the top comes back in at the bottom. That addition does not care how
//! the words are grouped (so 32 or 64 bits are summed at once and folded at the end), nor in which byte
//! order they are read (so words are read as the processor likes them, and the result is swapped once).
//!
//! ```text
//!   bytes ──sum──> Sum (64 bits, carries not yet folded) ──fold──> u16 ──complement──> the field
//!                   + pseudo-header, + other pieces
//! ```
//!
//! Valid data, its checksum field included, sums to 0xffff. Read RFC 1071 (the algebra), RFC 1624 (changing a
//! word without summing again), RFC 768 (why UDP never sends 0), RFC 8200 section 8.1 (IPv6's pseudo-header).
//!
//! Invariants
//! 1. Every `u16`, `u32` and `u128` that goes in or out is the *value* of the big-endian field (what
//!    `u16::from_be_bytes` gives). Only [`Sum`] holds words in the processor's order, and nobody sees inside.
//! 2. A sum is zero only when everything summed was zero; otherwise "zero" appears as 0xffff. A real IP
//!    header is never all zeros, so a stored checksum is 0xffff only where [`Sum::checksum_nonzero`] put it.
//! 3. Pieces of odd length may be joined by [`Checksum`], in order, as if they were contiguous.

use core::net::{Ipv4Addr, Ipv6Addr};

/// The one's complement sum of the bytes; an odd last byte is padded with a zero behind it (RFC 1071
/// section 1). For pieces whose neighbours have odd lengths, use [`Checksum`].
#[inline]
pub fn sum(bytes: &[u8]) -> Sum {
    // Wide blocks first: eight independent lanes, which the compiler turns into vector additions. A lane grows
    // by less than 2^33 a block, so it would take more than 2^31 blocks (128 GiB) to overflow one.
    let (blocks, tail) = bytes.as_chunks::<64>();
    let mut total = 0;
    if !blocks.is_empty() {
        let mut lanes = [0u64; 8];
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                let word = u64::from_ne_bytes(*word);
                *lane += (word & 0xffff_ffff) + (word >> 32);
            }
        }
        for lane in lanes {
            total = add_carry(total, lane);
        }
    }
    Sum(add_carry(total, sum_short(tail)))
}

/// Copies `from` to `to` and sums it in the same pass, so that the bytes are read from memory once: what
/// receiving into a socket's buffer and sending from it do. As many bytes as fit in both; for pieces of odd
/// length see [`Checksum::add_summed`].
#[inline]
pub fn copy_and_sum(to: &mut [u8], from: &[u8]) -> Sum {
    let len = to.len().min(from.len());
    if len <= SHORT {
        return copy_and_sum_short(&mut to[..len], &from[..len]);
    }
    let (to_blocks, to_tail) = to[..len].as_chunks_mut::<64>();
    let (blocks, tail) = from[..len].as_chunks::<64>();
    let mut lanes = [0u64; 8];
    for (block, to) in blocks.iter().zip(to_blocks) {
        *to = *block;
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            let word = u64::from_ne_bytes(*word);
            *lane += (word & 0xffff_ffff) + (word >> 32);
        }
    }
    // Lanes are far from full, so their total needs no carry: below 2^36 a block.
    let total = lanes.iter().fold(0u64, |total, lane| total.wrapping_add(*lane));
    to_tail.copy_from_slice(tail);
    Sum(add_carry(total, sum_short(tail)))
}

/// Bytes up to which a message is copied and summed word by word: adding up the lanes of the wide loop, and a call
/// for what is left, cost more than its words.
const SHORT: usize = 128;

/// [`copy_and_sum`] for a short message; both are equally long.
#[inline]
fn copy_and_sum_short(to: &mut [u8], from: &[u8]) -> Sum {
    let (to_words, to_tail) = to.as_chunks_mut::<8>();
    let (words, tail) = from.as_chunks::<8>();
    // In 128 bits a carry needs no looking after until the end.
    let mut wide = 0u128;
    for (word, to) in words.iter().zip(to_words) {
        *to = *word;
        wide += u128::from(u64::from_ne_bytes(*word));
    }
    let total = add_carry(wide as u64, (wide >> 64) as u64);
    if tail.is_empty() {
        return Sum(total);
    }
    for (byte, to) in tail.iter().zip(to_tail) {
        *to = *byte;
    }
    Sum(add_carry(total, sum_short(tail)))
}

/// [`sum`] of what has this many bytes and no more: without a loop. `N` is a multiple of 4 below 64.
#[inline]
pub fn sum_exact<const N: usize>(bytes: &[u8; N]) -> Sum {
    const { assert!(N.is_multiple_of(4) && N < 64) };
    let (words, _) = bytes.as_chunks::<4>();
    let mut total = 0u64;
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word)); // fifteen 32-bit words stay below 2^36
    }
    Sum(total)
}

/// [`sum`] for fewer bytes than a block.
#[inline]
fn sum_short(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut total = 0;
    for word in words {
        total = add_carry(total, u64::from_ne_bytes(*word));
    }
    // The rest in at most three reads; together they are below 2^33.
    let mut rest = 0u64;
    let tail = match tail.split_first_chunk::<4>() {
        Some((word, tail)) => {
            rest += u64::from(u32::from_ne_bytes(*word));
            tail
        }
        None => tail,
    };
    rest += match *tail {
        [a, b, c] => u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0])),
        [a, b] => u64::from(u16::from_ne_bytes([a, b])),
        [a] => u64::from(u16::from_ne_bytes([a, 0])),
        _ => 0,
    };
    add_carry(total, rest)
}

/// One's complement addition of 64-bit words: the carry comes back in at the bottom. It cannot carry twice,
/// because a sum that overflowed is at most 2^64 - 2.
#[inline]
const fn add_carry(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// A one's complement sum that is not folded yet: 16-bit words, in the processor's byte order, added up in 64
/// bits with end-around carry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// This sum and another.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Sum) -> Sum {
        Sum(add_carry(self.0, other.0))
    }

    /// The sum of whole words, given as the values of big-endian fields: what a header is before it is written.
    #[inline]
    pub const fn of_words(words: &[u64]) -> Sum {
        let (mut total, mut at) = (0, 0);
        while at < words.len() {
            total = add_carry(total, words[at].to_be());
            at += 1;
        }
        Sum(total)
    }

    /// This sum and one 16-bit field.
    #[inline]
    #[must_use]
    pub const fn plus_u16(self, value: u16) -> Sum {
        Sum(add_carry(self.0, value.to_be() as u64))
    }

    /// This sum and one 32-bit field.
    #[inline]
    #[must_use]
    pub const fn plus_u32(self, value: u32) -> Sum {
        Sum(add_carry(self.0, value.to_be() as u64))
    }

    /// What this sum is when its bytes begin at an odd offset: the bytes of every word change places. On one's
    /// complement sums that is multiplication by 2^8, which is a rotation (RFC 1071 section 2B).
    #[inline]
    #[must_use]
    pub const fn swapped(self) -> Sum {
        Sum(self.0.rotate_left(8))
    }

    /// The sum as a 16-bit value, not complemented. 0 only when everything summed was 0.
    #[inline]
    pub const fn fold(self) -> u16 {
        // The upper half of x + rotate(x) is high + low + the carry of low + high: a fold with its carry.
        let half = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let quarter = (half.wrapping_add(half.rotate_left(16)) >> 16) as u16;
        u16::from_be(quarter)
    }

    /// The value for the checksum field: the complement of the fold. The field itself must have been zero, or
    /// left out, when the sum was made.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// As [`Sum::checksum`] for UDP, where 0 means "none sent" and 0xffff, the other zero, stands for it
    /// (RFC 768, RFC 8200 section 8.1).
    #[inline]
    pub const fn checksum_nonzero(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// True when data, checksum field and (where there is one) pseudo-header, all summed, are intact.
    #[inline]
    pub const fn is_valid(self) -> bool {
        // Byte order does not matter for a value of all ones.
        self.fold() == 0xffff
    }
}

/// Sums pieces in order, whatever their lengths: the segments of a chained frame, a header and its payload.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum {
    sum: Sum,
    /// True when an odd number of bytes has been added, so that the next byte is the low half of a word.
    odd: bool,
}

impl Checksum {
    /// Begins with `sum`, usually that of a pseudo-header (of even length, as all of them are).
    #[inline]
    pub const fn new(sum: Sum) -> Checksum {
        Checksum { sum, odd: false }
    }

    /// Adds the next bytes.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        self.add_summed(sum(bytes), bytes.len());
    }

    /// Adds the next `len` bytes, of which `piece` is the sum.
    #[inline]
    pub const fn add_summed(&mut self, piece: Sum, len: usize) {
        self.sum = self.sum.plus(if self.odd { piece.swapped() } else { piece });
        self.odd ^= len & 1 != 0;
    }

    /// The sum of everything added.
    #[inline]
    pub const fn sum(self) -> Sum {
        self.sum
    }
}

/// The pseudo-header of UDP and TCP over IPv4: addresses, protocol, and the length in bytes of transport
/// header and data (RFC 768, RFC 9293 section 3.1).
#[inline]
pub const fn pseudo_ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    let words = source.to_bits().to_be() as u64 + destination.to_bits().to_be() as u64;
    Sum(words + protocol_and_length(protocol, length as u32))
}

/// The pseudo-header of every upper layer over IPv6, ICMPv6 included: addresses, the length in bytes of the
/// upper-layer packet, and its protocol number, which is not the fixed header's next-header field when
/// extension headers stand between (RFC 8200 section 8.1). `destination` is the final destination.
#[inline]
pub const fn pseudo_ipv6(source: &Ipv6Addr, destination: &Ipv6Addr, protocol: u8, length: u32) -> Sum {
    let addresses = add_carry(words_of(source.to_bits()), words_of(destination.to_bits()));
    Sum(add_carry(addresses, protocol_and_length(protocol, length)))
}

/// Both of these, as the big-endian words that the pseudo-headers hold.
#[inline]
const fn protocol_and_length(protocol: u8, length: u32) -> u64 {
    (protocol as u16).to_be() as u64 + length.to_be() as u64
}

/// A 128-bit field as a sum.
#[inline]
const fn words_of(value: u128) -> u64 {
    let native = value.to_be();
    add_carry(native as u64, (native >> 64) as u64)
}

/// The sum of an IPv4 header without options, checksum field included: five words, no loop.
#[inline]
pub fn sum_ipv4_header(header: &[u8; 20]) -> Sum {
    sum_exact(header)
}

/// True when an IPv4 header without options is intact (RFC 1122 section 3.2.1.2, RFC 1812 section 5.2.2).
#[inline]
pub fn ipv4_header_is_valid(header: &[u8; 20]) -> bool {
    sum_ipv4_header(header).is_valid()
}

/// The new value of a checksum field after a 16-bit word that it covers changed from `old` to `new`:
/// `~(~checksum + ~old + new)`, equation 3 of RFC 1624, which also gets right the zero that RFC 1141 got
/// wrong. A UDP checksum of 0 (none sent) must be left alone by the caller, and a result of 0 written as 0xffff.
#[inline]
#[must_use]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold_u32(!checksum as u32 + !old as u32 + new as u32)
}

/// As [`update_u16`], for a 32-bit field such as an IPv4 address.
#[inline]
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    update_wide(checksum, !old as u64, new as u64)
}

/// As [`update_u16`], for a 128-bit field such as an IPv6 address.
#[inline]
#[must_use]
pub const fn update_u128(checksum: u16, old: u128, new: u128) -> u16 {
    let (old, new) = (!old, new);
    let old = add_carry(old as u64, (old >> 64) as u64);
    let new = add_carry(new as u64, (new >> 64) as u64);
    update_wide(checksum, old, new)
}

/// The checksum of an IPv4 header after its TTL went down by one: [`update_u16`] for the word of TTL and
/// protocol, of which only the difference matters: `~old + new` is 0xfeff whatever the protocol.
#[inline]
#[must_use]
pub const fn after_ttl_decrement(checksum: u16) -> u16 {
    !fold_u32(!checksum as u32 + 0xfeff)
}

/// Equation 3 of RFC 1624 with words that may have been summed already. All values are big-endian fields'
/// values here, so nothing is swapped.
#[inline]
const fn update_wide(checksum: u16, not_old: u64, new: u64) -> u16 {
    let total = add_carry(add_carry(not_old, new), !checksum as u64);
    let half = (total.wrapping_add(total.rotate_left(32)) >> 32) as u32;
    !((half.wrapping_add(half.rotate_left(16)) >> 16) as u16)
}

/// Folds the sum of a few 16-bit words.
#[inline]
const fn fold_u32(total: u32) -> u16 {
    let once = (total & 0xffff) + (total >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// What a transport checksum field turned out to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// The checksum is right.
    Valid,
    /// The field holds the sum of the pseudo-header: a kernel on this machine sent the packet over a virtual
    /// link and left the rest to hardware that was never there (Linux calls it CHECKSUM_PARTIAL).
    Partial,
    /// Neither: the packet was damaged.
    Wrong,
}

/// Judges a transport checksum. `pseudo` is the pseudo-header, `segment` the sum from the first byte of the
/// transport header to the last of the data with the field in it, `field` the field's value.
///
/// A finished checksum may by chance equal the partial one, so the whole sum decides first.
#[inline]
pub const fn integrity(pseudo: Sum, segment: Sum, field: u16) -> Integrity {
    if pseudo.plus(segment).is_valid() {
        Integrity::Valid
    } else if is_partial(pseudo, field) {
        Integrity::Partial
    } else {
        Integrity::Wrong
    }
}

/// True when a transport checksum field holds the folded, uncomplemented sum of the pseudo-header. One finished
/// checksum in 65,535 does too: only [`integrity`], which sees the data, can tell.
#[inline]
pub const fn is_partial(pseudo: Sum, field: u16) -> bool {
    pseudo.fold() == field
}

/// Finishes a partial checksum. `segment` begins at the transport header and reaches to the end of the data;
/// `field` is the offset in bytes of the checksum field in it (16 in TCP, 6 in UDP, 2 in ICMPv6), which now
/// holds the sum of the pseudo-header. `nonzero` asks for UDP's way with 0. Returns false, changing nothing,
/// when the segment is too short to hold the field.
#[must_use]
pub fn complete_partial(segment: &mut [u8], field: usize, nonzero: bool) -> bool {
    complete_partial_with(segment, field, nonzero, Sum::ZERO)
}

/// As [`complete_partial`] for the first piece of a chain: `rest` is the sum of the pieces behind it, made by a
/// [`Checksum`] that was given `first` too, or [`Sum::swapped`] when `first` has an odd length.
#[must_use]
pub fn complete_partial_with(first: &mut [u8], field: usize, nonzero: bool, rest: Sum) -> bool {
    let total = sum(first).plus(rest);
    let Some((bytes, _)) = first.get_mut(field..).and_then(|bytes| bytes.split_first_chunk_mut::<2>()) else {
        return false;
    };
    // The field, with the pseudo-header in it, was summed along: that is how the pseudo-header gets in.
    let checksum = if nonzero { total.checksum_nonzero() } else { total.checksum() };
    *bytes = checksum.to_be_bytes();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 as its first page says it: big-endian words, one at a time, each carry at once.
    fn model(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for word in bytes.chunks(2) {
            total += u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    fn pseudo_v4_bytes(source: u32, destination: u32, protocol: u8, length: u16) -> Vec<u8> {
        let mut bytes = source.to_be_bytes().to_vec();
        bytes.extend(destination.to_be_bytes());
        bytes.extend([0, protocol]);
        bytes.extend(length.to_be_bytes());
        bytes
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&data).fold(), 0xddf2);
        assert_eq!(sum(&data).checksum(), 0x220d);
    }

    #[test]
    fn a_real_ipv4_header_is_valid_and_any_flipped_bit_is_found() {
        let good = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert!(ipv4_header_is_valid(&good));
        for bit in 0..160 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!ipv4_header_is_valid(&bad), "bit {bit}");
        }
    }

    #[test]
    fn all_zeros_and_all_ones_sum_to_the_two_zeros() {
        assert_eq!(sum(&[]).fold(), 0);
        assert_eq!(sum(&[0; 99]).fold(), 0);
        assert_eq!(sum(&[0xff; 100]).fold(), 0xffff);
        assert_eq!(sum(&[0xff; 65536]).fold(), 0xffff);
        assert_eq!(sum(&[0xff; 65536]).checksum(), 0);
        assert_eq!(sum(&[0xff; 65536]).checksum_nonzero(), 0xffff);
        assert_eq!(sum(&[0; 4]).checksum_nonzero(), 0xffff);
    }

    #[test]
    fn rfc_1624_section_4_example_gives_zero_and_not_the_other_zero() {
        // Header word 0x5555 becomes 0x3285; the checksum was 0xdd2f. Equation 2 of RFC 1141 gave 0xffff.
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
        assert_eq!(update_u32(0xdd2f, 0x5555, 0x3285), 0x0000);
        assert_eq!(update_u128(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn ttl_decrement_equals_the_general_update_for_every_checksum() {
        for checksum in 0..=u16::MAX {
            assert_eq!(after_ttl_decrement(checksum), update_u16(checksum, 0x4011, 0x3f11), "{checksum:#x}");
            assert_eq!(after_ttl_decrement(checksum), update_u16(checksum, 0x0100, 0x0000), "{checksum:#x}");
        }
        assert_eq!(after_ttl_decrement(0xfeff), 0x0000);
    }

    #[test]
    fn a_partial_checksum_is_told_from_a_finished_and_a_wrong_one() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut datagram = vec![0x30, 0x39, 0x00, 0x35, 0x00, 0x0b, 0, 0, b'a', b'b', b'c'];
        let pseudo = pseudo_ipv4(source, destination, 17, datagram.len() as u16);
        datagram[6..8].copy_from_slice(&pseudo.fold().to_be_bytes());
        let field = |d: &[u8]| u16::from_be_bytes([d[6], d[7]]);
        assert!(is_partial(pseudo, field(&datagram)));
        assert_eq!(integrity(pseudo, sum(&datagram), field(&datagram)), Integrity::Partial);
        assert!(complete_partial(&mut datagram, 6, true));
        assert_eq!(integrity(pseudo, sum(&datagram), field(&datagram)), Integrity::Valid);
        datagram[9] ^= 0x10;
        assert_eq!(integrity(pseudo, sum(&datagram), field(&datagram)), Integrity::Wrong);
    }

    #[test]
    fn completing_a_segment_too_short_for_the_field_changes_nothing() {
        for length in 0..8 {
            let mut segment = vec![7u8; length];
            assert!(!complete_partial(&mut segment, 6, false), "{length}");
            assert_eq!(segment, vec![7u8; length]);
        }
        assert!(!complete_partial(&mut [0; 8], usize::MAX, false));
    }

    proptest! {
        #[test]
        fn sum_agrees_with_the_model(data in prop::collection::vec(any::<u8>(), 0..300), start in 0usize..9) {
            let data = &data[start.min(data.len())..];
            prop_assert_eq!(sum(data).fold(), model(data));
        }

        #[test]
        fn a_copy_is_the_bytes_and_its_sum_is_theirs(
            data in prop::collection::vec(any::<u8>(), 0..300), start in 0usize..9, room in 0usize..300,
        ) {
            let data = &data[start.min(data.len())..];
            let mut copy = vec![0xaa; room];
            let sum = copy_and_sum(&mut copy, data);
            let len = room.min(data.len());
            prop_assert_eq!(&copy[..len], &data[..len]);
            prop_assert!(copy[len..].iter().all(|&byte| byte == 0xaa));
            prop_assert_eq!(sum.fold(), model(&data[..len]));
        }

        #[test]
        fn sum_of_mostly_ones_agrees_with_the_model(
            data in prop::collection::vec(prop_oneof![Just(0xffu8), Just(0), Just(0xfe), Just(1)], 0..600)
        ) {
            prop_assert_eq!(sum(&data).fold(), model(&data));
        }

        #[test]
        fn pieces_of_any_length_join(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..8)) {
            let mut checksum = Checksum::default();
            for piece in &pieces {
                checksum.add(piece);
            }
            prop_assert_eq!(checksum.sum().fold(), model(&pieces.concat()));
        }

        #[test]
        fn twenty_byte_path_agrees(header in any::<[u8; 20]>()) {
            prop_assert_eq!(sum_ipv4_header(&header).fold(), model(&header));
        }

        #[test]
        fn a_header_whose_length_is_known_sums_without_a_loop(header in any::<[u8; 32]>()) {
            prop_assert_eq!(sum_exact(&header).fold(), model(&header));
        }

        #[test]
        fn pseudo_headers_agree(s in any::<u128>(), d in any::<u128>(), protocol in any::<u8>(), length in any::<u32>()) {
            let bytes = pseudo_v4_bytes(s as u32, d as u32, protocol, length as u16);
            let got = pseudo_ipv4(Ipv4Addr::from_bits(s as u32), Ipv4Addr::from_bits(d as u32), protocol, length as u16);
            prop_assert_eq!(got.fold(), model(&bytes));
            let mut bytes = [s.to_be_bytes(), d.to_be_bytes()].concat();
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
            let got = pseudo_ipv6(&Ipv6Addr::from_bits(s), &Ipv6Addr::from_bits(d), protocol, length);
            prop_assert_eq!(got.fold(), model(&bytes));
        }

        #[test]
        fn single_fields_add_as_their_bytes(data in any::<[u8; 14]>(), a in any::<u16>(), b in any::<u32>()) {
            let bytes = [&data[..], &a.to_be_bytes(), &b.to_be_bytes()].concat();
            prop_assert_eq!(sum(&data).plus_u16(a).plus_u32(b).fold(), model(&bytes));
        }

        /// RFC 1624: updating and summing again agree, for every width, on data that is not all zeros.
        #[test]
        fn incremental_updates_agree_with_summing_again(
            mut data in any::<[u8; 40]>(),
            words in any::<[u16; 8]>(),
            extreme in 0u8..4,
        ) {
            data[0] = 0x45; // no header is all zeros
            let new: u128 = match extreme {
                0 => 0,
                1 => u128::MAX,
                _ => words.iter().fold(0, |value, word| value << 16 | u128::from(*word)),
            };
            let before = !model(&data);
            let replaced = |range: core::ops::Range<usize>, bytes: &[u8]| {
                let mut data = data;
                data[range].copy_from_slice(bytes);
                !model(&data)
            };
            let old = u128::from_be_bytes(data[16..32].try_into().unwrap());
            prop_assert_eq!(update_u128(before, old, new), replaced(16..32, &new.to_be_bytes()));
            let old = u32::from_be_bytes(data[12..16].try_into().unwrap());
            prop_assert_eq!(update_u32(before, old, new as u32), replaced(12..16, &(new as u32).to_be_bytes()));
            let old = u16::from_be_bytes([data[8], data[9]]);
            prop_assert_eq!(update_u16(before, old, new as u16), replaced(8..10, &(new as u16).to_be_bytes()));
        }

        #[test]
        fn a_completed_partial_checksum_is_valid(
            data in prop::collection::vec(any::<u8>(), 8..200),
            cut in 8usize..200,
            s in any::<u32>(), d in any::<u32>(), nonzero in any::<bool>(),
        ) {
            let mut whole = data;
            let pseudo = pseudo_ipv4(Ipv4Addr::from_bits(s), Ipv4Addr::from_bits(d), 17, whole.len() as u16);
            whole[6..8].copy_from_slice(&pseudo.fold().to_be_bytes());
            let mut chained = whole.clone();
            prop_assert!(complete_partial(&mut whole, 6, nonzero));
            prop_assert!(pseudo.plus(sum(&whole)).is_valid());

            let cut = cut.min(chained.len());
            let (first, rest) = chained.split_at_mut(cut);
            let rest = if cut % 2 == 1 { sum(rest).swapped() } else { sum(rest) };
            prop_assert!(complete_partial_with(first, 6, nonzero, rest));
            prop_assert_eq!(chained, whole);
        }
    }
}
