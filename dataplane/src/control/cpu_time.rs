//! How much processor time a thread took: what `show core` calls its use of the processor.

/// Nanoseconds in a clock tick of `/proc` (USER_HZ, which is 100 on every architecture that AF_XDP is used on).
const TICK_NS: u64 = 10_000_000;

/// Nanoseconds that thread `tid` of this process ran on a processor so far, in user and kernel mode, in steps of
/// 10 ms; `None` when there is no such thread. (`schedstat` is finer, but many kernels are built without it.)
pub fn of_thread(tid: i32) -> Option<u64> {
    of_stat(&std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?)
}

/// The number of the thread that asks; `None` where `/proc` is not mounted.
pub fn this_thread() -> Option<i32> {
    std::fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

/// Fields 14 and 15 of a `stat` file (proc_pid_stat(5)).
fn of_stat(stat: &str) -> Option<u64> {
    // The second field is the thread's name in parentheses, which may hold anything; the third follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    let (user, kernel): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(kernel)?.checked_mul(TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) R 1 (b) S 1 7 7 0 -1 64 1 2 3 4 150 50 0 0 20 0 1 0 99";
        assert_eq!(of_stat(stat), Some(2_000_000_000));
        for bad in
            ["", "7 (a) R", "7 (a) S 1 7 7 0 -1 64 1 2 3 4 150 x", "7 a S 1 7 7 0 -1 64 1 2 3 4 150 50"]
        {
            assert_eq!(of_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_own_thread_has_a_time_and_one_that_is_not_there_has_none() {
        assert!(of_thread(this_thread().unwrap()).is_some());
        assert_eq!(of_thread(i32::MAX), None);
    }
}
