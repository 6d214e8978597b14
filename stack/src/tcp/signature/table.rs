//! The keys of a listener, or of a socket that will connect, by the peer's address. The longest prefix
//! decides.
//!
//! A listener has no state for a SYN, so traffic keys are derived for the segment at hand: of the SYN, of the
//! SYN-ACK, and of the ACK that completes a handshake (with cookies too: the ACK names both ISNs).

use super::ao::AoKey;
use super::connection::{ConnectionKeys, inbound, outbound};
use super::md5::Md5Key;
use super::segment::{SignatureOption, Signed};
use super::{AO_LEN, MD5_LEN, Refused};
use crate::limits::{MAX_AO_KEYS, MAX_SIGNATURE_KEYS};
use crate::tcp::Seq;
use crate::tcp::options::{AO, MD5};
use crate::tcp::tuple::{Tuple, mapped};
use arrayvec::ArrayVec;
use core::net::IpAddr;

/// Peers: an address and how many of its bits count (of 32 or 128).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bits: u128,
    /// Of 128, IPv4 being mapped.
    len: u8,
}

impl Prefix {
    /// `None` when `len` is more than the family has.
    pub fn new(address: IpAddr, len: u8) -> Option<Prefix> {
        let (width, base) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        if len > width {
            return None;
        }
        let len = base + len;
        Some(Prefix { bits: mapped(address).to_bits() & mask(len), len })
    }

    fn holds(&self, address: IpAddr) -> bool {
        mapped(address).to_bits() & mask(self.len) == self.bits
    }
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

/// No room for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {MAX_SIGNATURE_KEYS} keys, or {MAX_AO_KEYS} AO keys of one peer, already")]
pub struct TableFull;

#[derive(Debug)]
struct Entry {
    prefix: Prefix,
    key: Key,
}

#[derive(Debug, Clone)]
enum Key {
    Md5(Md5Key),
    Ao(AoKey),
}

/// How a request is signed; kept in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestSignature {
    /// Not at all.
    #[default]
    None,
    /// MD5.
    Md5,
    /// AO, by the key that the peer wants to be answered with (our id for sending).
    Ao {
        /// [`AoKey::send_id`].
        send_id: u8,
    },
}

impl RequestSignature {
    /// Kind and length of the option, as [`crate::tcp::options::Emitted::push_signature`] takes them.
    pub fn option(self) -> Option<(u8, u8)> {
        match self {
            RequestSignature::None => None,
            RequestSignature::Md5 => Some((MD5, MD5_LEN)),
            RequestSignature::Ao { .. } => Some((AO, AO_LEN)),
        }
    }
}

/// Keys by peer. Empty until one is added, and then checked for every SYN.
#[derive(Debug, Default)]
pub struct KeyTable {
    /// Longest prefix first.
    entries: Vec<Entry>,
}

impl KeyTable {
    /// A table without keys.
    pub const fn new() -> KeyTable {
        KeyTable { entries: Vec::new() }
    }

    /// True when no peer has a key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Peers of `prefix` sign with MD5. Takes the place of whatever keys exactly this prefix had.
    pub fn set_md5(&mut self, prefix: Prefix, key: Md5Key) -> Result<(), TableFull> {
        self.remove(prefix);
        self.insert(prefix, Key::Md5(key))
    }

    /// Peers of `prefix` may sign with this AO key (and with those added before). An MD5 key of the prefix
    /// goes; so does an AO key that has one of the ids.
    pub fn add_ao(&mut self, prefix: Prefix, key: AoKey) -> Result<(), TableFull> {
        self.entries.retain(|entry| {
            entry.prefix != prefix
                || matches!(&entry.key, Key::Ao(other)
                    if other.send_id != key.send_id && other.receive_id != key.receive_id)
        });
        if self.entries.iter().filter(|entry| entry.prefix == prefix).count() == MAX_AO_KEYS {
            return Err(TableFull);
        }
        self.insert(prefix, Key::Ao(key))
    }

    /// Removes all keys of a prefix. False when it had none.
    pub fn remove(&mut self, prefix: Prefix) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.prefix != prefix);
        self.entries.len() != before
    }

    /// Judges a SYN, and says how the answer is signed.
    pub fn verify_syn(&self, tuple: &Tuple, segment: &Signed<'_>) -> Result<RequestSignature, Refused> {
        self.verify(tuple, segment, None)
    }

    /// Judges a segment for a request or with a cookie: the ISNs are known.
    pub fn verify_request(
        &self,
        tuple: &Tuple,
        (iss, irs): (Seq, Seq),
        segment: &Signed<'_>,
    ) -> Result<RequestSignature, Refused> {
        self.verify(tuple, segment, Some((iss, irs)))
    }

    /// Signs a SYN-ACK in place; `at` says where in `header` the bytes of the signature begin. False when the
    /// key has been removed meanwhile: then do not send it.
    pub fn sign_syn_ack(
        &self,
        tuple: &Tuple,
        (iss, irs): (Seq, Seq),
        how: RequestSignature,
        header: &mut [u8],
        at: usize,
    ) -> bool {
        let (source, destination) = (tuple.local_ip(), tuple.remote_ip());
        let keys = self.keys_of(tuple.remote_ip());
        let (code, at): (&[u8], usize) = match how {
            RequestSignature::None => return true,
            RequestSignature::Md5 => match keys.first().map(|entry| &entry.key) {
                Some(Key::Md5(key)) => (&key.sign(&Signed { source, destination, header, data: &[] }), at),
                _ => return false,
            },
            RequestSignature::Ao { send_id } => {
                let Some(key) = ao_keys(keys).find(|key| key.send_id == send_id) else { return false };
                if let Some(place) = header.get_mut(at..at + 2) {
                    place.copy_from_slice(&[key.send_id, key.receive_id]);
                }
                let traffic = key.traffic_key(&outbound(tuple, iss, irs));
                (&traffic.sign(&Signed { source, destination, header, data: &[] }, 0), at + 2)
            }
        };
        match header.get_mut(at..at + code.len()) {
            Some(place) => place.copy_from_slice(code),
            None => return false,
        }
        true
    }

    /// The keys of a connection with this peer; `None` when it is not to be signed. `how` comes from its
    /// request, and is `None` for an active open (then the first key that was added signs).
    pub fn for_connection(
        &self,
        tuple: &Tuple,
        iss: Seq,
        irs: Option<Seq>,
        how: Option<RequestSignature>,
    ) -> Option<ConnectionKeys> {
        let keys = self.keys_of(tuple.remote_ip());
        if let Some(Key::Md5(key)) = keys.first().map(|entry| &entry.key) {
            return Some(ConnectionKeys::md5(*tuple, key.clone()));
        }
        let ours: ArrayVec<AoKey, MAX_AO_KEYS> = ao_keys(keys).take(MAX_AO_KEYS).cloned().collect();
        let mut connection = ConnectionKeys::ao(*tuple, iss, irs, &ours)?;
        if let (Some(RequestSignature::Ao { send_id }), Some(mut ao)) = (how, connection.as_ao()) {
            ao.set_current(send_id);
        }
        Some(connection)
    }

    fn verify(
        &self,
        tuple: &Tuple,
        segment: &Signed<'_>,
        isns: Option<(Seq, Seq)>,
    ) -> Result<RequestSignature, Refused> {
        let keys = self.keys_of(tuple.remote_ip());
        let option = SignatureOption::find(segment.options())?;
        match (keys.first().map(|entry| &entry.key), option) {
            (None, SignatureOption::None) => Ok(RequestSignature::None),
            (None, _) => Err(Refused::Unexpected),
            (Some(_), SignatureOption::None) => Err(Refused::Missing),
            (Some(Key::Md5(key)), SignatureOption::Md5(code)) if key.verify(segment, code) => {
                Ok(RequestSignature::Md5)
            }
            (Some(Key::Md5(_)), SignatureOption::Md5(_)) => Err(Refused::Wrong),
            (Some(Key::Ao(first)), SignatureOption::Ao { key_id, next_key_id, mac }) => {
                let key = ao_keys(keys).find(|key| key.receive_id == key_id).ok_or(Refused::UnknownKey)?;
                let direction = match isns {
                    None => inbound(tuple, Seq(segment.seq()), Seq(0)),
                    Some((iss, irs)) => inbound(tuple, irs, iss),
                };
                // A listener's peer is at the beginning of its numbers: the extension is 0, or 1 when they
                // came round at once.
                let extension = isns.map_or(0, |(_, irs)| u32::from(segment.seq() < irs.0));
                if !key.traffic_key(&direction).verify(segment, extension, mac) {
                    return Err(Refused::Wrong);
                }
                let answer = ao_keys(keys).find(|key| key.send_id == next_key_id);
                Ok(RequestSignature::Ao { send_id: answer.or(Some(key)).unwrap_or(first).send_id })
            }
            (Some(Key::Md5(_)), SignatureOption::Ao { .. }) | (Some(Key::Ao(_)), SignatureOption::Md5(_)) => {
                Err(Refused::Unexpected)
            }
        }
    }

    /// All keys of the longest prefix that holds the address: neighbours in the list, at most 256 compares.
    fn keys_of(&self, address: IpAddr) -> &[Entry] {
        let Some(start) = self.entries.iter().position(|entry| entry.prefix.holds(address)) else {
            return &[];
        };
        let prefix = self.entries[start].prefix;
        let len = self.entries[start..].iter().take_while(|entry| entry.prefix == prefix).count();
        &self.entries[start..start + len]
    }

    fn insert(&mut self, prefix: Prefix, key: Key) -> Result<(), TableFull> {
        if self.entries.len() == MAX_SIGNATURE_KEYS {
            return Err(TableFull);
        }
        // Behind those of the same prefix, which are kept together by their bits.
        let order = |entry: &Entry| (u8::MAX - entry.prefix.len, entry.prefix.bits);
        let at = self.entries.partition_point(|entry| order(entry) <= (u8::MAX - prefix.len, prefix.bits));
        self.entries.insert(at, Entry { prefix, key });
        Ok(())
    }
}

fn ao_keys(entries: &[Entry]) -> impl Iterator<Item = &AoKey> {
    entries.iter().filter_map(|entry| match &entry.key {
        Key::Ao(key) => Some(key),
        Key::Md5(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    const SERVER: (IpAddr, u16) = (IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1)), 179);

    fn prefix(text: &str, len: u8) -> Prefix {
        Prefix::new(text.parse().unwrap(), len).unwrap()
    }

    fn ao(send: u8, receive: u8) -> AoKey {
        AoKey::new(send, receive, Algorithm::HmacSha1, b"session").unwrap()
    }

    fn server_end(peer: [u8; 4]) -> Tuple {
        Tuple::new(SERVER, (peer.into(), 50_000))
    }

    fn client(peer: [u8; 4], key: AoKey) -> ConnectionKeys {
        ConnectionKeys::ao(Tuple::new((peer.into(), 50_000), SERVER), Seq(100), None, &[key]).unwrap()
    }

    fn header(kind: u8, len: u8, seq: u32, flags: u8) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        header[13] = flags;
        header.extend([kind, len + 2]);
        header.resize((22 + usize::from(len)).next_multiple_of(4), 0);
        header
    }

    fn came(peer: [u8; 4], header: &[u8]) -> Signed<'_> {
        Signed { source: peer.into(), destination: SERVER.0, header, data: &[] }
    }

    #[test]
    fn a_signed_handshake_passes_the_listener_and_goes_on_in_the_connection() {
        let peer = [10, 0, 0, 5];
        let mut table = KeyTable::new();
        table.add_ao(prefix("10.0.0.0", 8), ao(84, 61)).unwrap();
        let mut client = client(peer, ao(61, 84));
        let tuple = server_end(peer);
        let mut syn = header(AO, AO_LEN, 100, 2);
        client.sign(&mut syn, 22, &[]);
        let how = table.verify_syn(&tuple, &came(peer, &syn)).unwrap();
        assert_eq!((how, how.option()), (RequestSignature::Ao { send_id: 84 }, Some((AO, AO_LEN))));
        let mut syn_ack = header(AO, AO_LEN, 7000, 0x12);
        assert!(table.sign_syn_ack(&tuple, (Seq(7000), Seq(100)), how, &mut syn_ack, 22));
        client.peer_isn(Seq(7000));
        assert_eq!(client.verify(&syn_ack, &[]), Ok(()));
        let mut ack = header(AO, AO_LEN, 101, 0x10);
        client.sign(&mut ack, 22, &[]);
        assert_eq!(table.verify_request(&tuple, (Seq(7000), Seq(100)), &came(peer, &ack)), Ok(how));
        let guess = table.verify_request(&tuple, (Seq(7001), Seq(100)), &came(peer, &ack));
        assert_eq!(guess, Err(Refused::Wrong));
        let mut connection = table.for_connection(&tuple, Seq(7000), Some(Seq(100)), Some(how)).unwrap();
        assert_eq!(connection.verify(&ack, &[]), Ok(()));
        let mut data = header(AO, AO_LEN, 7001, 0x10);
        connection.sign(&mut data, 22, &[b"hello"]);
        assert_eq!(client.verify(&data, &[b"hello"]), Ok(()));
        // The operator takes the key away: an unsigned SYN-ACK must not go out.
        assert!(table.remove(prefix("10.0.0.0", 8)));
        assert!(!table.sign_syn_ack(&tuple, (Seq(7000), Seq(100)), how, &mut syn_ack, 22));
    }

    #[test]
    fn who_must_sign_and_does_not_is_refused_and_so_is_who_signs_and_must_not() {
        let mut table = KeyTable::new();
        let plain = [0; 20];
        let tuple = server_end([10, 0, 0, 5]);
        assert_eq!(table.verify_syn(&tuple, &came([10, 0, 0, 5], &plain)), Ok(RequestSignature::None));
        let signed = header(MD5, MD5_LEN, 1, 2);
        assert_eq!(table.verify_syn(&tuple, &came([10, 0, 0, 5], &signed)), Err(Refused::Unexpected));
        table.set_md5(prefix("10.0.0.5", 32), Md5Key::new(b"k").unwrap()).unwrap();
        assert_eq!(table.verify_syn(&tuple, &came([10, 0, 0, 5], &plain)), Err(Refused::Missing));
        assert_eq!(table.verify_syn(&tuple, &came([10, 0, 0, 5], &signed)), Err(Refused::Wrong));
        let ao_option = header(AO, AO_LEN, 1, 2);
        assert_eq!(table.verify_syn(&tuple, &came([10, 0, 0, 5], &ao_option)), Err(Refused::Unexpected));
        let mut right = header(MD5, MD5_LEN, 1, 2);
        let code = Md5Key::new(b"k").unwrap().sign(&came([10, 0, 0, 5], &right));
        right[22..38].copy_from_slice(&code);
        assert_eq!(table.verify_syn(&tuple, &came([10, 0, 0, 5], &right)), Ok(RequestSignature::Md5));
        let other = server_end([10, 0, 0, 6]);
        assert_eq!(table.verify_syn(&other, &came([10, 0, 0, 6], &plain)), Ok(RequestSignature::None));
    }

    #[test]
    fn the_longest_prefix_decides_and_a_prefix_has_keys_of_one_kind() {
        let mut table = KeyTable::new();
        table.set_md5(prefix("10.0.0.0", 8), Md5Key::new(b"k").unwrap()).unwrap();
        table.add_ao(prefix("10.0.0.5", 32), ao(1, 2)).unwrap();
        table.add_ao(prefix("10.0.0.5", 32), ao(3, 4)).unwrap();
        let connection =
            |table: &KeyTable, peer| table.for_connection(&server_end(peer), Seq(1), Some(Seq(2)), None);
        assert_eq!(connection(&table, [10, 0, 0, 5]).unwrap().as_ao().unwrap().ids(), [1, 2]);
        assert!(connection(&table, [10, 0, 0, 6]).unwrap().as_ao().is_none());
        assert!(connection(&table, [11, 0, 0, 6]).is_none());
        table.set_md5(prefix("10.0.0.5", 32), Md5Key::new(b"k").unwrap()).unwrap();
        assert!(connection(&table, [10, 0, 0, 5]).unwrap().as_ao().is_none());
        assert_eq!((Prefix::new(SERVER.0, 33), Prefix::new("::".parse().unwrap(), 129)), (None, None));
    }

    #[test]
    fn the_table_is_bounded_and_so_are_the_keys_of_a_peer() {
        let mut table = KeyTable::new();
        for n in 0..MAX_SIGNATURE_KEYS as u32 {
            let host = Prefix::new(core::net::Ipv4Addr::from_bits(n).into(), 32).unwrap();
            table.set_md5(host, Md5Key::new(b"k").unwrap()).unwrap();
        }
        assert_eq!(table.add_ao(prefix("::1", 128), ao(1, 2)), Err(TableFull));
        let mut table = KeyTable::new();
        for n in 0..MAX_AO_KEYS as u8 {
            table.add_ao(prefix("::1", 128), ao(n, n)).unwrap();
        }
        assert_eq!(table.add_ao(prefix("::1", 128), ao(200, 200)), Err(TableFull));
        assert_eq!(table.add_ao(prefix("::1", 128), ao(0, 0)), Ok(()), "the same ids again");
    }
}
