//! Bursts sent in bulk over veth pairs in namespaces: byte for byte, up to the bounds, and when the link is not there.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may fail the test

mod common;

use af_xdp::program::Rules;
use af_xdp::socket::bulk::{LEAST, SLOTS};
use af_xdp::*;
use common::{Lab, enter, inside, ip, kernel_version, skip};
use std::time::{Duration, Instant};

fn attach(multi_buffer: bool) -> Attachment {
    let options = AttachOptions { mode: Mode::NativeCopy, rules: Rules::whole_port(), multi_buffer };
    Attachment::attach("v0", &options).unwrap()
}

fn pool() -> Pool {
    Pool::new(&PoolConfig { chunks: 4096, ..PoolConfig::default() }).unwrap()
}

fn options(transmit: Transmit) -> SocketOptions {
    SocketOptions {
        rx_ring: 256,
        tx_ring: 256,
        fill_ring: 512,
        completion_ring: 256,
        tx_budget: Some(256),
        transmit,
        ..SocketOptions::default()
    }
}

/// An Ethernet frame of `len` bytes of an EtherType for experiments, numbered.
fn numbered(len: usize, number: u32) -> Vec<u8> {
    let mut packet: Vec<u8> =
        (0..len).map(|index| (index as u32).wrapping_mul(31).wrapping_add(number) as u8).collect();
    packet[..6].fill(0xff);
    packet[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    packet[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
    if let Some(place) = packet.get_mut(14..18) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    packet
}

/// Takes `count` packets off the socket, or what came in five seconds.
fn received(socket: &mut Socket, count: usize) -> Vec<Vec<u8>> {
    let (start, mut packets) = (Instant::now(), Vec::new());
    while packets.len() < count && start.elapsed() < Duration::from_secs(5) {
        socket.receive(64, |frame| {
            if frame.get(12..14) == Some(&[0x88, 0xb5]) {
                let mut bytes = vec![0; frame.packet_len()];
                frame.copy_to(&mut bytes);
                packets.push(bytes);
            }
        });
        socket.refill();
    }
    packets
}

/// A socket that sends, at one end of a pair, and one that receives at the other.
fn pair(work: impl FnOnce(&Lab, &Pool, &mut Socket, &mut Socket) + Send) {
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool();
        enter(&lab.b);
        let far_port = attach(false);
        let mut far = Socket::open(&pool, &far_port, 0, &options(Transmit::Ring)).unwrap();
        enter(&lab.a);
        let port = attach(false);
        let mut near = Socket::open(&pool, &port, 0, &options(Transmit::Bulk)).unwrap();
        assert_eq!((near.grant().transmit, far.grant().transmit), (Transmit::Bulk, Transmit::Ring));
        work(&lab, &pool, &mut near, &mut far);
        pool.conservation([&near, &far]).unwrap();
        drop(near);
        drop(port);
        enter(&lab.b);
        drop(far);
        assert_eq!(pool.account().free, 4096, "every chunk came back");
    });
}

#[test]
fn bursts_of_every_size_arrive_byte_for_byte_and_in_order() {
    if skip() {
        return;
    }
    pair(|_, pool, near, far| {
        let mut number = 0;
        for burst in [1, 2, LEAST, SLOTS - 1, SLOTS, SLOTS, SLOTS] {
            // Longer and shorter by turns: the kernel's packet at hand grows and shrinks.
            let packets: Vec<_> = (number..number + burst as u32)
                .map(|number| numbered([60, 1514, 14, 15, 777, 1518][number as usize % 6], number))
                .collect();
            number += burst as u32;
            for packet in &packets {
                assert!(near.gather(pool.frame(packet).unwrap()).is_ok());
            }
            assert!(near.has_gathered());
            assert_eq!(pool.conservation([&*near, far]).unwrap().held, burst as u32);
            assert_eq!(near.send_gathered(), Sent { sent: burst as u32, lost: 0, kick: Kick::Sent });
            assert_eq!(pool.conservation([&*near, far]).unwrap().held, 0, "they came back with the call");
            assert!(!near.has_gathered());
            let arrived = received(far, burst);
            assert_eq!(arrived.len(), burst);
            // A veth drops nothing shorter than an Ethernet frame, nor does it fill up to 60 bytes.
            assert!(arrived == packets, "a burst of {burst} came changed");
        }
        assert_eq!(near.counters().tx_packets, u64::from(number));
        assert_eq!((near.counters().bulk_sends, near.counters().kicks), (7, 0));
        assert_eq!(near.send_gathered(), Sent { sent: 0, lost: 0, kick: Kick::Idle });
        assert_eq!(near.counters().bulk_sends, 7, "nothing to send is no system call");
    });
}

#[test]
fn what_is_sent_in_bulk_leaves_by_its_own_queue_as_by_the_ring() {
    if skip() {
        return;
    }
    let lab = Lab::new(2, 1500);
    inside(&lab.a, || {
        let pool = pool();
        enter(&lab.b);
        let far_port = attach(false);
        let mut far =
            [0, 1].map(|queue| Socket::open(&pool, &far_port, queue, &options(Transmit::Ring)).unwrap());
        enter(&lab.a);
        let port = attach(false);
        for queue in [1, 0] {
            let mut near = Socket::open(&pool, &port, queue, &options(Transmit::Bulk)).unwrap();
            for number in 0..40 {
                assert!(near.gather(pool.frame(&numbered(60, number)).unwrap()).is_ok());
            }
            assert_eq!(near.send_gathered().sent, 40);
            assert_eq!(received(&mut far[queue as usize], 40).len(), 40, "queue {queue}");
        }
        enter(&lab.b);
        drop(far);
        assert_eq!(pool.account().free, 4096);
    });
}

#[test]
fn a_call_takes_so_many_and_the_next_packet_is_given_back() {
    if skip() {
        return;
    }
    pair(|_, pool, near, far| {
        for number in 0..SLOTS as u32 {
            assert!(near.gather(pool.frame(&numbered(60, number)).unwrap()).is_ok());
        }
        let (frame, why) = near.gather(pool.frame(&numbered(60, 99)).unwrap()).unwrap_err();
        assert_eq!((why, &frame[..]), (Refusal::Full, &numbered(60, 99)[..]));
        drop(frame);
        assert_eq!(near.send_gathered().sent, SLOTS as u32);
        assert_eq!(received(far, SLOTS).len(), SLOTS);
    });
}

#[test]
fn what_cannot_go_is_given_back_with_the_reason() {
    if skip() {
        return;
    }
    pair(|_, pool, near, _| {
        let mut refused = |frame: Frame| near.gather(frame).map_err(|(_, why)| why).unwrap_err();
        assert_eq!(refused(pool.frame(&[0; 13]).unwrap()), Refusal::TooShort);
        assert_eq!(refused(pool.frame(&[0; 1519]).unwrap()), Refusal::TooLong);
        let mut chain = pool.frame(&[0; 60]).unwrap();
        chain.chain(pool.frame(&[0; 60]).unwrap()).unwrap();
        assert_eq!(refused(chain), Refusal::NotInBulk);
        let mut shortened = pool.frame(&[0; 60]).unwrap();
        assert!(shortened.request_tx_checksum(34, 6));
        shortened.truncate(41);
        assert_eq!(refused(shortened), Refusal::BadChecksumRequest);
        // The MTU grew after the socket was opened: what its slots cannot take goes by the ring.
        near.set_max_packet(1600);
        assert_eq!(near.gather(pool.frame(&[0; 1519]).unwrap()).unwrap_err().1, Refusal::NotInBulk);
    });
}

#[test]
fn a_checksum_that_was_left_to_the_port_is_finished_before_the_packet_goes() {
    if skip() {
        return;
    }
    pair(|_, pool, near, far| {
        let mut packet = numbered(60, 7);
        packet[40..42].copy_from_slice(&[0x12, 0x34]); // the folded sum of the pseudo-header
        let mut frame = pool.frame(&packet).unwrap();
        assert!(frame.request_tx_checksum(34, 6));
        assert!(near.gather(frame).is_ok());
        assert_eq!(near.send_gathered().sent, 1);
        let arrived = received(far, 1).remove(0);
        let words = arrived[34..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum = words.sum::<u32>() + 0x1234;
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    });
}

#[test]
fn packets_in_the_ring_go_first_and_few_are_not_gathered() {
    if skip() {
        return;
    }
    pair(|_, pool, near, far| {
        assert!(!near.prefers_bulk(LEAST - 1));
        assert!(near.prefers_bulk(LEAST));
        near.push(pool.frame(&numbered(60, 0)).unwrap()).unwrap();
        near.submit();
        assert!(!near.prefers_bulk(SLOTS), "one waits in the ring");
        assert_eq!(near.kick(), Kick::Sent);
        assert!(near.prefers_bulk(SLOTS));
        assert!(near.gather(pool.frame(&numbered(60, 1)).unwrap()).is_ok());
        assert!(near.prefers_bulk(1), "one is gathered already");
        assert_eq!(near.send_gathered().sent, 1);
        assert_eq!(received(far, 2), [numbered(60, 0), numbered(60, 1)]);
        // What is gathered when the socket ends goes back to the pool: `pair` counts.
        assert!(near.gather(pool.frame(&numbered(60, 2)).unwrap()).is_ok());
    });
}

#[test]
fn a_link_that_is_down_loses_the_burst_and_says_so_and_one_that_is_gone_too() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool();
        let port = attach(false);
        let mut socket = Socket::open(&pool, &port, 0, &options(Transmit::Bulk)).unwrap();
        let mut burst = || {
            for number in 0..3 {
                assert!(socket.gather(pool.frame(&numbered(60, number)).unwrap()).is_ok());
            }
            socket.send_gathered()
        };
        ip(&format!("-n {} link set v0 down", lab.a));
        assert_eq!(burst(), Sent { sent: 0, lost: 3, kick: Kick::LinkDown });
        ip(&format!("-n {} link set v0 up", lab.a));
        assert_eq!(burst(), Sent { sent: 3, lost: 0, kick: Kick::Sent });
        ip(&format!("-n {} link delete v0", lab.a));
        assert_eq!(burst(), Sent { sent: 0, lost: 3, kick: Kick::Gone });
        let counters = socket.counters();
        assert_eq!((counters.tx_packets, counters.bulk_lost, counters.link_down), (3, 6, 2));
    });
}

#[test]
fn left_to_itself_a_veth_is_sent_to_in_bulk_where_the_kernel_is_new_enough() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool();
        let port = attach(false);
        let socket = Socket::open(&pool, &port, 0, &options(Transmit::Auto)).unwrap();
        if kernel_version() >= (6, 11) {
            assert_eq!((socket.grant().transmit, &socket.grant().no_bulk), (Transmit::Bulk, &None));
        } else {
            assert_eq!(socket.grant().transmit, Transmit::Ring);
            assert!(socket.grant().no_bulk.as_ref().unwrap().contains("6.11"));
        }
    });
}

#[test]
fn a_port_in_another_namespace_than_the_thread_is_not_sent_to_in_bulk() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        let pool = pool();
        let port = attach(false);
        // The interface goes away from under us, as when somebody moves it: nothing of its name is here any more.
        ip(&format!("-n {} link delete v0", lab.a));
        assert!(Socket::open(&pool, &port, 0, &options(Transmit::Bulk)).is_err());
        assert_eq!(pool.account().free, 4096);
    });
}
