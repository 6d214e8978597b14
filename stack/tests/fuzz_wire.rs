//! Fuzz targets for every parser of `wire`: whatever the bytes, no panic, no endless walk, and nothing that
//! points outside of the packet.
//!
//! As plain tests, each runs a second of random bytes after replaying what is kept in
//! `stack/tests/__fuzz__/<test name>/corpus` and `…/crashes` (files of raw bytes). Longer, by time, ten minutes
//! each here (the number of iterations is unbounded then):
//!
//! ```text
//!   BOLERO_RANDOM_TEST_TIME_MS=600000 cargo test -p flumen-stack --test fuzz_wire
//! ```
//!
//! `BOLERO_RANDOM_ITERATIONS` bounds the number instead, `BOLERO_RANDOM_MAX_LEN` the bytes (4096 otherwise), and
//! `BOLERO_RANDOM_SEED` repeats a failure from the seed it printed. With `cargo-bolero` and a nightly compiler the
//! same targets are guided by coverage and grow their corpus in place:
//!
//! ```text
//!   cargo bolero test -p flumen-stack --test fuzz_wire ipv6 -T 600s
//! ```
//!
//! Purely random bytes seldom have a right checksum or version. So every target also tries the bytes with those
//! fields put right.

use flumen_stack::checksum::{self, Checksum, Integrity};
use flumen_stack::limits::MAX_EXTENSION_BYTES;
use flumen_stack::wire::{arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, ipv6_extension, ndp, tcp, udp, udplite};

/// Puts the first byte right in its upper bits, and tries that too.
fn with_first(bytes: &[u8], mask: u8, value: u8, check: impl Fn(&[u8])) {
    check(bytes);
    let mut copy = bytes.to_vec();
    if let Some(first) = copy.first_mut() {
        *first = *first & !mask | value;
        check(&copy);
    }
}

#[test]
fn ethernet_and_arp() {
    bolero::check!().for_each(|bytes: &[u8]| {
        assert_eq!(ethernet::Header::parse(bytes).is_ok(), bytes.len() >= ethernet::HEADER_LEN);
        let mut copy = bytes.to_vec();
        if let Some(front) = copy.first_chunk_mut() {
            *front = [0, 1, 8, 0, 6, 4, 0, 1 + (bytes.len() & 1) as u8];
        }
        for bytes in [bytes, &copy] {
            if let Ok((packet, rest)) = arp::Packet::parse(bytes) {
                assert_eq!(rest.len() + arp::PACKET_LEN, bytes.len());
                assert!(packet.sender_mac().is_station());
            }
        }
    });
}

#[test]
fn ipv4() {
    bolero::check!().for_each(|bytes: &[u8]| {
        with_first(bytes, 0xf0, 0x40, |bytes| {
            let mut copy = bytes.to_vec();
            let header_len = copy.first().map_or(0, |first| usize::from(first & 15) * 4);
            if let Some(header) = copy.get_mut(..header_len).filter(|header| header.len() >= 20) {
                header[2] &= 0x0f; // total lengths of up to 4095
                header[10..12].fill(0);
                let right = checksum::sum(header).checksum();
                header[10..12].copy_from_slice(&right.to_be_bytes());
            }
            for bytes in [bytes, &copy] {
                let Ok(header) = ipv4::Header::receive(bytes, bytes.len()) else { continue };
                assert!(header.header_len() + header.payload_len() <= bytes.len());
                let mut end = ipv4::HEADER_LEN;
                for option in header.options(bytes) {
                    match option {
                        Ok(option) => {
                            assert!(option.offset >= end);
                            end = option.offset + 2 + option.data.len();
                        }
                        Err(error) => assert!(error.offset >= end && error.offset < header.header_len()),
                    }
                }
                assert!(end <= header.header_len());
            }
        });
    });
}

#[test]
fn ipv6() {
    bolero::check!().for_each(|bytes: &[u8]| {
        with_first(bytes, 0xf0, 0x60, |bytes| {
            // Next headers out of the few that are walked, and short lengths, in place of any.
            let mut copy = bytes.to_vec();
            if copy.len() > 40 {
                let payload = (copy.len() - 40) as u16;
                copy[4..6].copy_from_slice(&payload.to_be_bytes());
                copy[6] = [0, 43, 44, 60][usize::from(copy[6] & 3)];
                for at in (40..copy.len()).step_by(8) {
                    copy[at] = [0, 43, 44, 60, 60, 43, 17, 58][usize::from(copy[at] & 7)];
                    if let Some(length) = copy.get_mut(at + 1) {
                        *length &= 3;
                    }
                }
            }
            for bytes in [bytes, &copy] {
                let Ok(header) = ipv6::Header::receive(bytes, bytes.len()) else { continue };
                let Ok(chain) = ipv6_extension::Chain::walk(header, bytes) else { continue };
                assert!(chain.upper_offset <= header.packet_len());
                assert!(chain.upper_offset - ipv6::HEADER_LEN <= MAX_EXTENSION_BYTES);
                assert_eq!(bytes[chain.upper_named_at], chain.upper.0);
                let extents = [chain.hop_by_hop, chain.destination_options, chain.first_destination_options];
                for extent in extents.into_iter().flatten() {
                    for option in ipv6_extension::Options::new(bytes, extent) {
                        let offset = option.map_or_else(|e| e.offset, |o| o.offset + 1 + o.data.len());
                        assert!(offset < extent.offset + extent.length);
                    }
                }
            }
        });
    });
}

#[test]
fn icmpv4_messages() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut copy = bytes.to_vec();
        icmpv4::fill_checksum(&mut copy);
        assert_eq!(icmpv4::receive(&copy).is_ok(), copy.len() >= icmpv4::HEADER_LEN);
        let _ = icmpv4::receive(bytes);
        if let Ok(icmpv4::Message::Error { quoted, extensions, .. }) = icmpv4::parse(bytes) {
            assert_eq!(quoted.len() + extensions.len() + icmpv4::HEADER_LEN, bytes.len());
        }
        let mut out = [0; icmpv4::MAX_ERROR_PACKET];
        let length = icmpv4::emit_error(&mut out, icmpv4::Problem::TtlExceeded, bytes).unwrap();
        assert!(icmpv4::receive(&out[..length]).is_ok());
    });
}

#[test]
fn icmpv6_and_neighbour_discovery() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Ok((ip, message)) = ipv6::Header::parse(bytes) else { return };
        let mut ip = *ip;
        let _ = icmpv6::receive(&ip.source(), &ip.destination(), message);
        let mut copy = message.to_vec();
        // The five types, code 0, hop limit 255, often a link-local source: what else would seldom be reached.
        if let Some([kind, code]) = copy.first_chunk_mut() {
            (*kind, *code) = (133 + *kind % 5, *code & 0x80);
        }
        ip.hop_limit = ndp::HOP_LIMIT;
        if ip.source[15] & 1 == 0 {
            ip.source[..2].copy_from_slice(&[0xfe, 0x80]);
        }
        let pseudo = icmpv6::pseudo_header(&ip.source(), &ip.destination(), copy.len());
        icmpv6::fill_checksum(&mut copy, pseudo);
        use ndp::Message::*;
        let options = match ndp::receive(&ip, &copy) {
            Ok(RouterSolicitation { options } | RouterAdvertisement { options, .. }) => options,
            Ok(NeighbourSolicitation { options, .. } | NeighbourAdvertisement { options, .. }) => options,
            Ok(Redirect { options, .. }) => options,
            Err(error) => {
                assert_ne!(error, ndp::Error::BadChecksum);
                return;
            }
        };
        let total: usize = options.iter().map(|option| option.data.len() + 2).sum();
        assert!(total.is_multiple_of(8) && total < copy.len());
        let _ =
            (options.source_link_address(), options.target_link_address(), options.mtu(), options.nonce());
        let _ = options.redirected_packet();
        assert!(options.prefixes().all(|prefix| prefix.length <= 128));
    });
}

#[test]
fn udp_udp_lite_and_tcp() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(header) = udp::Header::receive(bytes, bytes.len()) {
            assert!(usize::from(header.length.get()) <= bytes.len());
        }
        if let Ok((header, covered)) = udplite::Header::receive(bytes, bytes.len()) {
            assert!((udplite::HEADER_LEN..=bytes.len()).contains(&covered) && header.checksum.get() != 0);
        }
        let mut copy = bytes.to_vec();
        if let Some(half) = copy.get_mut(4..6) {
            half[0] = 0; // coverages that a short datagram has
            udplite::fill_checksum(&mut copy, checksum::Sum::ZERO);
            let stated = usize::from(copy[5]);
            let right = stated == 0 || (udplite::HEADER_LEN..=copy.len()).contains(&stated);
            assert_eq!(udplite::Header::receive(&copy, copy.len()).is_ok(), right && copy.len() >= 8);
        }
        if let Ok(header) = tcp::Header::receive(bytes) {
            let total: usize = header.options(bytes).flatten().map(|option| option.data.len() + 2).sum();
            assert!(tcp::HEADER_LEN + total <= header.header_len());
        }
    });
}

#[test]
fn checksums_of_pieces() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Some((cut, data)) = bytes.split_first() else { return };
        let (first, rest) = data.split_at(usize::from(*cut).min(data.len()));
        let mut joined = Checksum::default();
        joined.add(first);
        joined.add(rest);
        assert_eq!(joined.sum().fold(), checksum::sum(data).fold());
        // Completing makes a segment valid, whatever pseudo-header was in the field, but for the sum of nothing
        // but zeros, which no real pseudo-header has.
        let Some(&[high, low]) = data.get(6..8).and_then(<[u8]>::first_chunk) else { return };
        let field = u16::from_be_bytes([high, low]);
        let pseudo = checksum::Sum::ZERO.plus_u16(field);
        let mut segment = data.to_vec();
        assert!(checksum::complete_partial(&mut segment, 6, false));
        let stored = u16::from_be_bytes([segment[6], segment[7]]);
        if field != 0 {
            assert_eq!(checksum::integrity(pseudo, checksum::sum(&segment), stored), Integrity::Valid);
        }
    });
}
