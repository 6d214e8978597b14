//! The bytes that a signature covers, and where the signature stands in a segment.

use super::{AO_LEN, MD5_LEN, Refused};
use crate::tcp::options::{AO, MD5};
use crate::wire::tcp::{HEADER_LEN, Options};
use core::net::IpAddr;

const PROTOCOL: u8 = 6;

/// A segment, in or out.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Source address of the packet.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// The TCP header with its options. An outgoing one has zeros where the signature is to come.
    pub header: &'a [u8],
    /// The data, in pieces.
    pub data: &'a [&'a [u8]],
}

/// The signature that a segment carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureOption<'a> {
    /// None.
    None,
    /// RFC 2385.
    Md5(&'a [u8; 16]),
    /// RFC 5925.
    Ao {
        /// The key that made it, by the sender's id for it.
        key_id: u8,
        /// The key by which the sender wants to be answered.
        next_key_id: u8,
        /// The code.
        mac: &'a [u8; 12],
    },
}

impl<'a> SignatureOption<'a> {
    /// Finds the signature in the options of a segment.
    pub fn find(options: &'a [u8]) -> Result<SignatureOption<'a>, Refused> {
        let mut found = SignatureOption::None;
        for one in Options::new(options) {
            let Ok(one) = one else { break };
            let this = match (one.kind, one.data) {
                (MD5, data) => SignatureOption::Md5(data.try_into().map_err(|_| Refused::Malformed)?),
                (AO, [key_id, next_key_id, mac @ ..]) => {
                    let mac = mac.try_into().map_err(|_| Refused::Malformed)?;
                    SignatureOption::Ao { key_id: *key_id, next_key_id: *next_key_id, mac }
                }
                (AO, _) => return Err(Refused::Malformed),
                _ => continue,
            };
            // RFC 5925 section 2.2: a segment with two AO options, or with one of each kind, is discarded.
            if found != SignatureOption::None {
                return Err(Refused::Malformed);
            }
            found = this;
        }
        Ok(found)
    }
}

impl<'a> Signed<'a> {
    /// Option bytes.
    pub fn options(&self) -> &'a [u8] {
        self.header.get(HEADER_LEN..).unwrap_or(&[])
    }

    /// Bytes of header, options and data.
    fn len(&self) -> usize {
        let mut len = self.header.len();
        for piece in self.data {
            len += piece.len();
        }
        len
    }

    /// Sequence number, for the extension of AO.
    pub(super) fn seq(&self) -> u32 {
        self.header.get(4..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Flags in the low byte.
    pub(super) fn flags(&self) -> u8 {
        self.header.get(13).copied().unwrap_or(0)
    }

    /// The pseudo-header, as both options and the checksum have it (RFC 9293 section 3.1, RFC 8200 section
    /// 8.1).
    pub(super) fn feed_pseudo_header(&self, mut feed: impl FnMut(&[u8])) {
        let length = self.len() as u32;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                feed(&source.octets());
                feed(&destination.octets());
                let [.., high, low] = length.to_be_bytes();
                feed(&[0, PROTOCOL, high, low]);
            }
            (source, destination) => {
                feed(&crate::tcp::tuple::mapped(source).octets());
                feed(&crate::tcp::tuple::mapped(destination).octets());
                feed(&length.to_be_bytes());
                feed(&[0, 0, 0, PROTOCOL]);
            }
        }
    }

    /// The fixed header with a checksum of zero.
    pub(super) fn feed_fixed_header(&self, mut feed: impl FnMut(&[u8])) {
        if let Some(header) = self.header.first_chunk::<HEADER_LEN>() {
            feed(&header[..16]);
            feed(&[0, 0]);
            feed(&header[18..]);
        }
    }

    /// The options as AO covers them (RFC 5925 section 5.1): its own code is zero; without `all`, its own
    /// option is the only one.
    pub(super) fn feed_ao_options(&self, all: bool, mut feed: impl FnMut(&[u8])) {
        let options = self.options();
        let Some(at) = place_of(options, AO, AO_LEN) else {
            if all {
                feed(options);
            }
            return;
        };
        let (before, rest) = options.split_at(at);
        let (own, after) = rest.split_at(usize::from(AO_LEN) + 2);
        if all {
            feed(before);
        }
        feed(&own[..4]); // kind, length, key ids
        feed(&[0; 12]);
        if all {
            feed(after);
        }
    }

    /// The data.
    pub(super) fn feed_data(&self, mut feed: impl FnMut(&[u8])) {
        for piece in self.data {
            feed(piece);
        }
    }
}

/// Where an option of this kind and exact length begins.
fn place_of(options: &[u8], kind: u8, len: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        match *options.get(at..)? {
            [] | [0, ..] => return None,
            [1, ..] => at += 1,
            [this, length, ref rest @ ..] if length >= 2 && rest.len() + 2 >= usize::from(length) => {
                if this == kind {
                    return (length == len + 2).then_some(at);
                }
                at += usize::from(length);
            }
            _ => return None,
        }
    }
}

const _: () = assert!(MD5_LEN == 16);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_is_found_behind_other_options_and_never_two_of_them() {
        let mut options = vec![2, 4, 5, 180, 1, 1, MD5, 18];
        options.extend([7; 16]);
        assert_eq!(SignatureOption::find(&options), Ok(SignatureOption::Md5(&[7; 16])));
        let mut ao = vec![AO, 16, 61, 84];
        ao.extend([9; 12]);
        let expected = SignatureOption::Ao { key_id: 61, next_key_id: 84, mac: &[9; 12] };
        assert_eq!(SignatureOption::find(&ao), Ok(expected));
        assert_eq!((place_of(&ao, AO, AO_LEN), place_of(&options, AO, AO_LEN)), (Some(0), None));
        options.extend(&ao);
        assert_eq!(SignatureOption::find(&options), Err(Refused::Malformed));
        assert_eq!(SignatureOption::find(&[AO, 3, 1]), Err(Refused::Malformed));
        assert_eq!(SignatureOption::find(&[MD5, 4, 1, 1]), Err(Refused::Malformed));
        assert_eq!(SignatureOption::find(&[2, 4, 5, 180]), Ok(SignatureOption::None));
    }

    proptest! {
        #[test]
        fn any_options_are_searched_without_harm(options in prop::collection::vec(any::<u8>(), 0..41)) {
            let signed = Signed {
                source: [1, 2, 3, 4].into(), destination: [5, 6, 7, 8].into(), header: &options, data: &[],
            };
            let found = SignatureOption::find(&options);
            let place = place_of(&options, AO, AO_LEN);
            if let Ok(SignatureOption::Ao { .. }) = found {
                prop_assert!(place.is_some());
            }
            let mut fed = 0;
            signed.feed_ao_options(true, |bytes| fed += bytes.len());
            prop_assert_eq!(fed, signed.options().len());
        }
    }
}
