//! A lab for the generator: `flumen run` in the middle, or a wire, and both ends in the client's namespace, so that one
//! process can send by `lan0` and receive by `wan0`.
//!
//! ```text
//!   client:  lan0 ======= lan [ flumen ] wan ======= wan0 :client       scripts/lib/lab.sh has the addresses
//! ```
//! The same lock as the data plane's own lab tests: no other lab stands meanwhile. It falls when the value is
//! dropped, also while a failed test unwinds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const PKTGEN: &str = env!("CARGO_BIN_EXE_flumen-pktgen");
pub const BENCH: &str = env!("CARGO_BIN_EXE_flumen-bench");

/// No program of a test takes longer.
const LIMIT: Duration = Duration::from_secs(90);

/// A lab that stands.
pub struct Lab {
    run: String,
    /// The program in the middle.
    middle: Option<Child>,
    _alone: File,
}

/// The other packages' programs stand beside ours.
fn flumen() -> PathBuf {
    let path = Path::new(PKTGEN).with_file_name("flumen");
    assert!(path.exists(), "{} is missing: cargo build -p flumen", path.display());
    path
}

fn script(arguments: &[&str]) -> Output {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab");
    let output = Command::new(lab).args(arguments).stdin(Stdio::null()).output().expect("scripts/lab runs");
    assert!(
        output.status.success(),
        "scripts/lab {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

impl Lab {
    /// With Flumen in the middle.
    pub fn up() -> Lab {
        Lab::up_with(&[], "")
    }

    /// With Flumen in the middle, options of `scripts/lab up`, and tables behind the router's configuration.
    pub fn up_with(options: &[&str], tables: &str) -> Lab {
        Lab::route(Lab::links(options, true), tables)
    }

    /// With client and server where they are in the data plane's lab: for programs that speak through the kernel.
    pub fn up_for_programs() -> Lab {
        Lab::route(Lab::links(&[], false), "")
    }

    fn route(mut lab: Lab, tables: &str) -> Lab {
        let mut config = script(&["config", "--run", &lab.run, "1"]).stdout;
        config.extend_from_slice(tables.as_bytes());
        let file = lab.folder().join("router.toml");
        std::fs::write(&file, config).expect("the lab has a folder");
        let file = file.into_os_string().into_string().expect("a name of ours");
        let flumen = flumen().into_os_string().into_string().expect("a name of ours");
        lab.put_in_the_middle(&flumen, &["run", &file], " running");
        lab
    }

    /// With a wire in the middle.
    pub fn wire(options: &[&str]) -> Lab {
        let mut lab = Lab::links(&[], true);
        let ends = ["--json", "wire", "--left", "lan", "--right", "wan"];
        lab.put_in_the_middle(BENCH, &[&ends, options].concat(), " stands");
        lab
    }

    /// Links, and nobody in the middle.
    fn links(options: &[&str], ends_together: bool) -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // As the data plane's own lab tests do that want the machine alone.
        let [door, alone] = ["/run/flumen-lab.door", "/run/flumen-lab.lock"]
            .map(|path| File::create(path).expect("root may write to /run"));
        door.lock().expect("the door of the labs");
        alone.lock().expect("the lock of the labs");
        drop(door);
        // The name of a test run: what a killed one leaves is swept by the data plane's lab tests too.
        let run = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { run, middle: None, _alone: alone };
        script(&[&["up", "--run", &lab.run, "--router", "flumen"], options].concat());
        let (client, server) = (lab.namespace("client"), lab.namespace("server"));
        let together = [
            format!("ip -n {server} link set wan0 netns {client}"),
            format!("ip -n {client} link set wan0 up"),
            // The kernel says nothing on these links: what is on them is the generator's and the router's.
            format!("ip -n {client} addr flush dev lan0"),
        ];
        for line in together.iter().filter(|_| ends_together) {
            let words: Vec<&str> = line.split(' ').collect();
            let done = Command::new(words[0]).args(&words[1..]).output().expect("ip runs");
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        }
        lab
    }

    fn put_in_the_middle(&mut self, program: &str, arguments: &[&str], running: &str) {
        let file = |name: &str| File::create(self.folder().join(name)).expect("the lab has a folder");
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace("router"), program])
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file("middle.out"))
            .stderr(file("middle.log"))
            .spawn()
            .expect("ip runs");
        self.middle = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(running) {
            assert!(Instant::now() < deadline, "{program} does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the program in the middle to end, as Ctrl-C does, and returns what it printed.
    pub fn interrupt(&mut self) -> String {
        let mut middle = self.middle.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(middle.id().try_into().expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::SIGINT).expect("it is ours");
        let status = middle.wait().expect("it ends");
        assert!(status.success(), "{status}: {}", self.log());
        std::fs::read_to_string(self.folder().join("middle.out")).expect("what it printed")
    }

    pub fn namespace(&self, role: &str) -> String {
        format!("flumen-{}-{role}", self.run)
    }

    pub fn folder(&self) -> PathBuf {
        Path::new("/run/flumen-lab").join(&self.run)
    }

    fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder().join(name)).unwrap_or_default();
        read("middle.out") + &read("middle.log")
    }

    /// A program in the client's namespace, not started yet.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace("client"), program]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A program of ours, to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let limit = LIMIT.as_secs().to_string();
        let all: Vec<&str> = ["--kill-after=2", limit.as_str(), program]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        self.client("timeout", &all).output().expect("ip runs")
    }

    /// The report of a generator that must succeed.
    pub fn report(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(PKTGEN, &[&["--json", "--quiet"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What Flumen counts at a port, once it has nothing left to publish.
    pub fn port(&self, name: &str) -> serde_json::Value {
        let socket = self.folder().join("control.sock");
        let output = Command::new(flumen())
            .args(["show", "--socket"])
            .arg(socket)
            .args(["port", "--json"])
            .output()
            .expect("flumen runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let ports = all["ports"].as_array().expect("a list").clone();
        ports.into_iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("no port {name}: {all}"))
    }

    /// True when an XDP program is on an interface of the client.
    pub fn has_program(&self, interface: &str) -> bool {
        let output = self.client("ip", &["link", "show", interface]).output().expect("ip runs");
        String::from_utf8_lossy(&output.stdout).contains("xdp")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the program in the middle said:\n{}---", self.log());
        }
        if let Some(mut middle) = self.middle.take() {
            let _ = middle.kill();
            let _ = middle.wait();
        }
        let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab");
        let _ = Command::new(lab).args(["down", "--run", &self.run]).stdin(Stdio::null()).output();
    }
}
