//! Unmodified programs with the sockets of the lab's Flumen: `flumen exec` in the router namespace.

use super::flumen::BINARY;
use super::inside::{self, Outcome};
use super::{Lab, Role};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// A program that runs beside the test, with all the processes that it made. They are ended when the value is dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
    line: String,
}

impl Program {
    /// Starts a command line, words separated by blanks.
    fn start(lab: &Lab, role: Role, line: &str) -> Program {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let log = lab.folder().join(format!("program-{number}.log"));
        let file = File::create(&log).expect("the lab has a folder");
        let error = file.try_clone().expect("a file can be cloned");
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &lab.namespace(role)])
            .args(line.split_whitespace())
            .env("LC_ALL", "C");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(error).process_group(0).spawn();
        Program { child: child.expect("ip runs"), log, line: line.to_owned() }
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        inside::all_of(File::open(&self.log).expect("the log stands until the lab falls"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and all the processes that it made.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        let _ended_already = killpg(Pid::from_raw(self.child.id() as i32), signal);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- `{}` said:\n{}---", self.line, self.log());
        }
    }
}

impl Lab {
    /// The socket that programs attach at.
    pub fn programs_socket(&self) -> PathBuf {
        self.folder().join("programs.sock")
    }

    /// Makes sure that the library stands beside the binary, for tests that preload it themselves.
    pub fn build_library(&self) {
        build();
    }

    fn exec(&self, line: &str) -> String {
        build();
        format!("{BINARY} exec --socket {} -- {line}", self.programs_socket().display())
    }

    /// Runs a program to its end with Flumen's sockets.
    pub fn run_on_flumen(&self, line: &str) -> Outcome {
        self.router(&self.exec(line))
    }

    /// Starts a program that goes on, with Flumen's sockets.
    pub fn start_on_flumen(&self, line: &str) -> Program {
        Program::start(self, Role::Router, &self.exec(line))
    }

    /// Starts a program that goes on, with the kernel's sockets.
    pub fn start_on_kernel(&self, role: Role, line: &str) -> Program {
        Program::start(self, role, line)
    }

    /// A file of this run.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.folder().join(name);
        std::fs::write(&path, bytes).expect("the lab's folder");
        path.display().to_string()
    }

    /// Waits until something listens at an address and port.
    #[track_caller]
    pub fn wait_for_port(&self, from: Role, address: impl std::fmt::Display, port: u16) {
        inside::wait_until("a program listens", 20, || {
            self.run(from, &format!("nc -z -w 1 {address} {port}")).ok
        });
    }
}

/// The library is a file of another package: nothing that Cargo builds for a test. Builds it like this test.
fn build() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let library = Path::new(BINARY).with_file_name("libflumen_preload.so");
        let profile = if cfg!(debug_assertions) { "test" } else { "release" };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
            "build",
            "-q",
            "-p",
            "flumen-preload",
            "--profile",
            profile,
        ]);
        inside::finish(&mut cargo).must();
        assert!(library.is_file(), "cargo has built no {}", library.display());
    });
}
