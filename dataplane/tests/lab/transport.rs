//! TCP and UDP between two kernels, through the router: every byte arrives as it was sent. With the peers'
//! default offloads their checksums are only begun and their segments are too long for the wire; with
//! offloads off they are as behind a real one.

use super::harness::{Background, Lab, Role, noise, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Bytes each way: some thousands of segments.
const AMOUNT: usize = 8 << 20;

/// A stalled connection has failed.
const STALL: Duration = Duration::from_secs(20);

/// Client and server send each other different bytes at the same time, and compare. TCP's checksum is not
/// asked: offloads may not have one, and a router that repairs checksums could bless what it damaged.
pub fn exchange(lab: &Lab, at: &'static str) {
    let at: SocketAddr = at.parse().expect("an address with a port");
    let listener = lab.within(Role::Server, move || TcpListener::bind(at).expect("the port is free"));
    let listener = listener.join().expect("a listener");
    let server = std::thread::spawn(move || talk(listener.accept().expect("a connection").0, 2, 1));
    let client = lab.within(Role::Client, move || {
        talk(TcpStream::connect_timeout(&at, STALL).expect("a connection"), 1, 2);
    });
    client.join().expect("what the server sent reaches the client");
    server.join().expect("what the client sent reaches the server");
}

/// Sends the bytes of one seed, and expects those of another.
fn talk(stream: TcpStream, send: u64, expect: u64) {
    stream.set_read_timeout(Some(STALL)).expect("a timeout");
    stream.set_write_timeout(Some(STALL)).expect("a timeout");
    let mut writer = stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        writer.write_all(&noise(send, AMOUNT)).expect("everything is taken");
        writer.shutdown(Shutdown::Write).expect("the connection stands");
    });
    let mut received = Vec::new();
    (&stream).read_to_end(&mut received).expect("everything comes");
    sender.join().expect("everything is sent");
    let expected = noise(expect, AMOUNT);
    assert_eq!(received.len(), expected.len());
    let differs = received.iter().zip(&expected).position(|(got, sent)| got != sent);
    assert_eq!(differs, None, "the first byte that differs");
}

pub fn tcp_carries_every_byte_both_ways_over_ipv4() {
    exchange(&Lab::up(), "10.0.2.2:7000");
}

pub fn tcp_carries_every_byte_both_ways_over_ipv6() {
    exchange(&Lab::up(), "[fd00:2::2]:7000");
}

pub fn tcp_carries_every_byte_both_ways_without_offloads() {
    let lab = Lab::plan().offloads_off().up();
    exchange(&lab, "10.0.2.2:7000");
    exchange(&lab, "[fd00:2::2]:7000");
}

/// An iperf3 server that has begun to listen.
fn iperf3_server(lab: &Lab) -> Background {
    let server = lab.background(Role::Server, "iperf3 -s -p 5201");
    wait_until("iperf3 listens", 10, || !lab.server("ss -Hltn sport = :5201").must().is_empty());
    server
}

/// What iperf3 reports at its end.
fn iperf3(lab: &Lab, options: &str) -> serde_json::Value {
    let _server = iperf3_server(lab);
    let text = lab.client(&format!("iperf3 -J --connect-timeout 5000 -p 5201 {options}")).must();
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    report["end"].clone()
}

/// 30 MB by TCP. iperf3 stops counting when the sender is done, with some still on the way: that every
/// byte arrives is what [`exchange`] shows.
pub fn iperf3_tcp(lab: &Lab, to: &str) {
    let end = iperf3(lab, &format!("-c {to} -n 30M"));
    let sent = end["sum_sent"]["bytes"].as_u64().expect("a count");
    let received = end["sum_received"]["bytes"].as_u64().expect("a count");
    assert!(sent >= 30_000_000 && received > sent / 2, "{end}");
}

/// Datagrams of `length` bytes at a gentle rate, of which at least 19 in 20 arrive: none should be lost,
/// but two processors that others use as well may let a socket overflow.
pub fn iperf3_udp(lab: &Lab, to: &str, length: u16) {
    let end = iperf3(lab, &format!("-c {to} -u -b 20M -l {length} -t 2"));
    let packets = end["sum"]["packets"].as_u64().expect("a count");
    let lost = end["sum"]["lost_percent"].as_f64().expect("a share");
    assert!(packets > 100 && lost < 5.0, "{end}");
}

fn both_families(lab: &Lab, run: fn(&Lab, &str)) {
    run(lab, "10.0.2.2");
    run(lab, "fd00:2::2");
}

pub fn iperf3_runs_over_tcp_in_both_families() {
    both_families(&Lab::up(), iperf3_tcp);
}

pub fn iperf3_runs_over_tcp_without_offloads_in_both_families() {
    both_families(&Lab::plan().offloads_off().up(), iperf3_tcp);
}

pub fn iperf3_runs_over_udp_in_both_families() {
    both_families(&Lab::up(), |lab, to| iperf3_udp(lab, to, 1000));
}

pub fn iperf3_runs_over_udp_without_offloads_in_both_families() {
    both_families(&Lab::plan().offloads_off().up(), |lab, to| iperf3_udp(lab, to, 1000));
}
