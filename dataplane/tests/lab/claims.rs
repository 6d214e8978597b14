//! The pin-hole: which packets of an interface are Flumen's and which stay with the kernel behind it.
//!
//! Both stand in the router namespace on the same link with the same Ethernet address. The kernel has the
//! addresses of Flumen as well as one of its own, so that for every packet either could answer: who did is told
//! by their counters.
//!
//! ```text
//!   10.0.1.1   Flumen: everything but TCP port 7022, which is never its own       kernel: that
//!   10.0.1.6   Flumen: UDP port 7001                                              kernel: the rest
//!   10.0.1.5   kernel
//! ```

use super::harness::{Lab, Role};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// What is not answered within this is not answered at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// As long as a test waits for what must not come.
const IMPATIENCE: Duration = Duration::from_millis(500);

const CLAIMS: &str = r#"
addresses = ["10.0.1.1/24", "10.0.1.6/24", "fd00:1::1/64"]
claim = [
    { address = "10.0.1.1" },
    { address = "10.0.1.6", protocol = "udp", ports = [7001] },
    { address = "fd00:1::1" },
]
never = [{ address = "10.0.1.1", protocol = "tcp", ports = [7022] }]
"#;

fn lab() -> Lab {
    let lab = Lab::plan().port_keys("lan", CLAIMS).up();
    for command in [
        // First the one of its own: the source of what the kernel asks.
        "ip address add 10.0.1.5/24 dev lan",
        "ip address add 10.0.1.1/32 dev lan",
        "ip address add 10.0.1.6/32 dev lan",
        // ARP for shared addresses comes to Flumen; the kernel is told its neighbours, as the log advises.
        "ip neighbour replace 10.0.1.2 lladdr 02:00:00:00:01:02 dev lan nud permanent",
        "sysctl -qw net.ipv6.conf.lan.disable_ipv6=0",
        "ip address add fd00:1::5/64 dev lan nodad",
    ] {
        lab.router(command).must();
    }
    lab
}

/// Echo requests that the kernel of the router namespace took so far.
fn kernel_echoes(lab: &Lab, v6: bool) -> u64 {
    let (file, name) = if v6 { ("snmp6", "Icmp6InEchos") } else { ("snmp", "Icmp:") };
    let text = lab.router(&format!("cat /proc/net/{file}")).must();
    let mut lines = text.lines().filter(|line| line.starts_with(name)).map(|line| line.split_whitespace());
    let mut next = || lines.next().expect("the kernel counts").collect::<Vec<_>>();
    let value = if v6 {
        next()[1]
    } else {
        // A line of names, then one of values.
        let place = next().iter().position(|name| *name == "InEchos").expect("a column");
        next()[place]
    };
    value.parse().expect("a count")
}

/// Pings an address; returns how many of the requests Flumen answered and how many the kernel took.
fn who_answers(lab: &mut Lab, to: &str) -> (u64, u64) {
    let v6 = to.contains(':');
    let counter = if v6 { "icmpv6-echo-replies" } else { "icmp-echo-replies" };
    let before = (lab.flumen().tally("counters", counter), kernel_echoes(lab, v6));
    lab.client(&format!("ping -n -c 5 -i 0.05 -W 2 {to}")).says("5 received");
    // Published a little later than counted.
    std::thread::sleep(Duration::from_millis(300));
    (lab.flumen().tally("counters", counter) - before.0, kernel_echoes(lab, v6) - before.1)
}

/// What the client gets when it connects to a TCP port on which the kernel listens.
fn connect(lab: &Lab, to: &'static str) -> Result<String, ErrorKind> {
    let to: SocketAddr = to.parse().expect("an address with a port");
    let listener = lab.within(Role::Router, move || TcpListener::bind(to).expect("the port is free"));
    let listener = listener.join().expect("a listener");
    listener.set_nonblocking(true).expect("a mode");
    let client = lab.within(Role::Client, move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| error.kind())?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut said = String::new();
        stream.read_to_string(&mut said).map_err(|error| error.kind())?;
        Ok(said)
    });
    while !client.is_finished() {
        if let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(b"the kernel").expect("the connection stands");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    client.join().expect("an answer of some kind")
}

/// What the client gets for a datagram to a UDP port on which the kernel echoes.
fn exchange(lab: &Lab, to: &'static str) -> Result<(), ErrorKind> {
    let to: SocketAddr = to.parse().expect("an address with a port");
    let server = lab.within(Role::Router, move || UdpSocket::bind(to).expect("the port is free"));
    let server = server.join().expect("a socket");
    let echo = std::thread::spawn(move || {
        server.set_read_timeout(Some(IMPATIENCE)).expect("a timeout");
        let mut bytes = [0; 16];
        if let Ok((length, from)) = server.recv_from(&mut bytes) {
            server.send_to(&bytes[..length], from).expect("the answer leaves");
        }
    });
    let client = lab.within(Role::Client, move || {
        let socket = UdpSocket::bind("10.0.1.2:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.connect(to).expect("a peer");
        socket.send(b"flumen").expect("the datagram leaves");
        socket.recv(&mut [0; 16]).map(drop).map_err(|error| error.kind())
    });
    let got = client.join().expect("an answer of some kind");
    echo.join().expect("the echo ends");
    got
}

pub fn claimed_traffic_is_answered_by_flumen_and_the_rest_by_the_kernel_over_ipv4() {
    let mut lab = lab();
    assert_eq!(who_answers(&mut lab, "10.0.1.1"), (5, 0), "a claimed address");
    assert_eq!(who_answers(&mut lab, "10.0.1.5"), (0, 5), "an address of the kernel's alone");
    assert_eq!(who_answers(&mut lab, "10.0.1.6"), (0, 5), "an address of which only a UDP port is claimed");
    assert_eq!(connect(&lab, "10.0.1.1:7022"), Ok("the kernel".to_owned()), "the port that is never claimed");
    assert_eq!(connect(&lab, "10.0.1.1:7023"), Err(ErrorKind::ConnectionRefused), "Flumen has no listener");
    assert_eq!(connect(&lab, "10.0.1.5:7023"), Ok("the kernel".to_owned()));
    assert_eq!(connect(&lab, "10.0.1.6:7001"), Ok("the kernel".to_owned()), "UDP is claimed, TCP is not");
    assert_eq!(exchange(&lab, "10.0.1.6:7001"), Err(ErrorKind::ConnectionRefused), "Flumen: port unreachable");
    assert_eq!(exchange(&lab, "10.0.1.6:7002"), Ok(()), "another port is the kernel's");
    // What is never claimed is so in the same moment in which Flumen answers beside it.
    assert_eq!(who_answers(&mut lab, "10.0.1.1"), (5, 0));
}

pub fn claimed_addresses_are_answered_by_flumen_and_the_rest_by_the_kernel_over_ipv6() {
    let mut lab = lab();
    assert_eq!(who_answers(&mut lab, "fd00:1::1"), (5, 0), "a claimed address");
    assert_eq!(who_answers(&mut lab, "fd00:1::5"), (0, 5), "an address of the kernel's alone");
    assert_eq!(connect(&lab, "[fd00:1::5]:7023"), Ok("the kernel".to_owned()));
}
