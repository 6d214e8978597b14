//! Keys of TCP-AO and what is made of them (RFC 5925 sections 3 and 5, RFC 5926).
//!
//! ```text
//!   master key ──KDF(addresses, ports, both ISNs)──> traffic key ──MAC(extension, pseudo-header, segment)──> 96 bits
//! ```
//! A master key tuple ([`AoKey`]) may serve many connections and years; a traffic key belongs to one
//! direction of one connection. In a SYN the peer's ISN is not known yet and counts as zero, so a SYN has a
//! traffic key of its own.

use super::segment::Signed;
use crate::limits::MAX_AO_KEY;
use crate::tcp::Seq;
use aes::Aes128;
use arrayvec::ArrayVec;
use cmac::Cmac;
use core::net::IpAddr;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// Key derivation and code, which go together (RFC 5926 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// KDF_HMAC_SHA1 and HMAC-SHA-1-96, the default.
    HmacSha1,
    /// KDF_AES_128_CMAC and AES-128-CMAC-96.
    Aes128Cmac,
}

/// What is wrong with a master key: it is empty, or longer than [`MAX_AO_KEY`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to {MAX_AO_KEY} bytes")]
pub struct BadKey;

/// A master key tuple (RFC 5925 section 3.1) without the peers that it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct AoKey {
    /// The id in what we send.
    pub send_id: u8,
    /// The id in what the peer sends.
    pub receive_id: u8,
    /// How codes are made.
    pub algorithm: Algorithm,
    /// The code covers other options too. Off for peers behind boxes that change them.
    pub covers_options: bool,
    master: ArrayVec<u8, MAX_AO_KEY>,
}

impl core::fmt::Debug for AoKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AoKey({} send, {} receive, {:?})", self.send_id, self.receive_id, self.algorithm)
    }
}

/// The ends of a direction of a connection: who sends, who receives. The receiver's ISN is zero for a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub(super) source: (IpAddr, u16),
    pub(super) destination: (IpAddr, u16),
    pub(super) source_isn: Seq,
    pub(super) destination_isn: Seq,
}

/// The key of one direction of one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TrafficKey {
    bytes: [u8; 20],
    algorithm: Algorithm,
    covers_options: bool,
}

impl core::fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "TrafficKey({:?})", self.algorithm)
    }
}

impl AoKey {
    /// A key with these ids; options are covered.
    pub fn new(send_id: u8, receive_id: u8, algorithm: Algorithm, master: &[u8]) -> Result<AoKey, BadKey> {
        if master.is_empty() {
            return Err(BadKey);
        }
        let master = ArrayVec::try_from(master).map_err(|_| BadKey)?;
        Ok(AoKey { send_id, receive_id, algorithm, covers_options: true, master })
    }

    /// The traffic key of a direction (RFC 5925 section 5.2, RFC 5926 section 3.1).
    pub(super) fn traffic_key(&self, direction: &Direction) -> TrafficKey {
        let mut bytes = [0; 20];
        match self.algorithm {
            Algorithm::HmacSha1 => {
                // Only absurd lengths are refused by the crate, and HMAC takes any.
                if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.master) {
                    direction.feed(160, |input| mac.update(input));
                    bytes.copy_from_slice(&mac.finalize().into_bytes());
                }
            }
            Algorithm::Aes128Cmac => {
                let mut mac = Cmac::<Aes128>::new(&self.cmac_key().into());
                direction.feed(128, |input| mac.update(input));
                bytes[..16].copy_from_slice(&mac.finalize().into_bytes());
            }
        }
        TrafficKey { bytes, algorithm: self.algorithm, covers_options: self.covers_options }
    }

    /// RFC 5926 section 3.1.1.2 (as RFC 4615): a master key that has not just 16 bytes is made into one.
    fn cmac_key(&self) -> [u8; 16] {
        if let Ok(key) = <[u8; 16]>::try_from(self.master.as_slice()) {
            return key;
        }
        let mut mac = Cmac::<Aes128>::new(&[0; 16].into());
        mac.update(&self.master);
        mac.finalize().into_bytes().into()
    }
}

impl Direction {
    /// i || Label || Context || Output_Length.
    fn feed(&self, bits: u16, mut feed: impl FnMut(&[u8])) {
        feed(b"\x01TCP-AO");
        for (address, _) in [self.source, self.destination] {
            match address {
                IpAddr::V4(address) => feed(&address.octets()),
                IpAddr::V6(address) => feed(&address.octets()),
            }
        }
        feed(&self.source.1.to_be_bytes());
        feed(&self.destination.1.to_be_bytes());
        feed(&self.source_isn.0.to_be_bytes());
        feed(&self.destination_isn.0.to_be_bytes());
        feed(&bits.to_be_bytes());
    }
}

impl TrafficKey {
    /// The code of a segment whose sequence number has the upper half `extension` (RFC 5925 section 5.1).
    pub fn sign(&self, segment: &Signed<'_>, extension: u32) -> [u8; 12] {
        let mut code = [0; 12];
        match self.algorithm {
            Algorithm::HmacSha1 => {
                if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.bytes) {
                    self.feed(segment, extension, |input| mac.update(input));
                    code.copy_from_slice(&mac.finalize().into_bytes()[..12]);
                }
            }
            Algorithm::Aes128Cmac => {
                let mut key = [0; 16];
                key.copy_from_slice(&self.bytes[..16]);
                let mut mac = Cmac::<Aes128>::new(&key.into());
                self.feed(segment, extension, |input| mac.update(input));
                code.copy_from_slice(&mac.finalize().into_bytes()[..12]);
            }
        }
        code
    }

    /// True when `code` is that of the segment; takes equally long either way.
    pub fn verify(&self, segment: &Signed<'_>, extension: u32, code: &[u8; 12]) -> bool {
        self.sign(segment, extension).ct_eq(code).into()
    }

    fn feed(&self, segment: &Signed<'_>, extension: u32, mut feed: impl FnMut(&[u8])) {
        feed(&extension.to_be_bytes());
        segment.feed_pseudo_header(&mut feed);
        segment.feed_fixed_header(&mut feed);
        segment.feed_ao_options(self.covers_options, &mut feed);
        segment.feed_data(&mut feed);
    }
}

#[cfg(test)]
mod tests;
