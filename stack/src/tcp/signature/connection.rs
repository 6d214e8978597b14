//! The keys of one connection: what signs each segment that leaves, and judges each that comes.
//!
//! AO numbers bytes with 64 bits (RFC 5925 section 6.2), so that a segment cannot be replayed when the 32
//! bits have come round: the upper half, the *extension*, is not sent but taken from where the stream stands.
//!
//! Keys change without a break (section 6.1): each end says in every segment by which key it wants to be
//! answered.
//!
//! ```text
//!   we                                            the peer
//!   set_next(new)   ── signed old, next: new ──>  has it? from now on signs with it
//!                   <── signed new, next: old ──
//! ```

use super::ao::{AoKey, Direction, TrafficKey};
use super::md5::Md5Key;
use super::segment::{SignatureOption, Signed};
use super::{AO_LEN, MD5_LEN, Refused};
use crate::limits::MAX_AO_KEYS;
use crate::tcp::Seq;
use crate::tcp::options::{AO, MD5};
use crate::tcp::tuple::Tuple;
use arrayvec::ArrayVec;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What signs a connection.
#[derive(Debug)]
pub struct ConnectionKeys {
    tuple: Tuple,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Md5(Md5Key),
    Ao(Box<AoConnection>),
}

impl ConnectionKeys {
    /// Signs with MD5.
    pub fn md5(tuple: Tuple, key: Md5Key) -> ConnectionKeys {
        ConnectionKeys { tuple, kind: Kind::Md5(key) }
    }

    /// Signs with AO. `iss` is ours; `irs` the peer's, unless it is not known yet: then say it by
    /// [`ConnectionKeys::peer_isn`] before the SYN-ACK is verified. The first of `keys` signs. `None` when
    /// there are none; more than [`MAX_AO_KEYS`] are left away.
    pub fn ao(tuple: Tuple, iss: Seq, irs: Option<Seq>, keys: &[AoKey]) -> Option<ConnectionKeys> {
        if keys.is_empty() {
            return None;
        }
        let mut connection = AoConnection {
            keys: ArrayVec::new(),
            iss,
            irs,
            current: 0,
            next: 0,
            sent: u64::from(iss.0),
            received: u64::from(irs.unwrap_or_default().0),
        };
        for key in keys.iter().take(MAX_AO_KEYS) {
            connection.keys.push(Installed::new(key.clone(), &tuple, iss, irs));
        }
        Some(ConnectionKeys { tuple, kind: Kind::Ao(Box::new(connection)) })
    }

    /// Kind and length of the option that each segment carries, as
    /// [`crate::tcp::options::Emitted::push_signature`] takes them.
    pub fn option(&self) -> (u8, u8) {
        match self.kind {
            Kind::Md5(_) => (MD5, MD5_LEN),
            Kind::Ao(_) => (AO, AO_LEN),
        }
    }

    /// The peer's ISN became known: its SYN or SYN-ACK came. Call it before that is verified.
    pub fn peer_isn(&mut self, irs: Seq) {
        if let Kind::Ao(ao) = &mut self.kind
            && ao.irs != Some(irs)
        {
            ao.irs = Some(irs);
            ao.received = u64::from(irs.0);
            for installed in &mut ao.keys {
                *installed = Installed::new(installed.key.clone(), &self.tuple, ao.iss, Some(irs));
            }
        }
    }

    /// Signs an outgoing segment in place. `at` says where in `header` (fixed header and options) the bytes
    /// of the signature begin; the checksum is yet to be made.
    pub fn sign(&mut self, header: &mut [u8], at: usize, data: &[&[u8]]) {
        let (source, destination) = (self.tuple.local_ip(), self.tuple.remote_ip());
        let (code, at): (&[u8], usize) = match &mut self.kind {
            Kind::Md5(key) => (&key.sign(&Signed { source, destination, header, data }), at),
            Kind::Ao(ao) => {
                let ids = ao.ids();
                if let Some(place) = header.get_mut(at..at + 2) {
                    place.copy_from_slice(&ids);
                }
                (&ao.sign(&Signed { source, destination, header, data }), at + 2)
            }
        };
        if let Some(place) = header.get_mut(at..at + code.len()) {
            place.copy_from_slice(code);
        }
    }

    /// Judges a segment that came (`header` with its options).
    pub fn verify(&mut self, header: &[u8], data: &[&[u8]]) -> Result<(), Refused> {
        let segment =
            Signed { source: self.tuple.remote_ip(), destination: self.tuple.local_ip(), header, data };
        let option = SignatureOption::find(segment.options())?;
        match (&mut self.kind, option) {
            (_, SignatureOption::None) => Err(Refused::Missing),
            (Kind::Md5(key), SignatureOption::Md5(code)) => {
                if key.verify(&segment, code) {
                    Ok(())
                } else {
                    Err(Refused::Wrong)
                }
            }
            (Kind::Ao(ao), SignatureOption::Ao { key_id, next_key_id, mac }) => {
                ao.verify(&segment, key_id, next_key_id, mac)
            }
            (Kind::Md5(_), SignatureOption::Ao { .. }) | (Kind::Ao(_), SignatureOption::Md5(_)) => {
                Err(Refused::Unexpected)
            }
        }
    }

    /// The AO keys, for changing them; `None` with MD5.
    pub fn as_ao(&mut self) -> Option<AoKeys<'_>> {
        match &mut self.kind {
            Kind::Md5(_) => None,
            Kind::Ao(ao) => Some(AoKeys { tuple: self.tuple, ao }),
        }
    }
}

/// A connection's AO keys, while they are changed.
#[derive(Debug)]
pub struct AoKeys<'a> {
    tuple: Tuple,
    ao: &'a mut AoConnection,
}

impl AoKeys<'_> {
    /// Adds a key, or changes the one with the same ids. False when there is no room, or when one of its ids
    /// is taken by another key.
    pub fn add(&mut self, key: AoKey) -> bool {
        let same =
            |other: &Installed| other.key.send_id == key.send_id && other.key.receive_id == key.receive_id;
        let clash = |other: &Installed| {
            !same(other) && (other.key.send_id == key.send_id || other.key.receive_id == key.receive_id)
        };
        if self.ao.keys.iter().any(clash) {
            return false;
        }
        let place = self.ao.keys.iter().position(same);
        let installed = Installed::new(key, &self.tuple, self.ao.iss, self.ao.irs);
        match place {
            Some(place) => self.ao.keys[place] = installed,
            None => return self.ao.keys.try_push(installed).is_ok(),
        }
        true
    }

    /// Removes a key by the id that we send. False when there is none, or when it is in use.
    pub fn remove(&mut self, send_id: u8) -> bool {
        let Some(place) = self.ao.keys.iter().position(|one| one.key.send_id == send_id) else {
            return false;
        };
        if place == self.ao.current || place == self.ao.next {
            return false;
        }
        self.ao.keys.remove(place);
        for used in [&mut self.ao.current, &mut self.ao.next] {
            *used -= usize::from(*used > place);
        }
        true
    }

    /// Signs with the key of this id from now on. False when there is none.
    pub fn set_current(&mut self, send_id: u8) -> bool {
        let place = self.ao.keys.iter().position(|one| one.key.send_id == send_id);
        self.ao.current = place.unwrap_or(self.ao.current);
        place.is_some()
    }

    /// Asks the peer to sign with the key that it sends by this id. False when there is none.
    pub fn set_next(&mut self, receive_id: u8) -> bool {
        let place = self.ao.keys.iter().position(|one| one.key.receive_id == receive_id);
        self.ao.next = place.unwrap_or(self.ao.next);
        place.is_some()
    }

    /// The ids with which the next segment goes out: of the key that signs it, and of the one that is wanted.
    pub fn ids(&self) -> [u8; 2] {
        self.ao.ids()
    }
}

/// The AO state of a connection.
#[derive(Debug)]
pub struct AoConnection {
    keys: ArrayVec<Installed, MAX_AO_KEYS>,
    iss: Seq,
    irs: Option<Seq>,
    /// Place of the key that signs (RFC 5925: current_key).
    current: usize,
    /// Place of the key by which we want to be answered (rnext_key).
    next: usize,
    /// 64-bit numbers of the furthest segments that went and came.
    sent: u64,
    received: u64,
}

/// A master key with the four traffic keys of the connection.
#[derive(Debug)]
struct Installed {
    key: AoKey,
    send_syn: TrafficKey,
    receive_syn: TrafficKey,
    send: TrafficKey,
    receive: TrafficKey,
}

impl Installed {
    fn new(key: AoKey, tuple: &Tuple, iss: Seq, irs: Option<Seq>) -> Installed {
        let irs = irs.unwrap_or_default();
        let key_of = |direction| key.traffic_key(&direction);
        Installed {
            send_syn: key_of(outbound(tuple, iss, Seq(0))),
            receive_syn: key_of(inbound(tuple, irs, Seq(0))),
            send: key_of(outbound(tuple, iss, irs)),
            receive: key_of(inbound(tuple, irs, iss)),
            key,
        }
    }
}

/// From us to the peer.
pub(super) fn outbound(tuple: &Tuple, iss: Seq, irs: Seq) -> Direction {
    Direction {
        source: (tuple.local_ip(), tuple.local_port),
        destination: (tuple.remote_ip(), tuple.remote_port),
        source_isn: iss,
        destination_isn: irs,
    }
}

/// From the peer to us.
pub(super) fn inbound(tuple: &Tuple, irs: Seq, iss: Seq) -> Direction {
    Direction {
        source: (tuple.remote_ip(), tuple.remote_port),
        destination: (tuple.local_ip(), tuple.local_port),
        source_isn: irs,
        destination_isn: iss,
    }
}

/// The 64-bit number nearest to `reference` whose lower half is `seq`; nothing is before zero.
fn extend(reference: u64, seq: u32) -> u64 {
    let difference = seq.wrapping_sub(reference as u32) as i32;
    reference.checked_add_signed(i64::from(difference)).unwrap_or(u64::from(seq))
}

impl AoConnection {
    fn ids(&self) -> [u8; 2] {
        let id = |place: usize, of: fn(&AoKey) -> u8| self.keys.get(place).map_or(0, |one| of(&one.key));
        [id(self.current, |key| key.send_id), id(self.next, |key| key.receive_id)]
    }

    fn sign(&mut self, segment: &Signed<'_>) -> [u8; 12] {
        let number = extend(self.sent, segment.seq());
        self.sent = self.sent.max(number);
        let Some(installed) = self.keys.get(self.current) else { return [0; 12] };
        let is_syn = segment.flags() & (SYN | ACK) == SYN;
        let key = if is_syn { &installed.send_syn } else { &installed.send };
        key.sign(segment, (number >> 32) as u32)
    }

    /// RFC 5925 section 7.5.
    fn verify(&mut self, segment: &Signed<'_>, key_id: u8, next: u8, mac: &[u8; 12]) -> Result<(), Refused> {
        let installed = self.keys.iter().find(|one| one.key.receive_id == key_id);
        let installed = installed.ok_or(Refused::UnknownKey)?;
        let number = extend(self.received, segment.seq());
        let is_syn = segment.flags() & (SYN | ACK) == SYN;
        let key = if is_syn { &installed.receive_syn } else { &installed.receive };
        if !key.verify(segment, (number >> 32) as u32, mac) {
            return Err(Refused::Wrong);
        }
        self.received = self.received.max(number);
        // The peer wants to be answered by another key, and we have it.
        if let Some(place) = self.keys.iter().position(|one| one.key.send_id == next) {
            self.current = place;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;
    use proptest::prelude::*;

    const ISS: Seq = Seq(0xffff_fff0);
    const IRS: Seq = Seq(1000);

    fn tuples() -> (Tuple, Tuple) {
        let (one, two) = (([192, 0, 2, 1].into(), 179), ([192, 0, 2, 2].into(), 50_000));
        (Tuple::new(one, two), Tuple::new(two, one))
    }

    /// Both ends; the ids are turned round at the other one.
    fn pair(ids: &[(u8, u8)]) -> (ConnectionKeys, ConnectionKeys) {
        let key = |send, receive| AoKey::new(send, receive, Algorithm::Aes128Cmac, b"master").unwrap();
        let ours: Vec<_> = ids.iter().map(|&(send, receive)| key(send, receive)).collect();
        let theirs: Vec<_> = ids.iter().map(|&(send, receive)| key(receive, send)).collect();
        let (here, there) = tuples();
        (
            ConnectionKeys::ao(here, ISS, Some(IRS), &ours).unwrap(),
            ConnectionKeys::ao(there, IRS, Some(ISS), &theirs).unwrap(),
        )
    }

    fn segment(keys: &mut ConnectionKeys, seq: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let (kind, len) = keys.option();
        let mut header = vec![0; 20];
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        header[13] = flags;
        header.extend([kind, len + 2]);
        header.resize(20 + usize::from(len) + 2, 0);
        header[12] = (header.len().div_ceil(4) << 4) as u8;
        header.resize(header.len().next_multiple_of(4), 1);
        keys.sign(&mut header, 22, &[data]);
        header
    }

    #[test]
    fn a_signed_segment_passes_and_a_changed_one_does_not() {
        let (mut here, mut there) = pair(&[(1, 2)]);
        let mut header = segment(&mut here, 5, ACK, b"data");
        assert_eq!(there.verify(&header, &[b"da", b"ta"]), Ok(()));
        assert_eq!(there.verify(&header, &[b"Data"]), Err(Refused::Wrong));
        assert_eq!(there.verify(&header[..20], &[b"data"]), Err(Refused::Missing));
        header[22] = 9;
        assert_eq!(there.verify(&header, &[b"data"]), Err(Refused::UnknownKey));
    }

    #[test]
    fn md5_and_ao_refuse_each_other() {
        let (here, _) = tuples();
        let mut md5 = ConnectionKeys::md5(here, Md5Key::new(b"key").unwrap());
        let (_, there_tuple) = tuples();
        let mut md5_peer = ConnectionKeys::md5(there_tuple, Md5Key::new(b"key").unwrap());
        let (_, mut ao_peer) = pair(&[(1, 2)]);
        let header = segment(&mut md5, 5, ACK, b"data");
        assert_eq!(md5_peer.verify(&header, &[b"data"]), Ok(()));
        assert_eq!(ao_peer.verify(&header, &[b"data"]), Err(Refused::Unexpected));
        assert_eq!(md5_peer.verify(&header, &[b"Data"]), Err(Refused::Wrong));
        let (mut ao, _) = pair(&[(1, 2)]);
        assert_eq!(md5_peer.verify(&segment(&mut ao, 5, ACK, b""), &[]), Err(Refused::Unexpected));
    }

    #[test]
    fn the_extension_grows_when_numbers_come_round_and_old_segments_are_not_taken_for_new_ones() {
        let (mut here, mut there) = pair(&[(1, 2)]);
        let before = segment(&mut here, ISS.0, ACK, b"old");
        assert_eq!(there.verify(&before, &[b"old"]), Ok(()));
        for step in 1..=8u32 {
            let seq = ISS.0.wrapping_add(step << 29);
            let header = segment(&mut here, seq, ACK, b"x");
            assert_eq!(there.verify(&header, &[b"x"]), Ok(()), "step {step}");
        }
        // 2^32 later the same header comes again: its extension was another one.
        assert_eq!(there.verify(&before, &[b"old"]), Err(Refused::Wrong));
        // A retransmission from just before the turn still passes.
        let late = segment(&mut here, ISS.0.wrapping_sub(1), ACK, b"late");
        assert_eq!(there.verify(&late, &[b"late"]), Ok(()));
    }

    #[test]
    fn keys_change_without_a_break_when_one_end_asks() {
        let (mut here, mut there) = pair(&[(1, 2), (3, 4)]);
        assert_eq!(here.as_ao().unwrap().ids(), [1, 2]);
        assert!(here.as_ao().unwrap().set_next(4) && !here.as_ao().unwrap().set_next(9));
        let header = segment(&mut here, 5, ACK, b"");
        assert_eq!(header[22..24], [1, 4]);
        assert_eq!(there.verify(&header, &[]), Ok(()));
        let answer = segment(&mut there, 1001, ACK, b"");
        assert_eq!(answer[22..24], [4, 1], "signed with the new key");
        assert_eq!(here.verify(&answer, &[]), Ok(()));
        assert_eq!(here.as_ao().unwrap().ids(), [1, 4]);
        // The other direction too, and then the old key can go.
        assert!(!here.as_ao().unwrap().remove(1));
        assert!(there.as_ao().unwrap().set_next(3));
        assert_eq!(here.verify(&segment(&mut there, 1001, ACK, b""), &[]), Ok(()));
        assert_eq!(here.as_ao().unwrap().ids(), [3, 4]);
        assert!(here.as_ao().unwrap().remove(1));
        assert_eq!(here.as_ao().unwrap().ids(), [3, 4]);
        let header = segment(&mut here, 6, ACK, b"");
        assert_eq!(there.verify(&header, &[]), Ok(()));
    }

    #[test]
    fn an_active_open_signs_its_syn_before_it_knows_the_peers_number() {
        let (here, there) = tuples();
        let key = |send, receive| [AoKey::new(send, receive, Algorithm::HmacSha1, b"m").unwrap()];
        let mut client = ConnectionKeys::ao(here, ISS, None, &key(1, 2)).unwrap();
        let mut server = ConnectionKeys::ao(there, IRS, Some(ISS), &key(2, 1)).unwrap();
        let syn = segment(&mut client, ISS.0, SYN, b"");
        assert_eq!(server.verify(&syn, &[]), Ok(()));
        let syn_ack = segment(&mut server, IRS.0, SYN | ACK, b"");
        assert_eq!(client.verify(&syn_ack, &[]), Err(Refused::Wrong));
        client.peer_isn(IRS);
        assert_eq!(client.verify(&syn_ack, &[]), Ok(()));
        assert_eq!(server.verify(&segment(&mut client, ISS.0 + 1, ACK, b""), &[]), Ok(()));
    }

    #[test]
    fn a_connection_has_room_for_its_bound_of_keys_with_distinct_ids() {
        let (mut here, _) = pair(&[(0, 100)]);
        let key = |send, receive| AoKey::new(send, receive, Algorithm::HmacSha1, b"m").unwrap();
        let mut keys = here.as_ao().unwrap();
        for n in 1..MAX_AO_KEYS as u8 {
            assert!(keys.add(key(n, 100 + n)));
        }
        assert!(!keys.add(key(50, 150)), "full");
        assert!(keys.add(key(1, 101)), "changed in place");
        assert!(!keys.add(key(1, 102)), "an id of two others");
        let (here, _) = tuples();
        assert!(ConnectionKeys::ao(here, ISS, None, &[]).is_none());
    }

    proptest! {
        #[test]
        fn extended_numbers_follow_a_64_bit_count(
            start: u32, steps in prop::collection::vec(-1_000_000i64..0x4000_0000, 1..100),
        ) {
            let (mut truth, mut reference) = (u64::from(start), u64::from(start));
            for step in steps {
                truth = truth.saturating_add_signed(step).max(u64::from(start));
                prop_assert_eq!(extend(reference, truth as u32), truth);
                reference = reference.max(truth);
            }
        }
    }
}
