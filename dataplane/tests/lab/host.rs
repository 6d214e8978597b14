//! Flumen as a host: real clients of the kernel talk to the services inside it.

use super::harness::{Lab, Role, noise, number, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// One of each service, at the addresses of the port `lan`.
const SERVICES: &str = r#"
[[service]]
kind = "echo"
listen = ["10.0.1.1:7", "[fd00:1::1]:7"]

[[service]]
kind = "discard"
listen = ["10.0.1.1:9", "[fd00:1::1]:9"]

[[service]]
kind = "chargen"
listen = ["10.0.1.1:19"]

[[service]]
kind = "daytime"
listen = ["10.0.1.1:13"]

[[service]]
kind = "http"
listen = ["10.0.1.1:80", "[fd00:1::1]:80"]
responses = [{ path = "/1k", bytes = 1024 }, { path = "/big", bytes = 268435456 }]
upload = "/upload"
"#;

/// A connection that says nothing for so long has failed.
const STALL: Duration = Duration::from_secs(20);

fn host() -> Lab {
    Lab::plan().tables(SERVICES).up()
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&at, STALL).expect("a connection");
    stream.set_read_timeout(Some(STALL)).expect("a timeout");
    stream.set_write_timeout(Some(STALL)).expect("a timeout");
    stream
}

/// Connections that the workers have, as `flumen show core` says.
fn connections(lab: &mut Lab) -> u64 {
    let answer = lab.flumen().json("core");
    let cores = answer["cores"].as_array().expect("a list of cores");
    cores.iter().map(|core| number(&core["connections"])).sum()
}

fn curl(at: &str) {
    let lab = host();
    let fetched = lab.client(&format!("curl -sS -m 60 -o /dev/null -w %{{http_code}}:%{{size_download}} http://{at}/big"));
    fetched.says("200:268435456");
    let folder = lab.folder();
    let file = folder.join("upload");
    std::fs::write(&file, noise(1, 32 << 20)).expect("the lab's folder");
    let line = format!(
        "curl -sS -m 60 -o /dev/null -w %{{http_code}}:%{{size_upload}} -T {} http://{at}/upload/file",
        file.display()
    );
    let sent = lab.client(&line).must();
    assert!(sent.starts_with('2') && sent.ends_with(":33554432"), "{sent}");
    lab.client(&format!("curl -sS -m 5 -o /dev/null -w %{{http_code}} http://{at}/nothing")).says("404");
}

pub fn curl_fetches_and_uploads_every_byte_over_ipv4() {
    curl("10.0.1.1");
}

pub fn curl_fetches_and_uploads_every_byte_over_ipv6() {
    curl("[fd00:1::1]");
}

pub fn an_echo_comes_back_whole_while_the_client_still_writes() {
    let lab = host();
    for at in ["10.0.1.1:7", "[fd00:1::1]:7"] {
        let at: SocketAddr = at.parse().expect("an address");
        let talk = lab.within(Role::Client, move || {
            let mut stream = connect(at);
            let sent = noise(1, 8 << 20);
            let mut writer = stream.try_clone().expect("a second handle");
            let to_send = sent.clone();
            let sender = std::thread::spawn(move || {
                writer.write_all(&to_send).expect("everything is taken");
                writer.shutdown(Shutdown::Write).expect("the connection stands");
            });
            let mut back = Vec::new();
            stream.read_to_end(&mut back).expect("everything comes back");
            sender.join().expect("everything is sent");
            assert_eq!(back.len(), sent.len());
            assert!(back == sent, "the first byte that differs: {:?}", back.iter().zip(&sent).position(|(a, b)| a != b));
        });
        talk.join().expect("an echo");
    }
}

pub fn a_client_that_closes_its_half_still_gets_the_rest() {
    let lab = host();
    let request = lab.folder().join("request");
    std::fs::write(&request, "GET /1k HTTP/1.0\r\n\r\n").expect("the lab's folder");
    let script = lab.folder().join("half-close");
    let line = format!("nc -N -w 5 10.0.1.1 80 < {} | tail -c 1024 | wc -c\n", request.display());
    std::fs::write(&script, line).expect("the lab's folder");
    lab.client(&format!("sh {}", script.display())).says("1024");
}

pub fn a_slow_reader_gets_every_byte_through_a_closed_window() {
    let lab = host();
    let talk = lab.within(Role::Client, || {
        let mut stream = connect("10.0.1.1:80".parse().expect("an address"));
        stream.write_all(b"GET /big HTTP/1.0\r\n\r\n").expect("a request");
        // Long enough for the window to close and to be probed.
        std::thread::sleep(Duration::from_secs(3));
        let (mut total, mut buffer) = (0u64, vec![0; 1 << 16]);
        loop {
            match stream.read(&mut buffer).expect("the rest comes") {
                0 => break,
                count => total += count as u64,
            }
        }
        assert!(total > 268_435_456, "{total} bytes with the header");
    });
    talk.join().expect("every byte");
}

pub fn wrk_with_a_hundred_connections_sees_no_error() {
    let lab = host();
    let said = lab.client("wrk -t 1 -c 100 -d 5s http://10.0.1.1/1k").must();
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    assert!(said.contains("requests in"), "{said}");
}

pub fn one_connection_a_request_works_thousands_of_times() {
    let lab = host();
    let said = lab.client("ab -q -n 5000 -c 20 http://10.0.1.1/1k").must();
    assert!(said.contains("Complete requests:      5000") && said.contains("Failed requests:        0"), "{said}");
}

pub fn iperf_writes_to_discard_and_nothing_is_left_when_it_is_gone() {
    let mut lab = host();
    lab.client("iperf -c 10.0.1.1 -p 9 -t 2 -P 4").says("SUM");
    wait_until("every connection is closed", 20, || connections(&mut lab) == 0);
}

pub fn udp_datagrams_of_sixty_thousand_bytes_are_echoed() {
    let lab = host();
    for (from, at) in [("10.0.1.2:0", "10.0.1.1:7"), ("[fd00:1::2]:0", "[fd00:1::1]:7")] {
        let talk = lab.within(Role::Client, move || {
            let socket = UdpSocket::bind(from).expect("a socket");
            socket.set_read_timeout(Some(STALL)).expect("a timeout");
            for len in [1, 1400, 9000, 60_000] {
                let sent = noise(1, len);
                socket.send_to(&sent, at).expect("it is sent");
                let mut back = vec![0; 65_536];
                let (count, _) = socket.recv_from(&mut back).expect("it comes back");
                assert!(back[..count] == sent, "{count} of {len} bytes");
            }
        });
        talk.join().expect("an echo");
    }
}

pub fn a_killed_client_leaves_no_connection_behind() {
    let mut lab = host();
    let client = lab.background(Role::Client, "curl -sS -o /dev/null --limit-rate 100k http://10.0.1.1/big");
    wait_until("the client is connected", 10, || connections(&mut lab) == 1);
    drop(client); // killed
    wait_until("the connection is gone", 20, || connections(&mut lab) == 0);
}

pub fn a_connection_outlives_a_link_that_goes_down_and_comes_back() {
    let lab = host();
    let talk = lab.within(Role::Client, || {
        let mut stream = connect("10.0.1.1:7".parse().expect("an address"));
        let mut back = [0; 6];
        for round in 0..60 {
            stream.write_all(b"pulled").expect("it is taken");
            stream.read_exact(&mut back).expect("it comes back");
            assert_eq!(&back, b"pulled", "round {round}");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    std::thread::sleep(Duration::from_millis(700));
    lab.client("ip link set lan0 down").must();
    std::thread::sleep(Duration::from_millis(800));
    lab.client("ip link set lan0 up").must();
    talk.join().expect("an echo that goes on");
}

pub fn two_workers_serve_one_port() {
    let lab = Lab::plan().workers(2).tables(SERVICES).up();
    let said = lab.client("ab -q -n 2000 -c 20 http://10.0.1.1/1k").must();
    assert!(said.contains("Complete requests:      2000") && said.contains("Failed requests:        0"), "{said}");
    lab.client("curl -sS -m 60 -o /dev/null -w %{http_code}:%{size_download} http://10.0.1.1/big").says("200:268435456");
}

pub fn nc_reads_on_after_the_service_closed_its_half() {
    let lab = host();
    // The service speaks, closes, and nc, which never wrote, ends with what it got.
    lab.client("nc -w 5 -d 10.0.1.1 13").says(":");
}

pub fn ten_readers_of_chargen_get_its_lines_and_leave_nothing_behind() {
    let mut lab = host();
    let readers: Vec<_> = (0..10)
        .map(|_| {
            lab.within(Role::Client, || {
                let mut stream = connect("10.0.1.1:19".parse().expect("an address"));
                let mut all = vec![0; 1 << 20];
                stream.read_exact(&mut all).expect("a mebibyte");
                // RFC 864: lines of 72 characters, each begun one character further.
                assert!(all.chunks_exact(74).all(|line| line.ends_with(b"\r\n")), "lines of 74 bytes");
            })
        })
        .collect();
    for reader in readers {
        reader.join().expect("a reader");
    }
    wait_until("every connection is closed", 20, || connections(&mut lab) == 0);
}

pub fn a_thousand_connections_of_wrk_see_no_error() {
    let lab = host();
    let said = lab.client("wrk -t 1 -c 1000 -d 8s --timeout 8s http://10.0.1.1/1k").must();
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
}

pub fn requests_complete_while_syns_are_flooding_in() {
    let lab = host();
    // From addresses that answer nothing, as fast as the machine can while ab has its share.
    let _flood = lab.background(Role::Client, "hping3 -q -S -p 80 --rand-source -i u20 10.0.1.1");
    let said = lab.client("ab -q -s 20 -n 2000 -c 10 http://10.0.1.1/1k").must();
    let failed = said.lines().find_map(|line| line.strip_prefix("Failed requests:")).expect("a count");
    let failed: u32 = failed.trim().parse().expect("a number");
    assert!(said.contains("Complete requests:      2000") && failed <= 100, "{said}");
}
