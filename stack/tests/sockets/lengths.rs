//! Long datagrams: fragments, and segments that are cut and joined.

use super::client::*;

/// Puts the fragments of one datagram together: (their number, the payload).
fn reassemble(frames: &[(usize, Vec<u8>)]) -> (usize, Vec<u8>) {
    let mut payload: Vec<u8> = Vec::new();
    for (index, (_, frame)) in frames.iter().enumerate() {
        let last = index + 1 == frames.len();
        let half = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let (offset, more, bytes) = if frame[12..14] == [8, 0] {
            assert!(checksum::sum(&frame[14..34]).is_valid());
            ((half(20) & 0x1fff) * 8, half(20) & 0x2000 != 0, &frame[34..])
        } else {
            assert_eq!((frame[20], frame[54]), (44, 17));
            (half(56) & 0xfff8, half(56) & 1 != 0, &frame[62..])
        };
        assert_eq!((offset, more), (payload.len(), !last));
        assert!(frame.len() <= 1514);
        payload.extend(bytes);
    }
    (frames.len(), payload)
}

#[test]
fn the_longest_datagrams_leave_as_fragments_in_both_families() {
    let mut host = host();
    let data: Vec<u8> = (0..65_507u32).map(|n| (n % 251) as u8).collect();
    let socket = host.stack.udp_open(Family::Ipv6, Owner(1)).unwrap();
    for (peer, count) in [("10.0.1.2:9", 45), ("[fd00:1::2]:9", 46)] {
        assert_eq!(send(&mut host, socket, SendArgs::to(at(peer)), &data), Ok(data.len()));
        let (fragments, message) = reassemble(&host.sent());
        assert_eq!((fragments, message[8..] == data[..]), (count, true));
        let (from, to) = (us(at(peer).ip()), at(peer).ip());
        let pseudo = match (from, to) {
            (IpAddr::V4(a), IpAddr::V4(b)) => checksum::pseudo_ipv4(a, b, 17, message.len() as u16),
            (IpAddr::V6(a), IpAddr::V6(b)) => checksum::pseudo_ipv6(&a, &b, 17, message.len() as u32),
            _ => panic!(),
        };
        assert!(pseudo.plus(checksum::sum(&message)).is_valid(), "the checksum is over all of it");
    }
    let too_long = [0; 65_508];
    assert_eq!(
        send(&mut host, socket, SendArgs::to(at("10.0.1.2:9")), &too_long),
        Err(Error::MessageTooLong)
    );
    let counters = &host.stack.counters;
    assert_eq!(counters.get(Counter::Ipv4FragmentsCreated) + counters.get(Counter::Ipv6FragmentsCreated), 91);
    assert_eq!(counters.dropped_in_all(), 0);
}

#[test]
fn a_send_is_cut_into_segments_and_what_arrives_so_is_joined_again() {
    let mut host = host();
    let socket = server(&mut host, Family::Ipv4, "0.0.0.0:53");
    let peer = at("10.0.1.2:9");
    let control = SendControl { segment: Some(1000), ..SendControl::default() };
    let args = SendArgs { to: Some(peer), control, more: false };
    let data: Vec<u8> = (0..2500u32).map(|n| n as u8).collect();
    assert_eq!(send(&mut host, socket, args, &data), Ok(2500));
    let sent: Vec<Vec<u8>> = host.sent().iter().map(|(_, frame)| udp_of(frame).2).collect();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert_eq!(sent.concat(), data);
    let wide = SendControl { segment: Some(1473), ..SendControl::default() };
    let args = SendArgs { control: wide, ..args };
    assert_eq!(send(&mut host, socket, args, &data), Err(Error::MessageTooLong), "wider than the link");
    let tiny = SendArgs { control: SendControl { segment: Some(1), ..control }, ..args };
    assert_eq!(send(&mut host, socket, tiny, &[0; 65]), Err(Error::InvalidArgument), "too many");
    assert_eq!(send(&mut host, socket, tiny, &[0; 64]), Ok(64));
    host.sent();

    set(&mut host, socket, Opt::Gro(true));
    let to = at("10.0.1.1:53");
    let mut damaged = datagram("10.0.1.2", to, &[3; 101]);
    *damaged.last_mut().unwrap() ^= 1;
    let frames = [
        datagram("10.0.1.2", to, &[1; 101]),
        datagram("10.0.1.2", to, &[2; 101]),
        damaged,
        datagram("10.0.1.2", to, &[4; 50]),
        datagram("10.0.1.2", to, &[5; 7]),
    ];
    host.input(LAN, &frames);
    let mut out = [0; 1000];
    let got = host.stack.udp_recv(socket, &mut out).unwrap();
    assert_eq!((got.len, got.segment), (252, 101));
    assert_eq!((out[0], out[101], out[202], out[251]), (1, 2, 4, 4));
    let got = host.stack.udp_recv(socket, &mut out).unwrap();
    assert_eq!((got.len, got.segment), (7, 0), "one alone was not joined");
    assert_nothing_is_held(&mut host);
}
