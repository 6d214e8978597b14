//! Descriptors of the service: several for each program, and so more than the usual 1024.

use crate::session::limits::{MAX_ASIDE, descriptors_a_program};
use flumen_ipc::limits::MAX_PASSED;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside those of programs: standard ones, ports, control connections, routes, and some to spare; what programs passed
/// and is not closed yet, and what comes in one more message.
const OTHERS: u64 = 512 + (MAX_ASIDE + MAX_PASSED) as u64;

/// Raises the soft limit of this process as far as so many programs need, and tells the operator when that is not permitted:
/// programs beyond it will be turned away.
pub fn make_room(programs: usize, workers: usize) {
    let each = descriptors_a_program(workers) as u64;
    let wanted = OTHERS + programs as u64 * each;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None`: without a limit.
    let Some(limit) = current.filter(|limit| *limit < wanted) else { return };
    let reachable = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum }).is_ok();
    let limit = if raised { reachable } else { limit };
    if limit < wanted {
        let fit = limit.saturating_sub(OTHERS) / each;
        tracing::warn!(
            limit,
            wanted,
            "descriptors for some {fit} of {programs} programs: raise RLIMIT_NOFILE (LimitNOFILE= of systemd)"
        );
    }
}
