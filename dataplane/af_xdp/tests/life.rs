//! Starting, dying and starting again; the pin-hole and the way in for the operator, with a real kernel beside us.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may fail the test

mod common;

use af_xdp::*;
use common::{Lab, enter, inside, ip, run, skip};
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

fn only(address: &str, port: u16, ownership: Ownership) -> Rules {
    let claim = Claim {
        destination: Prefix::host(address.parse().unwrap()),
        protocol: Some(17),
        ports: Some(port..=port),
        ownership,
    };
    Rules { claims: Claims::Only(vec![claim]), exclusions: vec![] }
}

fn attach(rules: Rules) -> Attachment {
    Attachment::attach("v0", &AttachOptions { mode: Mode::NativeCopy, rules, multi_buffer: false }).unwrap()
}

fn ping(lab: &Lab) -> bool {
    let arguments = ["netns", "exec", &lab.b, "ping", "-c1", "-W1", "10.9.0.1"];
    Command::new("ip").args(arguments).output().unwrap().status.success()
}

fn xdp_is_on(namespace: &str) -> bool {
    let output = Command::new("ip").args(["-n", namespace, "link", "show", "v0"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
}

#[test]
fn after_sigkill_nothing_is_left_and_the_next_start_works_at_once() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    for _ in 0..3 {
        let mut pipe = [0; 2];
        // SAFETY: an array of two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: the child only runs what follows and never returns.
        let child = unsafe { libc::fork() };
        if child == 0 {
            enter(&lab.a);
            let pool = Pool::new(&PoolConfig { chunks: 8192, ..PoolConfig::default() }).unwrap();
            let port = attach(Rules::whole_port());
            let _socket = Socket::open(&pool, &port, 0, &SocketOptions::default()).unwrap();
            // SAFETY: one byte from a static; pause takes nothing.
            unsafe {
                libc::write(pipe[1], c"x".as_ptr().cast(), 1);
                loop {
                    libc::pause();
                }
            }
        }
        let mut byte = 0u8;
        // SAFETY: one byte into `byte`; the descriptors are ours.
        unsafe {
            libc::close(pipe[1]);
            assert_eq!(
                libc::read(pipe[0], std::ptr::from_mut(&mut byte).cast(), 1),
                1,
                "the child opened its socket"
            );
            libc::close(pipe[0]);
        }
        assert!(xdp_is_on(&lab.a));
        assert!(!ping(&lab), "the child takes the whole port and answers nothing");
        // SAFETY: a child of ours that was not waited for yet.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        inside(&lab.a, || {
            let pool = Pool::new(&PoolConfig { chunks: 8192, ..PoolConfig::default() }).unwrap();
            let port = attach(Rules::whole_port());
            let socket = Socket::open(&pool, &port, 0, &SocketOptions::default()).unwrap();
            drop((socket, port));
        });
        let start = Instant::now();
        while xdp_is_on(&lab.a) && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!xdp_is_on(&lab.a) && ping(&lab), "the interface is the kernel's again");
    }
}

#[test]
fn the_pin_hole_takes_its_port_and_the_kernel_keeps_the_rest() {
    if skip() {
        return;
    }
    let lab = Lab::new(1, 1500);
    let (ours, kernels) = inside(&lab.a, || {
        let bind = |port| UdpSocket::bind(("10.9.0.1", port)).unwrap();
        (bind(7000), bind(7001))
    });
    let sender = inside(&lab.b, || UdpSocket::bind("10.9.0.2:0").unwrap());
    inside(&lab.a, || {
        let pool = Pool::new(&PoolConfig { chunks: 8192, ..PoolConfig::default() }).unwrap();
        let port = attach(only("10.9.0.1", 7000, Ownership::Shared));
        let mut socket = Socket::open(&pool, &port, 0, &SocketOptions::default()).unwrap();
        assert!(ping(&lab), "ARP and ICMP stay with the kernel");
        kernels.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        ours.set_nonblocking(true).unwrap();
        let receive = |socket: &mut Socket| {
            let start = Instant::now();
            let mut got = Vec::new();
            while got.is_empty() && start.elapsed() < Duration::from_secs(2) {
                socket.receive(64, |frame| got.push(frame[42..].to_vec()));
            }
            got
        };
        let mut bytes = [0; 64];
        sender.send_to(b"for the kernel", "10.9.0.1:7001").unwrap();
        let len = kernels.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"for the kernel");
        sender.send_to(b"for us", "10.9.0.1:7000").unwrap();
        assert_eq!(receive(&mut socket), [b"for us"]);
        assert!(ours.recv(&mut bytes).is_err(), "the kernel did not see it too");

        // Live: the other port now, and the first is the kernel's.
        port.replace_rules(&only("10.9.0.1", 7001, Ownership::Shared)).unwrap();
        sender.send_to(b"swapped", "10.9.0.1:7001").unwrap();
        assert_eq!(receive(&mut socket), [b"swapped"]);

        // The whole port but 7001, as ssh would be kept.
        let exclusion = Exclusion {
            address: None,
            protocol: Some(17),
            ports: Some(7001..=7001),
            ownership: Ownership::Shared,
        };
        let rules = Rules { claims: Claims::WholePort, exclusions: vec![exclusion] };
        port.replace_rules(&rules).unwrap();
        sender.send_to(b"the way in", "10.9.0.1:7001").unwrap();
        let len = kernels.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"the way in");
        assert!(!ping(&lab), "the rest is ours");
    });
}

#[test]
fn napi_deferral_is_applied_and_what_was_before_is_put_back() {
    if skip() {
        return;
    }
    use af_xdp::nic::deferral::{NapiDeferral, Settings, read};
    // Its own view of /sys, because that shows the namespace of whoever mounted it.
    let lab = Lab::new(1, 1500);
    inside(&lab.a, || {
        // SAFETY: no memory is passed; this thread ends with the test.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_FS) }, 0);
        run("mount", "--make-rprivate /");
        run("mount", "-t sysfs sysfs /sys");
        let before = read("v0").unwrap();
        let wanted = Settings { defer_hard_irqs: 2, gro_flush_timeout: 50_000 };
        assert_ne!(before, wanted);
        let deferral = NapiDeferral::apply("v0", wanted).unwrap();
        assert_eq!((read("v0").unwrap(), deferral.previous()), (wanted, before));
        drop(deferral);
        assert_eq!(read("v0").unwrap(), before);
        assert!(NapiDeferral::apply("../v0", wanted).is_err());
    });
}

#[test]
fn an_interface_tells_what_it_is() {
    if skip() {
        return;
    }
    let lab = Lab::new(3, 1400);
    inside(&lab.a, || {
        let interface = nic::Interface::open("v0").unwrap();
        assert_eq!(
            (interface.mtu, interface.driver.as_str(), interface.queues().unwrap()),
            (1400, "veth", 3)
        );
        assert!(interface.is_up().unwrap());
        assert!(interface.features().unwrap().tx_checksum);
        run("ethtool", "-K v0 tx off");
        assert!(!interface.features().unwrap().tx_checksum);
        ip(&format!("-n {} link set v0 down", lab.a));
        assert!(!interface.is_up().unwrap());
        assert!(matches!(nic::Interface::open("v9"), Err(nic::NicError::Missing(_))));
        assert!(matches!(nic::Interface::open("a/b"), Err(nic::NicError::Name(_))));
    });
}
