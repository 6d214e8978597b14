//! Where figures were taken: without this, a figure means nothing.

use serde::Serialize;
use std::time::{Duration, Instant};

/// The machine, its kernel, and how fast its cycle counter runs.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub processor: String,
    /// Processors online.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Millions of cycles of the time stamp counter in a second, as measured.
    pub tsc_mhz: f64,
    /// The processor that the measuring thread is pinned to, if it is.
    pub pinned_to: Option<usize>,
    /// Processes that were running or wanted to, on average over the last minute.
    pub load: f64,
    /// What was measured.
    pub version: &'static str,
    /// Its commit, where the sources are still there and git can say.
    pub commit: Option<String>,
}

impl Machine {
    /// This one.
    pub fn here(pinned_to: Option<usize>) -> Machine {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned())
            })
            .unwrap_or_default();
        let load = read("/proc/loadavg").split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(0.0);
        Machine {
            processor,
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            tsc_mhz: tsc_mhz(),
            pinned_to,
            load,
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
        }
    }
}

impl core::fmt::Display for Machine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Machine { processor, processors, kernel, tsc_mhz, pinned_to, load, version, commit } = self;
        let commit = commit.as_ref().map_or(String::new(), |commit| format!(" ({commit})"));
        let pin = pinned_to.map_or("not pinned".to_owned(), |cpu| format!("pinned to cpu {cpu}"));
        write!(
            f,
            "{processor}, {processors} processors, TSC {tsc_mhz:.0} MHz, Linux {kernel}, load {load}, {pin}; \
             flumen {version}{commit}"
        )
    }
}

/// The commit that the sources of this program stand at now.
fn commit() -> Option<String> {
    let sources = env!("CARGO_MANIFEST_DIR");
    let git = std::process::Command::new("git")
        .args(["-C", sources, "describe", "--always", "--dirty", "--abbrev=12"])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(git.stdout).ok()?;
    (git.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn tsc_mhz() -> f64 {
    let (start, cycles) = (Instant::now(), af_xdp::cycles::now());
    while start.elapsed() < Duration::from_millis(50) {}
    let cycles = af_xdp::cycles::now().wrapping_sub(cycles);
    cycles as f64 / start.elapsed().as_secs_f64() / 1e6
}
