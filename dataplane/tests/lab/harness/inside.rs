//! Commands and closures inside a namespace, each with a deadline.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No command of a test takes longer; what does is ended and has failed.
const LIMIT_SECONDS: u32 = 60;

/// How a command ended and what it said on both outputs together.
#[derive(Debug)]
pub struct Outcome {
    /// True when it ended with status 0.
    pub ok: bool,
    /// Standard output, then standard error.
    pub text: String,
    command: String,
}

impl Outcome {
    /// What it said; the test fails, showing it, when the command failed.
    #[track_caller]
    pub fn must(self) -> String {
        assert!(self.ok, "`{}` failed:\n{}", self.command, self.text);
        self.text
    }

    /// What it said; the test fails when it does not contain `needle`.
    #[track_caller]
    pub fn says(self, needle: &str) -> String {
        assert!(self.text.contains(needle), "`{}` does not say `{needle}`:\n{}", self.command, self.text);
        self.text
    }
}

/// Runs a command line, words separated by blanks, in a namespace.
pub fn run(namespace: &str, line: &str) -> Outcome {
    finish(&mut command(namespace, line, Some(LIMIT_SECONDS)))
}

/// Runs a prepared command to its end.
pub fn finish(command: &mut Command) -> Outcome {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Outcome { ok: output.status.success(), text, command: shown }
}

fn command(namespace: &str, line: &str, limit: Option<u32>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]);
    if let Some(seconds) = limit {
        command.args(["timeout", "--kill-after=2", &seconds.to_string()]);
    }
    command.args(line.split_whitespace()).env("LC_ALL", "C");
    command
}

/// A command that runs beside the test. It is killed when the value is dropped.
pub struct Background {
    child: Child,
}

impl Background {
    /// Starts it; what it says is not kept.
    pub fn start(namespace: &str, line: &str) -> Background {
        let mut command = command(namespace, line, None);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Background { child: child.unwrap_or_else(|error| panic!("{line}: {error}")) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself; waiting makes sure that nothing of it is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a closure on a new thread in a namespace. Sockets that it makes belong there for as long as they
/// live, whichever thread uses them.
pub fn within<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let path = format!("/run/netns/{namespace}");
    std::thread::spawn(move || {
        let namespace = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)
            .expect("root may enter a namespace");
        work()
    })
}

/// Asks every 20 ms until the answer is yes; the test fails, naming what it waited for, after `seconds`.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut question: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !question() {
        assert!(Instant::now() < deadline, "waited {seconds} s in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All that a reader gives until its end, as text.
pub fn all_of(mut reader: impl Read) -> String {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("a log can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes in which no piece looks like another (xorshift64), other ones for each seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
