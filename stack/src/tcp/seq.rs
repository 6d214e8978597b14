//! Sequence numbers (RFC 9293 section 3.4): 32 bits that wrap, so "before" and "after" mean within half of the
//! circle, and `<` means nothing. The type has no `Ord` for that reason.
//!
//! ```text
//!            0x0000_0000
//!          ,-'           '-.        a.before(b): going clockwise from a, b comes within 2^31
//!         a                 b       b - a: that way, in bytes; negative when b is behind
//!          '-.           ,-'
//! ```
//!
//! Reads: RFC 9293 section 3.4; RFC 1982 for the algebra.

use core::ops::{Add, AddAssign, Sub};

/// A place in the stream of one direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// True when `self` comes before `other`.
    #[inline]
    pub const fn before(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// True when `self` comes behind `other`.
    #[inline]
    pub const fn after(self, other: Seq) -> bool {
        other.before(self)
    }

    /// True when `self` is `other` or comes before it.
    #[inline]
    pub const fn at_or_before(self, other: Seq) -> bool {
        !other.before(self)
    }

    /// True when `self` is `other` or comes behind it.
    #[inline]
    pub const fn at_or_after(self, other: Seq) -> bool {
        !self.before(other)
    }

    /// True in `start <= self < end`.
    #[inline]
    pub const fn is_in(self, start: Seq, end: Seq) -> bool {
        end.0.wrapping_sub(start.0) > self.0.wrapping_sub(start.0)
    }

    /// The later of two.
    #[inline]
    pub const fn max(self, other: Seq) -> Seq {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two.
    #[inline]
    pub const fn min(self, other: Seq) -> Seq {
        if self.before(other) { self } else { other }
    }

    /// Bytes from `earlier` to `self`; 0 when it is not earlier.
    #[inline]
    pub const fn since(self, earlier: Seq) -> u32 {
        if self.before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) }
    }
}

impl Add<u32> for Seq {
    type Output = Seq;
    #[inline]
    fn add(self, bytes: u32) -> Seq {
        Seq(self.0.wrapping_add(bytes))
    }
}

impl AddAssign<u32> for Seq {
    #[inline]
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;
    #[inline]
    fn sub(self, bytes: u32) -> Seq {
        Seq(self.0.wrapping_sub(bytes))
    }
}

/// The signed way from the right one to the left one, in bytes.
impl Sub for Seq {
    type Output = i32;
    #[inline]
    fn sub(self, other: Seq) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_circle_is_cut_opposite_to_where_one_stands() {
        let near_wrap = Seq(u32::MAX - 1);
        assert!(near_wrap.before(near_wrap + 4));
        assert_eq!(near_wrap + 4, Seq(2));
        assert_eq!(Seq(2) - near_wrap, 4);
        assert_eq!(near_wrap - Seq(2), -4);
        assert_eq!(Seq(2).since(near_wrap), 4);
        assert_eq!(near_wrap.since(Seq(2)), 0);
        assert!(Seq(0).is_in(near_wrap, Seq(1)) && !Seq(1).is_in(near_wrap, Seq(1)));
        assert!(!Seq(7).is_in(Seq(7), Seq(7)), "nothing lies in an empty range");
    }

    proptest! {
        #[test]
        fn before_agrees_with_plain_numbers_within_half_of_the_circle(start: u32, ahead in 1u32..1 << 31) {
            let (a, b) = (Seq(start), Seq(start) + ahead);
            prop_assert!(a.before(b) && b.after(a) && !b.before(a));
            prop_assert!(a.at_or_before(b) && a.at_or_before(a) && !b.at_or_before(a));
            prop_assert_eq!(a.max(b), b);
            prop_assert_eq!(b.min(a), a);
            prop_assert_eq!(b.since(a), ahead);
            prop_assert_eq!(b - ahead, a);
        }

        #[test]
        fn in_is_what_counting_says(start: u32, len in 0u32..1 << 31, ahead: u32) {
            prop_assert_eq!((Seq(start) + ahead).is_in(Seq(start), Seq(start) + len), ahead < len);
        }
    }
}
