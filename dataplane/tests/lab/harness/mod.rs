//! What the lab tests stand on: a [`Lab`] (three namespaces, see `scripts/lib/lab.sh` for the picture) with
//! a router in the middle, commands that run inside, and a [`Wire`] to put frames on and take frames off.
//!
//! ```text
//!   client ------ lan [ router ] wan ------ server        scripts/lab makes it, and takes it away again
//!                       ^ Linux or Flumen: LAB_ROUTER=linux|flumen
//! ```
//!
//! Invariants
//! 1. A few labs may stand on a machine at a time, each in namespaces of its own; one whose test measures, or takes all that
//!    there is, stands alone ([`Share`]). Lock files say so, held from before `up` to after `down`.
//! 2. A lab goes when its value goes, also while a failed test unwinds. What a killed run left behind is
//!    removed before the next lab stands: names contain the process id.
//! 3. Nothing waits without a deadline; nothing sleeps for luck.

mod ends;
mod flumen;
mod inside;
mod packet;
mod plan;
mod programs;
mod wire;

pub use ends::{Ends, Host, IPV4, IPV6, over_each_family};
pub use flumen::{BINARY, Flumen, number};
pub use inside::{Background, Outcome, noise, wait_until};
pub use packet::{IcmpError, Packet, icmp_error, ipv4_of, ipv6_of};
pub use plan::{Action, Plan};
pub use programs::Program;
pub use wire::Wire;

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The client's Ethernet address.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// The router's Ethernet address on the client's side.
pub const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The router's Ethernet address on the server's side.
pub const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// The server's Ethernet address.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// The place of a namespace in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// 10.0.1.2 and fd00:1::2 on `lan0`.
    Client,
    /// 10.0.1.1 and fd00:1::1 on `lan`, 10.0.2.1 and fd00:2::1 on `wan`.
    Router,
    /// 10.0.2.2 and fd00:2::2 on `wan0`.
    Server,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Router => "router",
            Role::Server => "server",
        }
    }

    /// The interface towards the router.
    fn interface(self) -> &'static str {
        match self {
            Role::Client => "lan0",
            Role::Router => "lan",
            Role::Server => "wan0",
        }
    }
}

/// Who routes in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterKind {
    /// The kernel of the router namespace: what every answer is compared with.
    Linux,
    /// `flumen run`.
    Flumen,
}

impl RouterKind {
    /// As LAB_ROUTER says; Flumen when it says nothing.
    pub fn chosen() -> RouterKind {
        match std::env::var("LAB_ROUTER").as_deref() {
            Err(_) | Ok("flumen") => RouterKind::Flumen,
            Ok("linux") => RouterKind::Linux,
            Ok(other) => panic!("LAB_ROUTER is `linux` or `flumen`, not `{other}`"),
        }
    }
}

/// A lab that stands. It falls when the value is dropped.
pub struct Lab {
    run: String,
    plan: Plan,
    flumen: Option<Flumen>,
    _share: File,
}

/// How the labs of this process's tests share the machine with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Others may stand at the same time.
    WithOthers,
    /// No other may.
    Alone,
}

impl Lab {
    /// The plain lab: MTU 1500, default offloads, two queues a port, one worker.
    pub fn up() -> Lab {
        Plan::default().up()
    }

    /// A lab with wishes: finish with [`Plan::up`].
    pub fn plan() -> Plan {
        Plan::default()
    }

    fn raise(plan: Plan) -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // The second would wait for who waits for the first.
        assert!(!HAS_LAB.replace(true), "a test has one lab at a time");
        let share = lock(SHARE.get());
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let run = format!("t{}-{count}", std::process::id());
        let router = plan.chosen();
        let mut lab = Lab { run, plan, flumen: None, _share: share };
        let mut arguments = vec!["up".to_owned(), "--run".to_owned(), lab.run.clone()];
        arguments.extend(lab.plan.arguments(router));
        script(&arguments).must();
        match router {
            RouterKind::Linux => {
                for command in lab.plan.linux_commands() {
                    lab.router(&command).must();
                }
            }
            RouterKind::Flumen => {
                let config = lab.plan.toml(&lab.socket());
                std::fs::write(lab.config_path(), config).expect("the lab has a folder");
                lab.start_flumen();
            }
        }
        lab
    }

    /// Starts `flumen run` in the router namespace and waits until it answers.
    pub fn start_flumen(&mut self) {
        self.flumen = Some(Flumen::start(self));
    }

    /// The running Flumen. Only for tests that are about Flumen alone.
    pub fn flumen(&mut self) -> &mut Flumen {
        self.flumen.as_mut().expect("this test needs LAB_ROUTER=flumen")
    }

    /// Takes the running Flumen out, so that a test can end it in its own way.
    pub fn take_flumen(&mut self) -> Flumen {
        self.flumen.take().expect("this test needs LAB_ROUTER=flumen")
    }

    /// The name of a role's namespace.
    pub fn namespace(&self, role: Role) -> String {
        format!("flumen-{}-{}", self.run, role.name())
    }

    /// The folder of this run: gone with the lab.
    pub fn folder(&self) -> PathBuf {
        Path::new("/run/flumen-lab").join(&self.run)
    }

    /// The configuration that Flumen runs with.
    pub fn config_path(&self) -> PathBuf {
        self.folder().join("router.toml")
    }

    /// The control socket of Flumen.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("control.sock")
    }

    /// Runs a command, words separated by blanks, at the client.
    pub fn client(&self, command: &str) -> Outcome {
        self.run(Role::Client, command)
    }

    /// Runs a command in the router namespace.
    pub fn router(&self, command: &str) -> Outcome {
        self.run(Role::Router, command)
    }

    /// Runs a command at the server.
    pub fn server(&self, command: &str) -> Outcome {
        self.run(Role::Server, command)
    }

    fn run(&self, role: Role, command: &str) -> Outcome {
        inside::run(&self.namespace(role), command)
    }

    /// Starts a command that runs until the value is dropped.
    pub fn background(&self, role: Role, command: &str) -> Background {
        Background::start(&self.namespace(role), command)
    }

    /// Runs a closure on a thread that stands in a role's namespace: its sockets are that host's.
    pub fn within<T: Send + 'static>(
        &self,
        role: Role,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        inside::within(&self.namespace(role), work)
    }

    /// The raw link of the client or the server towards the router.
    pub fn wire(&self, role: Role) -> Wire {
        Wire::open(self, role)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.flumen.take());
        HAS_LAB.set(false);
        let down = script(&["down".to_owned(), "--run".to_owned(), self.run.clone()]);
        if !down.ok && !std::thread::panicking() {
            down.must();
        }
    }
}

/// Runs `scripts/lab`.
fn script(arguments: &[String]) -> Outcome {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab");
    inside::finish(Command::new(lab).args(arguments))
}

thread_local! {
    static SHARE: Cell<Share> = const { Cell::new(Share::Alone) };
    static HAS_LAB: Cell<bool> = const { Cell::new(false) };
}

/// The labs of this thread's test share the machine so.
pub fn share_with(share: Share) {
    SHARE.set(share);
}

/// Waits for the lab lock of this machine. Who wants it alone waits at a door that nobody else passes meanwhile: it comes to its
/// turn, though others come all the time.
fn lock(share: Share) -> File {
    // Not everywhere is there a folder for locks: in a container, for one.
    let [door, file] = ["/run/flumen-lab.door", "/run/flumen-lab.lock"]
        .map(|path| File::create(path).expect("root may write to /run"));
    door.lock().expect("the door of the labs");
    sweep();
    match share {
        Share::WithOthers => file.lock_shared(),
        Share::Alone => file.lock(),
    }
    .expect("the lock of the labs");
    file
}

/// The runs that stand.
pub fn standing() -> Vec<String> {
    script(&["list".to_owned()]).must().lines().map(str::to_owned).collect()
}

/// Takes down what test runs left behind that were killed. Runs by hand have other names and stay.
fn sweep() {
    for run in standing() {
        let owner =
            run.strip_prefix('t').and_then(|rest| rest.split_once('-')).and_then(|(pid, _)| pid.parse().ok());
        if let Some(owner) = owner.filter(|owner: &u32| *owner != std::process::id())
            && !Path::new("/proc").join(owner.to_string()).exists()
        {
            script(&["down".to_owned(), "--run".to_owned(), run]).must();
        }
    }
}
