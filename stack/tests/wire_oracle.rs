//! The headers of `wire`, read side by side with crate `etherparse`: an independent reader of the same RFCs.

use etherparse::{
    Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, TcpOptionElement, UdpHeader, UdpHeaderSlice,
};
use flumen_stack::checksum;
use flumen_stack::wire::{IpProtocol, icmpv4, ipv4, ipv6, tcp, udp};
use proptest::prelude::*;

/// Random bytes; nine times in ten with `value` in the `mask` bits of the byte at `at`, so that most are accepted.
fn biased(at: usize, mask: u8, value: u8) -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 0..90), 0..10).prop_map(move |(mut bytes, dice)| {
        if let (true, Some(byte)) = (dice > 0, bytes.get_mut(at)) {
            *byte = *byte & !mask | value;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn ipv4_headers_read_alike(bytes in biased(0, 0xfc, 0x44)) {
        let ours = ipv4::Header::parse(&bytes).ok().map(|(header, _)| header);
        let ours = ours.filter(|header| header.check_version().is_ok() && header.header_len() <= bytes.len());
        let theirs = Ipv4HeaderSlice::from_slice(&bytes).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(()) };
        prop_assert_eq!(ours.header_len(), theirs.slice().len());
        prop_assert_eq!((ours.dscp(), ours.ecn()), (theirs.dcp().value(), theirs.ecn().value()));
        prop_assert_eq!(ours.total_length.get(), theirs.total_len());
        prop_assert_eq!(ours.identification.get(), theirs.identification());
        prop_assert_eq!(ours.dont_fragment(), theirs.dont_fragment());
        prop_assert_eq!(ours.more_fragments(), theirs.more_fragments());
        prop_assert_eq!(ours.fragment_offset(), usize::from(theirs.fragments_offset().value()) * 8);
        prop_assert_eq!((ours.ttl, ours.protocol), (theirs.ttl(), theirs.protocol().0));
        prop_assert_eq!(ours.header_checksum.get(), theirs.header_checksum());
        prop_assert_eq!((ours.source(), ours.destination()), (theirs.source_addr(), theirs.destination_addr()));
        // With the checksum that they calculate (without the reserved flag, which they do not keep) it is valid.
        let mut corrected = bytes[..ours.header_len()].to_vec();
        corrected[6] &= 0x7f;
        corrected[10..12].copy_from_slice(&theirs.to_header().calc_header_checksum().to_be_bytes());
        prop_assert!(checksum::sum(&corrected).is_valid());
    }

    #[test]
    fn ipv6_headers_read_alike(bytes in biased(0, 0xf0, 0x60)) {
        let ours = ipv6::Header::receive(&bytes, usize::MAX).ok();
        let theirs = Ipv6HeaderSlice::from_slice(&bytes).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(()) };
        prop_assert_eq!((ours.version(), ours.traffic_class()), (theirs.version(), theirs.traffic_class()));
        prop_assert_eq!(ours.flow_label(), theirs.flow_label().value());
        prop_assert_eq!(ours.payload_length.get(), theirs.payload_length());
        prop_assert_eq!((ours.next_header, ours.hop_limit), (theirs.next_header().0, theirs.hop_limit()));
        prop_assert_eq!((ours.source(), ours.destination()), (theirs.source_addr(), theirs.destination_addr()));
    }

    #[test]
    fn udp_headers_and_checksums_read_alike(
        bytes in prop::collection::vec(any::<u8>(), 0..60), s in any::<[u8; 4]>(), d in any::<[u8; 4]>(),
    ) {
        let ours = udp::Header::parse(&bytes).ok();
        let theirs = UdpHeaderSlice::from_slice(&bytes).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        let (Some((ours, data)), Some(theirs)) = (ours, theirs) else { return Ok(()) };
        let ports = (ours.source_port.get(), ours.destination_port.get());
        prop_assert_eq!(ports, (theirs.source_port(), theirs.destination_port()));
        prop_assert_eq!((ours.length.get(), ours.checksum.get()), (theirs.length(), theirs.checksum()));

        let made = udp::Header::new(ports.0, ports.1, data.len()).unwrap();
        let mut datagram = bytes.clone();
        made.emit(&mut datagram).unwrap();
        let ip = ipv4::Header::new(s.into(), d.into(), IpProtocol::UDP, 64, datagram.len()).unwrap();
        udp::fill_checksum(&mut datagram, ip.pseudo_header());
        let theirs =
            UdpHeader { source_port: ports.0, destination_port: ports.1, length: made.length.get(), checksum: 0 };
        let right = theirs.calc_checksum_ipv4_raw(s, d, data).unwrap();
        prop_assert_eq!(udp::Header::parse(&datagram).unwrap().0.checksum.get(), right);
    }

    #[test]
    fn tcp_headers_read_alike(bytes in biased(12, 0xc0, 0x40)) {
        let ours = tcp::Header::receive(&bytes).ok();
        let theirs = TcpHeaderSlice::from_slice(&bytes).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(()) };
        prop_assert_eq!(ours.source_port.get(), theirs.source_port());
        prop_assert_eq!(ours.destination_port.get(), theirs.destination_port());
        prop_assert_eq!(ours.sequence.get(), theirs.sequence_number());
        prop_assert_eq!(ours.acknowledgment.get(), theirs.acknowledgment_number());
        prop_assert_eq!(ours.header_len(), usize::from(theirs.data_offset()) * 4);
        let lower = [theirs.fin(), theirs.syn(), theirs.rst(), theirs.psh(), theirs.ack()];
        let upper = [theirs.urg(), theirs.ece(), theirs.cwr(), theirs.ns()];
        for (bit, set) in lower.into_iter().chain(upper).enumerate() {
            prop_assert_eq!(ours.flags() >> bit & 1 == 1, set, "flag {}", bit);
        }
        prop_assert_eq!((ours.window.get(), ours.checksum.get()), (theirs.window_size(), theirs.checksum()));
        prop_assert_eq!(ours.urgent_pointer.get(), theirs.urgent_pointer());
    }

    #[test]
    fn tcp_options_read_alike(mss in any::<u16>(), scale in any::<u8>(), times in any::<(u32, u32)>(), nops in 0usize..4) {
        let mut elements = vec![TcpOptionElement::Noop; nops];
        elements.push(TcpOptionElement::MaximumSegmentSize(mss));
        elements.push(TcpOptionElement::WindowScale(scale));
        elements.push(TcpOptionElement::Timestamp(times.0, times.1));
        let mut header = etherparse::TcpHeader::new(1, 2, 3, 4);
        header.set_options(&elements).unwrap();
        let bytes = header.to_bytes();
        let ours: Vec<_> = tcp::Header::receive(&bytes).unwrap().options(&bytes).map(|o| o.unwrap()).collect();
        let kinds: Vec<_> = ours.iter().map(|option| option.kind).collect();
        use tcp::option::{MSS, TIMESTAMPS, WINDOW_SCALE};
        prop_assert_eq!(kinds, [MSS, WINDOW_SCALE, TIMESTAMPS]);
        prop_assert_eq!(ours[0].data, mss.to_be_bytes());
        prop_assert_eq!(ours[1].data, [scale]);
        prop_assert_eq!(ours[2].data, [times.0.to_be_bytes(), times.1.to_be_bytes()].concat());
    }

    #[test]
    fn icmp_echo_reads_alike(id in any::<u16>(), seq in any::<u16>(), data in prop::collection::vec(any::<u8>(), 0..50)) {
        let kind = etherparse::Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id, seq });
        let mut theirs = etherparse::Icmpv4Header::with_checksum(kind, &data).to_bytes().to_vec();
        theirs.extend(&data);
        let expected = icmpv4::Echo { identifier: id, sequence: seq, data: &data };
        prop_assert_eq!(icmpv4::receive(&theirs), Ok(icmpv4::Message::EchoRequest(expected)));
        let mut ours = vec![0; 8 + data.len()];
        icmpv4::Header::echo(false, id, seq).emit(&mut ours).unwrap().copy_from_slice(&data);
        icmpv4::fill_checksum(&mut ours);
        prop_assert_eq!(ours, theirs);
    }
}
