//! TCP's options as a connection reads and writes them (RFC 9293 section 3.2; RFC 7323; RFC 2018; RFC 7413).
//!
//! ```text
//!   SYN          MSS · SACK-permitted · timestamps · NOP · window scale [· fast open cookie]
//!   after it     NOP NOP timestamps (12 bytes) [· NOP NOP SACK (4 + 8 each)] [signature in front]
//! ```
//! The order is that of Linux. After the handshake nearly every segment carries either nothing or exactly the
//! twelve bytes with timestamps; [`timestamps_only`] tells that with one compare, and the walk is for the rest.

use super::Seq;
use crate::wire::tcp::{Options, option};
use arrayvec::ArrayVec;

/// Bytes of options that fit in a header.
pub const MAX_LEN: usize = 40;
/// Bytes of the timestamps option with its padding.
pub const TIMESTAMPS_LEN: usize = 12;
/// SACK blocks that a segment can carry without timestamps.
pub const MAX_SACKS: usize = 4;
/// Kind of the fast open option (RFC 7413 section 4.1.1).
pub const FAST_OPEN: u8 = 34;
/// Kind of the options that experiments share (RFC 6994); fast open was one before it had a kind (RFC 7413 section 7).
pub const EXPERIMENT: u8 = 254;
/// Fast open's number among them.
pub const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xf9, 0x89];
/// Kind of the MD5 signature option (RFC 2385).
pub const MD5: u8 = 19;
/// Kind of the authentication option (RFC 5925).
pub const AO: u8 = 29;
/// Largest shift of a window (RFC 7323 section 2.3).
pub const MAX_SCALE: u8 = 14;

/// A timestamps option: (TSval, TSecr).
pub type Timestamps = (u32, u32);

/// The options of a segment that is nothing but timestamps, padded as everybody pads it (RFC 7323 appendix A).
#[inline]
pub fn timestamps_only(options: &[u8]) -> Option<Timestamps> {
    let options: &[u8; TIMESTAMPS_LEN] = options.try_into().ok()?;
    let [a, b, c, d, value @ ..] = options;
    if [*a, *b, *c, *d] != [option::NOP, option::NOP, option::TIMESTAMPS, 10] {
        return None;
    }
    let value = u64::from_be_bytes(*value);
    Some(((value >> 32) as u32, value as u32))
}

/// What a segment's options say. Options that are unknown are passed over (RFC 9293 MUST-6), and so are known
/// ones of a wrong length, as in Linux; a malformed list ends there.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// Maximum segment size, in a SYN.
    pub mss: Option<u16>,
    /// Window shift, in a SYN; above 14 means 14 (RFC 7323 section 2.3).
    pub scale: Option<u8>,
    /// SACK permitted, in a SYN.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks, in the order in which they came.
    pub sacks: ArrayVec<(Seq, Seq), MAX_SACKS>,
    /// A fast open cookie: empty for a request.
    pub fast_open: Option<ArrayVec<u8, 16>>,
    /// It came in the form of before RFC 7413.
    pub experimental: bool,
}

/// Reads options. `syn`: the segment has the SYN flag; options that belong there count nowhere else.
pub fn parse(bytes: &[u8], syn: bool) -> Parsed {
    if let Some(timestamps) = timestamps_only(bytes) {
        return Parsed { timestamps: Some(timestamps), ..Parsed::default() };
    }
    if let Some(parsed) = usual_syn(bytes).filter(|_| syn) {
        return parsed;
    }
    parse_one_by_one(bytes, syn)
}

/// The options of a SYN as Linux and we write them, all four at one glance; `None`: they are others.
#[inline]
fn usual_syn(bytes: &[u8]) -> Option<Parsed> {
    let bytes: &[u8; 20] = bytes.try_into().ok()?;
    let [
        mss,
        mss_len,
        m0,
        m1,
        sack,
        sack_len,
        stamps,
        stamps_len,
        numbers @ ..,
        nop,
        scale,
        scale_len,
        shift,
    ] = *bytes;
    let lead = [mss, mss_len, sack, sack_len, stamps, stamps_len, nop, scale, scale_len, 0];
    let usual = [
        option::MSS,
        4,
        option::SACK_PERMITTED,
        2,
        option::TIMESTAMPS,
        10,
        option::NOP,
        option::WINDOW_SCALE,
        3,
        0,
    ];
    if lead != usual {
        return None;
    }
    let numbers = u64::from_be_bytes(numbers);
    Some(Parsed {
        mss: Some(u16::from_be_bytes([m0, m1])),
        scale: Some(shift.min(MAX_SCALE)),
        sack_permitted: true,
        timestamps: Some(((numbers >> 32) as u32, numbers as u32)),
        ..Parsed::default()
    })
}

/// [`parse`] for any list.
fn parse_one_by_one(bytes: &[u8], syn: bool) -> Parsed {
    let mut parsed = Parsed::default();
    for one in Options::new(bytes) {
        let Ok(one) = one else { break };
        match (one.kind, one.data) {
            (option::MSS, &[high, low]) if syn => parsed.mss = Some(u16::from_be_bytes([high, low])),
            (option::WINDOW_SCALE, &[shift]) if syn => parsed.scale = Some(shift.min(MAX_SCALE)),
            (option::SACK_PERMITTED, &[]) if syn => parsed.sack_permitted = true,
            (option::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                parsed.timestamps =
                    Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            }
            (option::SACK, data) if !syn && data.len().is_multiple_of(8) => {
                let (words, _) = data.as_chunks::<8>();
                for &[a, b, c, d, e, f, g, h] in words {
                    let block =
                        (Seq(u32::from_be_bytes([a, b, c, d])), Seq(u32::from_be_bytes([e, f, g, h])));
                    let _ = parsed.sacks.try_push(block); // forty bytes hold no more than four
                }
            }
            (FAST_OPEN, cookie) if syn => parsed.cookie(cookie, false),
            (EXPERIMENT, [a, b, cookie @ ..]) if syn && [*a, *b] == FAST_OPEN_EXPERIMENT => {
                parsed.cookie(cookie, true);
            }
            _ => {}
        }
    }
    parsed
}

impl Parsed {
    fn cookie(&mut self, bytes: &[u8], experimental: bool) {
        if bytes.is_empty() || (4..=16).contains(&bytes.len()) {
            let mut cookie = ArrayVec::new();
            let _ = cookie.try_extend_from_slice(bytes); // at most sixteen, just checked
            (self.fast_open, self.experimental) = (Some(cookie), experimental);
        }
    }
}

/// Option bytes of an outgoing segment: at most 40, a multiple of four.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Emitted {
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl Emitted {
    /// None.
    pub const NONE: Emitted = Emitted { bytes: [0; MAX_LEN], len: 0 };

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        MAX_LEN - self.len()
    }

    /// Timestamps behind two NOPs.
    #[inline]
    pub fn push_timestamps(&mut self, (value, echo): Timestamps) {
        let words = u128::from(0x0101_080a_u32) << 64 | u128::from(value) << 32 | u128::from(echo);
        let bytes = words.to_be_bytes();
        self.push(&bytes[4..]);
    }

    /// As many of the blocks as fit, behind two NOPs (RFC 2018 section 3).
    pub fn push_sacks(&mut self, blocks: &[(Seq, Seq)]) {
        let count = blocks.len().min(self.room().saturating_sub(4) / 8);
        if count == 0 {
            return;
        }
        self.push(&[option::NOP, option::NOP, option::SACK, 2 + 8 * count as u8]);
        for (start, end) in &blocks[..count] {
            self.push(&start.0.to_be_bytes());
            self.push(&end.0.to_be_bytes());
        }
    }

    /// The place of a signature of `len` bytes (MD5: 16; AO: key ids and MAC), which the caller fills in once the
    /// rest of the segment stands. Says where its bytes begin.
    pub fn push_signature(&mut self, kind: u8, len: u8) -> u8 {
        if kind == MD5 {
            self.push(&[option::NOP, option::NOP]); // as Linux aligns it
        }
        self.push(&[kind, len + 2]);
        let at = self.len;
        self.push(&[0; MAX_LEN][..usize::from(len)]);
        self.pad();
        at
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = self.len();
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len() as u8;
        }
    }

    fn pad(&mut self) {
        while !self.len.is_multiple_of(4) {
            self.push(&[option::NOP]);
        }
    }
}

impl core::fmt::Debug for Emitted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_bytes().fmt(f)
    }
}

/// What a SYN or SYN-ACK says.
#[derive(Debug, Clone, Copy)]
pub struct SynOptions<'a> {
    /// Our MSS (RFC 9293 SHLD-5: in every SYN).
    pub mss: u16,
    /// SACK permitted.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Our window shift.
    pub scale: Option<u8>,
    /// Fast open: an empty cookie asks for one.
    pub fast_open: Option<&'a [u8]>,
    /// In the form of before RFC 7413, for who asked in it.
    pub experimental: bool,
}

impl SynOptions<'_> {
    /// Appends the options in the order of Linux.
    pub fn emit(&self, out: &mut Emitted) {
        let [high, low] = self.mss.to_be_bytes();
        out.push(&[option::MSS, 4, high, low]);
        match self.timestamps {
            Some((value, echo)) => {
                let lead = if self.sack { [option::SACK_PERMITTED, 2] } else { [option::NOP; 2] };
                out.push(&lead);
                out.push(&[option::TIMESTAMPS, 10]);
                out.push(&value.to_be_bytes());
                out.push(&echo.to_be_bytes());
            }
            None if self.sack => out.push(&[option::NOP, option::NOP, option::SACK_PERMITTED, 2]),
            None => {}
        }
        if let Some(shift) = self.scale {
            out.push(&[option::NOP, option::WINDOW_SCALE, 3, shift]);
        }
        let head = if self.experimental { 4 } else { 2 };
        if let Some(cookie) = self.fast_open
            && out.room() >= (head + cookie.len()).next_multiple_of(4)
        {
            let kind = if self.experimental { EXPERIMENT } else { FAST_OPEN };
            out.push(&[kind, (head + cookie.len()) as u8]);
            if self.experimental {
                out.push(&FAST_OPEN_EXPERIMENT);
            }
            out.push(cookie);
            out.pad();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn must_4_must_68_must_69_a_syn_carries_its_options_in_the_order_of_linux() {
        let mut out = Emitted::NONE;
        let syn = SynOptions {
            mss: 1460,
            sack: true,
            timestamps: Some((0x01020304, 0)),
            scale: Some(7),
            fast_open: None,
            experimental: false,
        };
        syn.emit(&mut out);
        assert_eq!(out.as_bytes(), [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
        let mut out = Emitted::NONE;
        SynOptions { timestamps: None, ..syn }.emit(&mut out);
        assert_eq!(out.as_bytes(), [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7]);
        let mut out = Emitted::NONE;
        SynOptions { fast_open: Some(&[]), ..syn }.emit(&mut out);
        assert_eq!(out.as_bytes()[20..], [34, 2, 1, 1]);
        let mut out = Emitted::NONE;
        SynOptions { fast_open: Some(&[5; 8]), experimental: true, ..syn }.emit(&mut out);
        assert_eq!(out.as_bytes()[20..], [254, 12, 0xf9, 0x89, 5, 5, 5, 5, 5, 5, 5, 5]);
    }

    #[test]
    fn a_cookie_is_read_in_both_forms_and_other_experiments_are_passed_over() {
        let read = |bytes: &[u8]| {
            let parsed = parse(bytes, true);
            (parsed.fast_open.map(|cookie| cookie.to_vec()), parsed.experimental)
        };
        assert_eq!(read(&[34, 6, 1, 2, 3, 4]), (Some(vec![1, 2, 3, 4]), false));
        assert_eq!(read(&[254, 8, 0xf9, 0x89, 1, 2, 3, 4]), (Some(vec![1, 2, 3, 4]), true));
        assert_eq!(read(&[254, 4, 0xf9, 0x89]), (Some(vec![]), true));
        assert_eq!(read(&[254, 8, 0xe2, 0xd4, 1, 2, 3, 4]), (None, false));
        assert_eq!(read(&[254, 7, 0xf9, 0x89, 1, 2, 3]), (None, false), "three bytes are no cookie");
    }

    #[test]
    fn the_usual_timestamps_are_read_at_one_glance_and_others_are_not() {
        let mut out = Emitted::NONE;
        out.push_timestamps((7, 9));
        assert_eq!(timestamps_only(out.as_bytes()), Some((7, 9)));
        assert_eq!(parse(out.as_bytes(), false).timestamps, Some((7, 9)));
        out.push_sacks(&[(Seq(1), Seq(2))]);
        assert_eq!(timestamps_only(out.as_bytes()), None);
        assert_eq!(timestamps_only(&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]), None);
    }

    proptest! {
        /// What is told at one glance is what the walk finds.
        #[test]
        fn the_glance_and_the_walk_agree(
            scale in proptest::option::of(0u8..=255),
            stamps in proptest::option::of(any::<(u32, u32)>()),
            (mss, sack, syn) in any::<(u16, bool, bool)>(),
            change in proptest::option::of((0usize..40, any::<u8>())),
        ) {
            let mut out = Emitted::NONE;
            SynOptions { mss, sack, timestamps: stamps, scale, fast_open: None, experimental: false }.emit(&mut out);
            let mut alone = Emitted::NONE;
            alone.push_timestamps(stamps.unwrap_or_default());
            for emitted in [out, alone] {
                let mut bytes = emitted.as_bytes().to_vec();
                if let Some((at, to)) = change {
                    let at = at % bytes.len();
                    bytes[at] = to;
                }
                let (glance, walk) = (parse(&bytes, syn), parse_one_by_one(&bytes, syn));
                prop_assert_eq!(format!("{:?}", glance), format!("{:?}", walk), "{:?}", bytes);
            }
        }
    }

    #[test]
    fn three_sack_blocks_fit_beside_timestamps_and_four_without() {
        let blocks: Vec<_> = (0..5).map(|n| (Seq(n * 10), Seq(n * 10 + 5))).collect();
        let mut out = Emitted::NONE;
        out.push_timestamps((1, 2));
        out.push_sacks(&blocks);
        assert_eq!((out.len(), &parse(out.as_bytes(), false).sacks[..]), (40, &blocks[..3]));
        let mut out = Emitted::NONE;
        out.push_sacks(&blocks);
        assert_eq!((out.len(), &parse(out.as_bytes(), false).sacks[..]), (36, &blocks[..4]));
    }

    #[test]
    fn must_6_must_7_must_64_unknown_options_are_passed_over_and_illegal_lengths_end_the_list() {
        let parsed = parse(&[200, 3, 0, 3, 3, 15, 2, 4, 2, 0], true);
        assert_eq!((parsed.scale, parsed.mss), (Some(14), Some(512)));
        assert_eq!(parse(&[2, 0, 3, 3, 7, 0], true).scale, None);
        assert_eq!(parse(&[2, 3, 9, 3, 3, 7], true).scale, Some(7));
        assert_eq!(parse(&[2, 4, 2, 0, 3, 3, 7, 4, 2], false).mss, None, "options of a SYN count only there");
    }

    #[test]
    fn a_signature_stands_in_front_and_keeps_the_rest_aligned() {
        let mut out = Emitted::NONE;
        assert_eq!(out.push_signature(MD5, 16), 4);
        assert_eq!((out.len(), &out.as_bytes()[..4]), (20, &[1, 1, 19, 18][..]));
        let mut out = Emitted::NONE;
        assert_eq!(out.push_signature(AO, 14), 2);
        assert_eq!((out.len(), &out.as_bytes()[..2]), (16, &[29, 16][..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..41), syn: bool) {
            let parsed = parse(&bytes, syn);
            prop_assert!(parsed.scale.is_none_or(|shift| shift <= MAX_SCALE));
        }

        #[test]
        fn what_is_written_is_read_back(
            mss: u16, sack: bool, timestamps: Option<(u32, u32)>, scale in prop::option::of(0u8..15),
        ) {
            let mut out = Emitted::NONE;
            SynOptions { mss, sack, timestamps, scale, fast_open: None, experimental: false }.emit(&mut out);
            prop_assert_eq!(out.len() % 4, 0);
            let parsed = parse(out.as_bytes(), true);
            prop_assert_eq!(
                (parsed.mss, parsed.sack_permitted, parsed.timestamps, parsed.scale),
                (Some(mss), sack, timestamps, scale)
            );
        }
    }
}
