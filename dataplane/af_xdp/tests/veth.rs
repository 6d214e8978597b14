//! Real packets over veth pairs in namespaces: both directions, each mode, chains, checksums, loss of the interface.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may fail the test

mod common;

use af_xdp::program::Rules;
use af_xdp::*;
use common::{Lab, enter, inside, ip, kernel_version, skip};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

fn attach(mode: Mode, multi_buffer: bool) -> Attachment {
    Attachment::attach("v0", &AttachOptions { mode, rules: Rules::whole_port(), multi_buffer }).unwrap()
}

fn pool(chunks: u32) -> Pool {
    Pool::new(&PoolConfig { chunks, ..PoolConfig::default() }).unwrap()
}

/// Small rings, so that tests are quick.
fn rings() -> SocketOptions {
    SocketOptions {
        rx_ring: 256,
        tx_ring: 256,
        fill_ring: 256,
        completion_ring: 256,
        tx_budget: Some(256),
        ..SocketOptions::default()
    }
}

/// An Ethernet frame of `len` bytes of an EtherType for experiments, numbered.
fn numbered(len: usize, number: u32) -> Vec<u8> {
    let mut packet = vec![0u8; len];
    packet[..6].fill(0xff);
    packet[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    packet[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
    packet[14..18].copy_from_slice(&number.to_be_bytes());
    for (index, byte) in packet[18..].iter_mut().enumerate() {
        *byte = (index as u32).wrapping_mul(31).wrapping_add(number) as u8;
    }
    packet
}

fn whole(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.packet_len()];
    frame.copy_to(&mut bytes);
    bytes
}

/// Turns both sockets until `done` or for ten seconds.
fn turn_until(
    sockets: &mut [&mut Socket],
    mut each: impl FnMut(usize, Frame),
    mut done: impl FnMut() -> bool,
) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "what was awaited did not happen");
        for (index, socket) in sockets.iter_mut().enumerate() {
            socket.complete();
            socket.refill();
            socket.receive(64, |frame| each(index, frame));
            let _ = socket.kick();
            let _ = socket.wake_rx();
        }
    }
}

/// Sends `count` packets of `len` bytes between two sockets in two namespaces and checks every byte.
fn crossing(mode: Mode, mtu: u32, len: usize, count: u32) {
    let lab = Lab::new(1, mtu);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let multi_buffer = mtu > 1500;
            let pool = pool(4096);
            enter(&lab.a);
            let port_a = attach(mode, multi_buffer);
            let mut a = Socket::open(&pool, &port_a, 0, &rings()).unwrap();
            enter(&lab.b);
            let port_b = attach(mode, multi_buffer);
            let mut b = Socket::open(&pool, &port_b, 0, &rings()).unwrap();
            assert_eq!(b.grant().got, mode);
            assert_eq!((a.grant().driver.as_str(), a.grant().tx_checksum), ("veth", true));
            for (from, to) in [(0, 1), (1, 0)] {
                let (mut sent, mut seen) = (0, 0);
                while seen < count {
                    let sockets = [&mut a, &mut b];
                    while sent < count && sent - seen < 32 {
                        let frame = pool.frame(&numbered(len, sent)).unwrap();
                        assert_eq!(frame.is_chain(), len > pool.room());
                        sockets[from].push(frame).unwrap();
                        sent += 1;
                    }
                    sockets[from].submit();
                    let target = sent;
                    let seen = std::cell::Cell::new(&mut seen);
                    let seen = std::cell::RefCell::new(seen.into_inner());
                    let each = |index: usize, frame: Frame| {
                        if index == to && frame.len() >= 18 && frame[12..14] == [0x88, 0xb5] {
                            let mut seen = seen.borrow_mut();
                            assert!(whole(&frame) == numbered(len, **seen), "packet {} is wrong", **seen);
                            **seen += 1;
                        }
                    };
                    let mut sockets = sockets;
                    turn_until(&mut sockets, each, || **seen.borrow() == target);
                }
            }
            let account = pool.conservation([&a, &b]).unwrap();
            assert_eq!((account.held, account.quarantined), (0, 0));
            assert_eq!(a.statistics().unwrap().tx_invalid_descs, 0);
            drop(b); // in its own namespace
            drop(port_b);
            enter(&lab.a);
            drop(a);
            assert_eq!(pool.account().free, 4096, "every chunk came back");
        });
    });
}

#[test]
fn packets_cross_in_native_mode_both_ways() {
    if !skip() {
        crossing(Mode::NativeCopy, 1500, 64, 5_000);
    }
}

#[test]
fn packets_cross_in_generic_mode_both_ways() {
    if !skip() {
        crossing(Mode::Generic, 1500, 1_514, 2_000);
    }
}

#[test]
fn packets_of_an_mtu_of_9000_cross_as_chains_byte_for_byte() {
    if !skip() {
        crossing(Mode::NativeCopy, 9000, 9_014, 500);
    }
}

#[test]
fn packets_of_an_mtu_of_9000_cross_as_chains_in_generic_mode() {
    if !skip() {
        crossing(Mode::Generic, 9000, 8_000, 300);
    }
}

#[test]
fn demanded_zero_copy_is_an_error_on_veth_and_auto_says_why_it_is_not_had() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool(1024);
        {
            let port = attach(Mode::ZeroCopy, false);
            let error = Socket::open(&pool, &port, 0, &rings()).unwrap_err();
            assert!(matches!(error, SocketError::ModeRefused { mode: Mode::ZeroCopy, .. }), "{error}");
        }
        let port = attach(Mode::Auto, false);
        let socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
        let grant = socket.grant();
        assert_eq!((grant.requested, grant.got), (Mode::Auto, Mode::NativeCopy));
        assert_eq!(grant.refused.len(), 1);
        assert_eq!(grant.refused[0].0, Mode::ZeroCopy);
        assert!(grant.refused[0].1.contains("driver"), "{grant}");
    });
}

#[test]
fn what_is_in_the_way_is_named_with_what_to_do() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 9000);
    inside(&lab.a, || {
        let pool = pool(1024);
        let rules = Rules::whole_port();
        let options = AttachOptions { mode: Mode::NativeCopy, rules, multi_buffer: false };
        let error = Attachment::attach("v0", &options).unwrap_err();
        assert!(matches!(error, AttachError::Mtu { mtu: 9000, .. }), "{error}");
        let error = Attachment::attach("nowhere", &options).unwrap_err().to_string();
        assert!(error.contains("no interface `nowhere`"), "{error}");

        let port = attach(Mode::NativeCopy, true);
        let error = Attachment::attach("v0", &AttachOptions { multi_buffer: true, ..options }).unwrap_err();
        assert!(matches!(error, AttachError::Busy { .. }), "{error}");

        let error = Socket::open(&pool, &port, 1, &rings()).unwrap_err();
        assert!(matches!(error, SocketError::NoQueue { queue: 1, .. }), "{error}");
        let _first = Socket::open(&pool, &port, 0, &rings()).unwrap();
        let error = Socket::open(&pool, &port, 0, &rings()).unwrap_err();
        assert!(matches!(error, SocketError::QueueTaken { queue: 0, .. }), "{error}");
        let error = Socket::open(&pool, &port, 0, &SocketOptions { rx_ring: 100, ..rings() }).unwrap_err();
        assert!(matches!(error, SocketError::RingSize { ring: "rx", size: 100 }), "{error}");
        assert_eq!(pool.account().in_rings, 256, "refused sockets took nothing from the pool");
    });
}

#[test]
fn frames_move_from_one_port_to_another_without_a_copy_and_are_conserved_over_100_000() {
    if skip() {
        return;
    }
    const COUNT: u32 = 100_000;
    let (left, right) = (Lab::new(1, 1500), Lab::new(1, 1500));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pool = pool(4096);
            let open = |namespace: &str| {
                enter(namespace);
                let port = attach(Mode::NativeCopy, false);
                let socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
                (socket, port)
            };
            // source (left.a) -> in (left.b) = out (right.a) -> sink (right.b)
            let mut ends = [&left.a, &left.b, &right.a, &right.b].map(|name| (open(name), name));
            let (mut sent, mut sunk, mut refused) = (0u32, 0u32, 0u32);
            let start = Instant::now();
            while sunk + refused < COUNT {
                assert!(
                    start.elapsed() < Duration::from_secs(60),
                    "{sent} sent, {sunk} arrived, {refused} refused"
                );
                let [source, input, output, sink] = &mut ends;
                let (source, input) = (&mut source.0.0, &mut input.0.0);
                let (output, sink) = (&mut output.0.0, &mut sink.0.0);
                while sent < COUNT && sent - sunk - refused < 128 {
                    let frame = pool.frame(&numbered(60, sent)).unwrap();
                    source.push(frame).unwrap();
                    sent += 1;
                }
                source.submit();
                let _ = source.kick();
                source.complete();
                input.receive(64, |frame| {
                    if frame[12..14] == [0x88, 0xb5] {
                        refused += u32::from(output.push(frame).is_err());
                    }
                });
                output.submit();
                let _ = output.kick();
                output.complete();
                input.refill();
                sink.receive(64, |frame| {
                    if frame[12..14] == [0x88, 0xb5] {
                        assert_eq!(frame[..], numbered(60, sunk)[..]);
                        sunk += 1;
                    }
                });
                sink.refill();
            }
            assert_eq!((sunk, refused), (COUNT, 0));
            let account = pool.conservation(ends.iter().map(|end| &end.0.0)).unwrap();
            assert_eq!(account.held, 0);
            for ((socket, port), name) in ends {
                enter(name);
                drop((socket, port));
            }
            assert_eq!(pool.account().free, 4096);
        });
    });
}

/// An IPv4/UDP packet to 10.9.0.2, whose UDP checksum field holds the folded sum of the pseudo-header only.
fn udp_without_sum(to_mac: [u8; 6], port: u16, payload: &[u8]) -> Vec<u8> {
    let fold = |mut sum: u32| {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    };
    let words = |bytes: &[u8]| {
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>()
    };
    let udp_len = (8 + payload.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2];
    ip[2..4].copy_from_slice(&(20 + udp_len).to_be_bytes());
    let sum = !fold(words(&ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = fold(words(&ip[12..20]) + 17 + u32::from(udp_len));
    let mut packet = [&to_mac[..], &[2, 0, 0, 0, 0, 1, 8, 0]].concat();
    packet.extend(ip);
    for field in [4000, port, udp_len, pseudo] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

#[test]
fn the_port_finishes_the_checksum_and_the_kernel_accepts_it() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    // The receiving kernel must check for itself, not trust the mark on the packet: veth hands it over.
    let (mac, receiver) = inside(&lab.b, || {
        let receiver = UdpSocket::bind("10.9.0.2:7000").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        (nic::Interface::open("v0").unwrap().mac, receiver)
    });
    let wrong = udp_without_sum(mac, 7000, b"unfinished");
    inside(&lab.a, || {
        let pool = pool(1024);
        let port = attach(Mode::NativeCopy, false);
        let mut socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
        for payload in [&b"finished by the port"[..], b"odd"] {
            let packet = udp_without_sum(mac, 7000, payload);
            // The link header is put in front after the request, as a stack does it.
            let mut frame = pool.frame(&packet[14..]).unwrap();
            assert!(frame.request_tx_checksum(20, 6));
            assert!(frame.prepend(14));
            frame[..14].copy_from_slice(&packet[..14]);
            socket.push(pool.frame(&wrong).unwrap()).unwrap();
            socket.push(frame).unwrap();
            socket.submit();
            assert_eq!(socket.kick(), Kick::Sent);
            let mut bytes = [0; 100];
            let len = receiver.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], payload, "and the packet without a finished sum was dropped");
        }
        assert_eq!(socket.statistics().unwrap().tx_invalid_descs, 0);
    });
}

#[test]
fn each_of_two_queues_has_its_own_socket_and_gets_its_own_packets() {
    if skip() {
        return;
    }
    let lab = Lab::new(2, 1500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pool = pool(4096);
            enter(&lab.b);
            let port_b = attach(Mode::NativeCopy, false);
            let mut sinks = [0, 1].map(|queue| Socket::open(&pool, &port_b, queue, &rings()).unwrap());
            enter(&lab.a);
            let port_a = attach(Mode::NativeCopy, false);
            let mut sources = [0, 1].map(|queue| Socket::open(&pool, &port_a, queue, &rings()).unwrap());
            for queue in [0, 1, 1, 0] {
                sources[queue].push(pool.frame(&numbered(60, queue as u32)).unwrap()).unwrap();
                sources[queue].submit();
                let _ = sources[queue].kick();
                let got = std::cell::RefCell::new(Vec::new());
                let [first, second] = &mut sinks;
                turn_until(
                    &mut [first, second],
                    |sink, frame| {
                        if frame[12..14] == [0x88, 0xb5] {
                            got.borrow_mut().push((sink, frame[17]));
                        }
                    },
                    || !got.borrow().is_empty(),
                );
                assert_eq!(got.into_inner(), [(queue, queue as u8)]);
            }
            drop(sources);
            enter(&lab.b);
            drop(sinks);
            assert_eq!(pool.account().free, 4096);
        });
    });
}

#[test]
fn a_link_that_goes_down_and_comes_back_is_reported_and_used_again() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool(1024);
        let port = attach(Mode::NativeCopy, false);
        let mut socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
        assert_eq!(socket.state(), LinkState::Up);
        ip(&format!("-n {} link set v0 down", lab.a));
        assert_eq!(socket.state(), LinkState::Down);
        socket.push(pool.frame(&numbered(60, 1)).unwrap()).unwrap();
        socket.submit();
        assert_eq!(socket.kick(), Kick::LinkDown);
        ip(&format!("-n {} link set v0 up", lab.a));
        assert_eq!(socket.kick(), Kick::Sent);
        turn_until(&mut [&mut socket], |_, _| (), || pool.account().in_rings == 256);
    });
}

#[test]
fn an_interface_that_disappears_is_reported_and_its_chunks_come_back() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool(1024);
        let port = attach(Mode::NativeCopy, false);
        let mut socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
        ip(&format!("-n {} link delete v0", lab.a));
        socket.push(pool.frame(&numbered(60, 1)).unwrap()).unwrap();
        socket.submit();
        assert_eq!(socket.kick(), Kick::Gone);
        assert_eq!(socket.state(), LinkState::Gone);
        socket.receive(64, drop);
        pool.conservation([&socket]).unwrap();
        drop(socket);
        assert_eq!(pool.account().free, 1024);
    });
}

#[test]
fn a_queue_can_be_opened_again_at_once_many_times() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool(1024);
        for _ in 0..10 {
            let port = attach(Mode::NativeCopy, false);
            let socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
            drop(socket);
            assert_eq!(pool.account().free, 1024);
        }
    });
}

#[test]
fn the_io_uring_thread_transmits_without_a_kick_of_ours() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool(1024);
        let port = attach(Mode::NativeCopy, false);
        let mut socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
        socket.use_sqpoll(&sqpoll::SqPollOptions::default()).unwrap();
        for number in 0..100 {
            socket.push(pool.frame(&numbered(60, number)).unwrap()).unwrap();
        }
        socket.submit();
        turn_until(
            &mut [&mut socket],
            |_, _| std::thread::yield_now(),
            || {
                std::thread::sleep(Duration::from_micros(100));
                pool.account().in_rings == 256
            },
        );
        assert_eq!(socket.counters().kicks, 0);
        assert!(socket.counters().sqpoll_kicks > 0);
        drop(socket);
        assert_eq!(pool.account().free, 1024);
    });
}

#[test]
fn a_packet_of_too_many_segments_is_dropped_and_counted_and_the_next_one_is_whole() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 65_000);
    let sender = inside(&lab.b, || UdpSocket::bind("10.9.0.2:0").unwrap());
    inside(&lab.a, || {
        let pool = pool(1024);
        // The kernel answers ARP; only the datagrams come to us.
        let claim = Claim {
            destination: Prefix::host("10.9.0.1".parse().unwrap()),
            protocol: Some(17),
            ports: None,
            ownership: Ownership::Shared,
        };
        let rules = Rules { claims: Claims::Only(vec![claim]), exclusions: vec![] };
        let options = AttachOptions { mode: Mode::NativeCopy, rules, multi_buffer: true };
        let port = Attachment::attach("v0", &options).unwrap();
        let mut socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
        let most = pool.room() * MAX_SEGMENTS - 42;
        for len in [most, most + 1, 60_000, 20, most] {
            sender.send_to(&vec![len as u8; len], "10.9.0.1:9").unwrap();
        }
        let got = std::cell::RefCell::new(Vec::new());
        turn_until(
            &mut [&mut socket],
            |_, frame| {
                assert!(frame.segments() <= MAX_SEGMENTS);
                got.borrow_mut().push(frame.packet_len() - 42);
            },
            || got.borrow().len() == 3,
        );
        assert_eq!(got.into_inner(), [most, 20, most]);
        assert_eq!(socket.counters().rx_broken_chains, 2);
        assert_eq!(pool.conservation([&socket]).unwrap().held, 0);
    });
}

#[test]
fn a_packet_that_cannot_be_transmitted_comes_back_with_the_reason() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let (pool, other) = (pool(2048), pool(8));
        let port = attach(Mode::NativeCopy, false);
        let mut socket = Socket::open(&pool, &port, 0, &rings()).unwrap();
        let mut refused = |frame: Frame| socket.push(frame).map_err(|(_, why)| why).unwrap_err();
        assert_eq!(refused(pool.frame(&[0; 13]).unwrap()), Refusal::TooShort);
        assert_eq!(refused(pool.frame(&[0; 1519]).unwrap()), Refusal::TooLong);
        assert_eq!(refused(other.frame(&[0; 60]).unwrap()), Refusal::OtherPool);
        let mut chain = pool.frame(&[0; 60]).unwrap();
        chain.chain(pool.frame(&[0; 60]).unwrap()).unwrap();
        assert_eq!(refused(chain), Refusal::ChainNotOffered);
        let mut shortened = pool.frame(&[0; 60]).unwrap();
        assert!(shortened.request_tx_checksum(34, 6));
        shortened.truncate(41);
        assert_eq!(refused(shortened), Refusal::BadChecksumRequest);

        let mut frames = (0..300).map(|number| pool.frame(&numbered(1518, number)).unwrap());
        assert_eq!(socket.transmit(&mut frames, |_, why| panic!("{why:?}")), 256);
        assert_eq!(frames.len(), 44, "nothing was taken from the source once the ring was full");
        assert_eq!(socket.push(pool.frame(&[0; 60]).unwrap()).unwrap_err().1, Refusal::Full);
        assert_eq!(pool.conservation([&socket]).unwrap().held, 0);
    });
}

#[test]
fn preferred_busy_polling_receives_or_says_why_nothing_is_polled() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pool = pool(2048);
            enter(&lab.a);
            let port_a = attach(Mode::NativeCopy, false);
            let mut source = Socket::open(&pool, &port_a, 0, &rings()).unwrap();
            enter(&lab.b);
            let port_b = attach(Mode::NativeCopy, false);
            let busy_poll = Some(BusyPoll { microseconds: 20, budget: 64 });
            let mut sink = Socket::open(&pool, &port_b, 0, &SocketOptions { busy_poll, ..rings() }).unwrap();
            assert_eq!(sink.grant().busy_poll, Some(20));
            source.push(pool.frame(&numbered(60, 7)).unwrap()).unwrap();
            source.submit();
            let _ = source.kick();
            let (start, mut got) = (Instant::now(), 0);
            while got == 0 && start.elapsed() < Duration::from_secs(5) {
                let _ = sink.busy_poll();
                sink.receive(64, |frame| got += u32::from(frame[12..14] == [0x88, 0xb5]));
            }
            assert_eq!(got, 1);
            assert!(sink.counters().rx_wakeups > 0);
            // veth never names its NAPI instances: kernels that want to be told poll nothing, and say so nowhere.
            let why = sink.grant().no_busy_poll.as_deref();
            match kernel_version() >= (6, 13) {
                true => assert!(why.is_some_and(|why| why.contains("NAPI")), "{why:?}"),
                false => assert_eq!(why, None),
            }
        });
    });
}
