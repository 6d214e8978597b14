//! `flumen run` in the router namespace of a lab.

use super::inside::{self, Outcome};
use super::{Lab, Role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Readiness, a clean stop, the end after a signal: each takes well under a second. Past this the test has
/// failed.
const DEADLINE: Duration = Duration::from_secs(15);

/// The binary of this build.
pub const BINARY: &str = env!("CARGO_BIN_EXE_flumen");

/// A running `flumen run`. It is killed when the value is dropped.
pub struct Flumen {
    child: Child,
    log: PathBuf,
    /// Where this instance's part of the log begins, in bytes.
    log_begin: u64,
    socket: PathBuf,
}

impl Flumen {
    /// Starts it with the lab's configuration and waits until it says that it is running.
    pub(super) fn start(lab: &Lab) -> Flumen {
        let mut flumen = Flumen::launch(lab);
        let deadline = Instant::now() + DEADLINE;
        while !flumen.log().contains("running") {
            let ended = flumen.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "flumen ended at start ({ended:?}):\n{}", flumen.log());
            assert!(Instant::now() < deadline, "flumen does not begin:\n{}", flumen.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        flumen
    }

    /// Starts it and does not wait: for tests in which it must refuse to start.
    pub fn launch(lab: &Lab) -> Flumen {
        let log = lab.folder().join("flumen.log");
        let file = File::options().create(true).append(true).open(&log).expect("the lab has a folder");
        let log_begin = file.metadata().expect("the log is there").len();
        let error = file.try_clone().expect("a file can be cloned");
        // `ip netns exec` becomes the program: the child's process id is Flumen's.
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.namespace(Role::Router), BINARY, "run"])
            .arg(lab.config_path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(error)
            .spawn()
            .expect("ip runs");
        Flumen { child, log, log_begin, socket: lab.socket() }
    }

    /// `flumen show WHAT`, asked at this instance's control socket.
    pub fn show(&self, what: &str) -> Outcome {
        let mut command = Command::new(BINARY);
        inside::finish(command.args(["show", "--socket"]).arg(&self.socket).args(what.split_whitespace()))
    }

    /// `flumen show WHAT --json`.
    pub fn json(&self, what: &str) -> Value {
        let json = self.show(&format!("{what} --json")).must();
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{what}: {error}\n{json}"))
    }

    /// What `show drops` or `show counters` says of one name, or of all when it is empty; all workers together.
    pub fn tally(&self, what: &str, name: &str) -> u64 {
        let all = self.json(what);
        let tallies = all["tallies"].as_array().expect("a list").iter();
        let wanted = tallies.filter(|tally| name.is_empty() || tally["name"] == name);
        wanted.flat_map(|tally| tally["per_core"].as_array().expect("a list")).map(number).sum()
    }

    /// The thread of the worker on this processor, as the kernel counts threads.
    pub fn worker_thread(&self, cpu: usize) -> u32 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let wanted = format!("flumen-cpu{cpu}");
        let names = tasks.map(|task| task.expect("a thread").path());
        let found = names.filter(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == wanted)
        });
        let mut ids = found.map(|task| task.file_name().expect("a number").to_string_lossy().into_owned());
        ids.next().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no thread {wanted}"))
    }

    /// What it wrote to standard output and standard error so far.
    pub fn log(&self) -> String {
        let mut file = File::open(&self.log).expect("the log stands until the lab falls");
        file.seek(SeekFrom::Start(self.log_begin)).expect("a file can be read from anywhere");
        inside::all_of(file)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it is our child");
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "flumen does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// True while it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Processor time that it used so far, in ticks of 10 ms: utime + stime of /proc/PID/stat.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        // The name may contain blanks: fields are counted from its closing bracket. utime is field 14.
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
        let number = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
        number(14) + number(15)
    }
}

/// A count in JSON.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a count, not {value}"))
}

impl Drop for Flumen {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if failed {
            eprintln!("--- flumen said:\n{}---", self.log());
        }
    }
}
