//! Unmodified programs on Flumen's sockets: the event loops and run-time systems of languages.

use super::harness::{Ends, Host, IPV4, IPV6, Lab, Role, noise, over_each_family, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Many connections of the kernel's at once, each of which gets back what it sends.
fn echoes(lab: &Lab, here: Host, port: u16) {
    lab.wait_for_port(Role::Client, here, port);
    let at: SocketAddr = format!("{here:#}:{port}").parse().expect("an address");
    let talk = lab.within(Role::Client, move || {
        std::thread::scope(|scope| {
            for seed in 0..16 {
                scope.spawn(move || {
                    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(20)).expect("a connection");
                    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
                    let sent = noise(seed, 200_000);
                    let mut writer = stream.try_clone().expect("a second handle");
                    let to_send = sent.clone();
                    let sender = std::thread::spawn(move || {
                        writer.write_all(&to_send).expect("everything is taken");
                        writer.shutdown(Shutdown::Write).expect("the connection stands");
                    });
                    let mut back = Vec::new();
                    stream.read_to_end(&mut back).expect("everything comes back");
                    sender.join().expect("everything is sent");
                    assert!(back == sent, "{} bytes come back", back.len());
                });
            }
        });
    });
    talk.join().expect("sixteen echoes");
}

pub fn python_serves_files() {
    over_each_family(|lab, Ends { here, .. }| {
        let bytes = noise(1, 8 << 20);
        lab.file("served", &bytes);
        let folder = lab.folder().display().to_string();
        let _server = lab.start_on_flumen(&format!("python3 -m http.server -b {here} -d {folder} 8000"));
        lab.wait_for_port(Role::Client, here, 8000);
        let fetched = lab.folder().join("fetched");
        lab.client(&format!("curl -sS -m 30 -o {} http://{here:#}:8000/served", fetched.display())).must();
        assert!(std::fs::read(fetched).expect("it was fetched") == bytes);
    });
}

const ASYNCIO: &str = r#"
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(address, port):
    server = await asyncio.start_server(echo, address, int(port))
    await server.serve_forever()
async def ask(address, port):
    async def one(number):
        reader, writer = await asyncio.open_connection(address, int(port))
        sent = bytes(number % 256 for number in range(number * 1000))
        async def send():
            writer.write(sent)
            await writer.drain()
            writer.write_eof()
        sending = asyncio.create_task(send())
        assert await reader.read(-1) == sent
        await sending
        writer.close()
    await asyncio.gather(*(one(number) for number in range(1, 33)))
    print("all came back")
asyncio.run({"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:]))
"#;

pub fn asyncio_echoes() {
    over_each_family(|lab, Ends { here, .. }| {
        let script = lab.file("loop.py", ASYNCIO);
        let _server = lab.start_on_flumen(&format!("python3 {script} serve {here} 7000"));
        echoes(lab, here, 7000);
    });
}

pub fn asyncio_is_a_client() {
    over_each_family(|lab, Ends { there, .. }| {
        let script = lab.file("loop.py", ASYNCIO);
        let _server = lab.start_on_kernel(Role::Client, &format!("python3 {script} serve {there} 7000"));
        lab.wait_for_port(Role::Client, there, 7000);
        lab.run_on_flumen(&format!("python3 {script} ask {there} 7000")).says("all came back");
    });
}

/// A worker answers calls one after the other before it looks at its queues again: but not for ever.
pub fn programs_that_ask_without_end_keep_nobody_from_the_core() {
    let lab = Lab::plan().programs("").up();
    let Ends { here, .. } = IPV4;
    let script = lab.file(
        "ask.py",
        "
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
",
    );
    // On every processor: the worker's is among them.
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    let _askers: Vec<_> = (0..cpus)
        .map(|cpu| lab.start_on_flumen(&format!("taskset -c {cpu} python3 {script} {here} {}", 7100 + cpu)))
        .collect();
    for cpu in 0..cpus as u16 {
        lab.wait_for_port(Role::Client, here, 7100 + cpu);
    }
    lab.client(&format!("ping -q -c 50 -i 0.02 {here}")).says(" 0% packet loss");
    lab.client("ping -q -c 50 -i 0.02 10.0.2.2").says(" 0% packet loss");
}

const NODE: &str = r#"
const http = require('http');
const [what, address, port] = process.argv.slice(2);
if (what === 'serve') {
    http.createServer((request, response) => {
        let length = 0;
        request.on('data', (data) => { length += data.length; });
        request.on('end', () => response.end(`${request.method} ${request.url} ${length}\n`));
    }).listen(port, address);
} else {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const ask = (number) => new Promise((done, fail) => {
        const request = http.request({ host: address, port, path: `/${number}`, method: 'POST', agent }, (response) => {
            let text = '';
            response.on('data', (data) => { text += data; });
            response.on('end', () => text === `POST /${number} ${number * 100}\n` ? done() : fail(new Error(text)));
        });
        request.on('error', fail);
        request.end(Buffer.alloc(number * 100));
    });
    Promise.all([...Array(500).keys()].map(ask)).then(() => { console.log('all answered'); agent.destroy(); });
}
"#;

pub fn node_serves_and_asks() {
    over_each_family(|lab, Ends { here, there, .. }| {
        let script = lab.file("serve.js", NODE);
        {
            let _server = lab.start_on_flumen(&format!("node {script} serve {here} 8001"));
            lab.wait_for_port(Role::Client, here, 8001);
            lab.client(&format!("node {script} ask {here} 8001")).says("all answered");
            let said = lab.client(&format!("wrk -t 1 -c 20 -d 1s http://{here:#}:8001/")).must();
            assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        }
        let _server = lab.start_on_kernel(Role::Client, &format!("node {script} serve {there} 8001"));
        lab.wait_for_port(Role::Client, there, 8001);
        lab.run_on_flumen(&format!("node {script} ask {there} 8001")).says("all answered");
    });
}

/// An echo server with selectors, and a client with blocking streams.
const JAVA: &str = r#"
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.util.*;
public class Echo {
    public static void main(String[] words) throws Exception {
        InetSocketAddress at = new InetSocketAddress(words[1], Integer.parseInt(words[2]));
        if (words[0].equals("serve")) {
            serve(at);
        } else {
            ask(at);
        }
    }
    static void ask(InetSocketAddress at) throws Exception {
        for (int number = 1; number <= 32; number++) {
            byte[] sent = new byte[number * 1000];
            new Random(number).nextBytes(sent);
            try (Socket one = new Socket()) {
                one.setSoTimeout(20000);
                one.connect(at, 20000);
                one.getOutputStream().write(sent);
                one.shutdownOutput();
                if (!Arrays.equals(one.getInputStream().readAllBytes(), sent)) {
                    throw new Exception(number + " thousand bytes came back changed");
                }
            }
        }
        System.out.println("all came back");
    }
    static void serve(InetSocketAddress at) throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(at);
        server.configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel one = server.accept();
                    one.configureBlocking(false);
                    one.register(selector, SelectionKey.OP_READ, ByteBuffer.allocate(65536));
                    continue;
                }
                SocketChannel one = (SocketChannel) key.channel();
                ByteBuffer room = (ByteBuffer) key.attachment();
                boolean over = key.isReadable() && one.read(room) < 0;
                room.flip();
                one.write(room);
                boolean left = room.hasRemaining();
                room.compact();
                if (over && !left) {
                    one.close();
                } else {
                    key.interestOps(left ? SelectionKey.OP_WRITE | (room.hasRemaining() && !over ? SelectionKey.OP_READ : 0)
                        : SelectionKey.OP_READ);
                }
            }
            selector.selectedKeys().clear();
        }
    }
}
"#;

/// Java's sockets are IPv6's always, and carry IPv4 by mapped addresses: if only the kernel has an IPv6 address anywhere, which
/// it has on every host but the lab's.
pub fn java_echoes_with_selectors() {
    over_each_family(|lab, Ends { here, there, .. }| {
        let folder = lab.folder().display().to_string();
        let source = lab.file("Echo.java", JAVA);
        lab.router("sysctl -qw net.ipv6.conf.lo.disable_ipv6=0").must();
        if !lab.folder().join("Echo.class").exists() {
            lab.client(&format!("javac -d {folder} {source}")).must();
        }
        let java = format!("java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp {folder} Echo");
        let listens = |address: Host| {
            wait_until("Java listens", 40, || lab.client(&format!("nc -z -w 1 {address} 7000")).ok);
        };
        {
            let _server = lab.start_on_flumen(&format!("{java} serve {here} 7000"));
            listens(here);
            echoes(lab, here, 7000);
        }
        let _server = lab.start_on_kernel(Role::Client, &format!("{java} serve {there} 7000"));
        listens(there);
        lab.run_on_flumen(&format!("{java} ask {there} 7000")).says("all came back");
    });
}

pub fn tokio_echoes_and_asks() {
    let own = std::env::current_exe().expect("this test").display().to_string();
    over_each_family(|lab, Ends { here, there, .. }| {
        {
            let _server = lab.start_on_flumen(&format!("{own} {TOKIO} serve {here:#}:7000"));
            echoes(lab, here, 7000);
        }
        let _server = lab.start_on_kernel(Role::Client, &format!("{own} {TOKIO} serve {there:#}:7000"));
        lab.wait_for_port(Role::Client, there, 7000);
        lab.run_on_flumen(&format!("{own} {TOKIO} ask {there:#}:7000")).says("all came back");
    });
}

/// The first argument of this very program when it is to be an echo server, or the client of one.
pub const TOKIO: &str = "echo-with-tokio";

/// Echo servers and their clients as Rust programs have them: tokio, on two threads.
pub fn be(what: &str, address: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build();
    let runtime = runtime.expect("a runtime");
    match what {
        "serve" => runtime.block_on(serve_with_tokio(address)),
        _ => runtime.block_on(ask_with_tokio(address.to_owned())),
    }
}

async fn serve_with_tokio(address: &str) {
    let listener = tokio::net::TcpListener::bind(address).await.expect("a listener");
    loop {
        let (mut stream, _peer) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            let _client_may_go = tokio::io::copy(&mut reader, &mut writer).await;
        });
    }
}

async fn ask_with_tokio(address: String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asking: Vec<_> = (0..16)
        .map(|seed| {
            let address = address.clone();
            tokio::spawn(async move {
                let sent = noise(seed, 100_000);
                let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
                let (mut reader, mut writer) = stream.into_split();
                let mut back = Vec::new();
                let to_send = sent.clone();
                let sending = tokio::spawn(async move {
                    writer.write_all(&to_send).await.expect("everything is taken");
                    writer.shutdown().await.expect("the connection stands");
                });
                reader.read_to_end(&mut back).await.expect("everything comes back");
                sending.await.expect("everything is sent");
                assert!(back == sent, "{} bytes come back", back.len());
            })
        })
        .collect();
    for one in asking {
        one.await.expect("an echo");
    }
    println!("all came back");
}

/// A UDP-Lite server and its client: each datagram says which coverage it has, and what the other side made of it is known.
const UDP_LITE: &str = r#"
import errno, select, socket, sys
LITE, SEND, RECEIVE = socket.IPPROTO_UDPLITE, socket.UDPLITE_SEND_CSCOV, socket.UDPLITE_RECV_CSCOV

def opened(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM, LITE)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == 136
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_DGRAM
    assert (one.getsockopt(LITE, SEND), one.getsockopt(LITE, RECEIVE)) == (0, 0)
    one.settimeout(20)
    return one

def serve(address):
    server = opened(address)
    server.bind((address, 7000))
    strict = opened(address)
    strict.bind((address, 7001))
    strict.setsockopt(LITE, RECEIVE, 20)
    assert strict.getsockopt(LITE, RECEIVE) == 20
    of_udp = socket.socket(server.family, socket.SOCK_DGRAM)
    of_udp.bind((address, 7000)) # the ports of UDP are other ports
    for option in SEND, RECEIVE:
        try:
            of_udp.setsockopt(LITE, option, 8)
            raise AssertionError("UDP has a coverage")
        except OSError as error:
            assert error.errno == errno.ENOPROTOOPT
    print("serves", flush=True)
    for one in server, strict, of_udp:
        one.setblocking(False)
    while True:
        for one in select.select([server, strict, of_udp], [], [])[0]:
            data, peer = one.recvmsg(70000)[::3]
            if one is not of_udp:
                coverage = data[:5].decode()
                if coverage.isdigit():
                    one.setsockopt(LITE, SEND, int(coverage))
            one.sendto(data, peer)

def ask(address):
    one = opened(address)
    one.connect((address, 7000))
    for coverage, kept in (0, 0), (-3, 8), (1, 8), (8, 8), (9, 9), (100, 100), (65535, 65535), (70000, 65535):
        one.setsockopt(LITE, SEND, coverage)
        assert one.getsockopt(LITE, SEND) == kept, (coverage, one.getsockopt(LITE, SEND))
        for length in 5, 6, 1000, 1472, 1473, 9000, 65000:
            sent = (b"%05d" % max(coverage, 0)) + bytes(number % 251 for number in range(length - 5))
            one.send(sent)
            assert one.recv(70000) == sent, (coverage, length)
    # What the answers must cover is ours to say: 16 bytes of 8 and 50 are not enough.
    one.setsockopt(LITE, RECEIVE, 20)
    one.setsockopt(LITE, SEND, 0)
    for coverage in 16, 19, 20, 0:
        one.send(b"%05d" % coverage + bytes(45))
    assert [int(one.recv(100)[:5]) for _ in range(2)] == [20, 0]
    # And what ours must cover is theirs.
    one.connect((address, 7001))
    one.setsockopt(LITE, RECEIVE, 8)
    for coverage in 16, 19, 20, 0:
        one.setsockopt(LITE, SEND, coverage)
        one.send(b"%05d" % coverage + bytes(45))
    assert [int(one.recv(100)[:5]) for _ in range(2)] == [20, 0]
    # A port of UDP, and none of UDP-Lite.
    one.connect((address, 7002))
    one.send(b"anybody?")
    try:
        one.recv(100)
        raise AssertionError("somebody answers")
    except ConnectionRefusedError:
        print("all came back")

{"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2])
"#;

pub fn udp_lite_is_spoken_with_the_kernel_both_ways() {
    let mut lab = Lab::plan().programs("").up();
    let script = lab.file("lite.py", UDP_LITE);
    for Ends { here, there, .. } in [IPV4, IPV6] {
        let ask = |address: Host| format!("python3 {script} ask {address}");
        let serves = |program: &super::harness::Program| {
            wait_until("it serves", 20, || program.log().contains("serves"));
        };
        let of_the_kernel = lab.start_on_kernel(Role::Client, &format!("python3 {script} serve {there}"));
        serves(&of_the_kernel);
        lab.run_on_flumen(&ask(there)).says("all came back");
        let of_flumen = lab.start_on_flumen(&format!("python3 {script} serve {here}"));
        serves(&of_flumen);
        lab.client(&ask(here)).says("all came back");
        // It is listed while it is there.
        let listed = lab.flumen().show("sockets --protocol udplite").must();
        assert!(listed.contains(here.0) && listed.contains("udplite"), "{listed}");
    }
}
