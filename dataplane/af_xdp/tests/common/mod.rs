//! Veth pairs in namespaces of their own, and threads inside them.

#![allow(dead_code)] // each test file uses its part

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Says why and returns true when this process may not make namespaces.
pub fn skip() -> bool {
    // SAFETY: no argument, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("skipped: namespaces and XDP need root");
    }
    !root
}

/// Two namespaces, `a` and `b`, joined by a veth pair whose ends are both called `v0`. Removed on drop.
pub struct Lab {
    pub a: String,
    pub b: String,
}

pub fn ip(arguments: &str) {
    run("ip", arguments);
}

pub fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {said}");
}

impl Lab {
    /// A pair with `queues` queues on each side and `mtu`; addresses 10.9.0.1/24 at a and 10.9.0.2/24 at b.
    pub fn new(queues: u32, mtu: u32) -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tag = format!("fxdp{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { a: format!("{tag}a"), b: format!("{tag}b") };
        let (a, b) = (&lab.a, &lab.b);
        ip(&format!("netns add {a}"));
        ip(&format!("netns add {b}"));
        let shape = format!("numrxqueues {queues} numtxqueues {queues}");
        ip(&format!("-n {a} link add v0 {shape} type veth peer name v0 netns {b} {shape}"));
        for (name, host) in [(a, 1), (b, 2)] {
            run("ip", &format!("netns exec {name} sysctl -qw net.ipv6.conf.v0.disable_ipv6=1"));
            ip(&format!("-n {name} link set v0 mtu {mtu} up"));
            ip(&format!("-n {name} address add 10.9.0.{host}/24 dev v0"));
        }
        lab
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

/// Runs `work` on a thread inside the namespace and returns its result.
pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                enter(namespace);
                work()
            })
            .join()
            .unwrap()
    })
}

/// Moves this thread into the namespace.
pub fn enter(namespace: &str) {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
}

/// The running kernel: major and minor.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse::<u32>());
    (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap())
}
