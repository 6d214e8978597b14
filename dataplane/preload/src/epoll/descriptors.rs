//! Which set is behind an epoll descriptor.

use super::{set::Set, state};
use crate::limits::MAX_DESCRIPTORS;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// For each descriptor, the number of its set and one more; 0: none. (Pages that are never touched cost nothing.)
static SETS: [AtomicU32; MAX_DESCRIPTORS] = [const { AtomicU32::new(0) }; MAX_DESCRIPTORS];
/// Descriptors that have a set: nearly always the only word to look at.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// One more than the largest descriptor that ever had a set.
static END: AtomicU32 = AtomicU32::new(0);

fn word(fd: c_int) -> Option<&'static AtomicU32> {
    SETS.get(usize::try_from(fd).ok()?)
}

/// The set behind a descriptor.
#[inline]
pub fn get(fd: c_int) -> Option<u32> {
    if COUNT.load(SeqCst) == 0 { None } else { word(fd)?.load(SeqCst).checked_sub(1) }
}

/// A descriptor of a set, for the kernel's set.
pub fn any_of(set: u32) -> Option<c_int> {
    let mut words = SETS.iter().take(END.load(SeqCst) as usize);
    let found = words.position(|word| word.load(Relaxed) == set + 1)?;
    c_int::try_from(found).ok()
}

/// Makes a set for a descriptor of a new one of the kernel's, in which nothing is yet; or of one that was here before we
/// were (`strangers`).
pub fn begin(fd: c_int, strangers: bool) -> Option<u32> {
    closed(fd);
    let word = word(fd)?;
    END.fetch_max(fd as u32 + 1, SeqCst);
    let set = state::hold()?.sets.insert(Set::new(strangers));
    if word.compare_exchange(0, set + 1, SeqCst, SeqCst).is_err() {
        state::hold()?.remove_set(set);
        return get(fd);
    }
    COUNT.fetch_add(1, SeqCst);
    Some(set)
}

/// A descriptor was closed.
#[inline]
pub fn closed(fd: c_int) {
    if let Some(set) = get(fd) {
        forget(fd, set);
    }
}

#[cold]
fn forget(fd: c_int, set: u32) {
    let Some(word) = word(fd) else { return };
    if word.compare_exchange(set + 1, 0, SeqCst, SeqCst).is_err() {
        return;
    }
    COUNT.fetch_sub(1, SeqCst);
    if any_of(set).is_none()
        && let Some(mut registry) = state::hold()
    {
        registry.remove_set(set);
    }
}

/// A range of descriptors was closed.
pub fn closed_range(first: u32, last: u32) {
    let end = END.load(SeqCst).min(last.saturating_add(1));
    (first..end).for_each(|fd| closed(fd as c_int));
}

/// A descriptor was closed, and is another name of what `from` names now.
pub fn copied(from: c_int, to: c_int) {
    closed(to);
    if let Some(set) = get(from)
        && let Some(word) = word(to)
        && END.fetch_max(to as u32 + 1, SeqCst) < u32::MAX
        && word.swap(set + 1, SeqCst) == 0
    {
        COUNT.fetch_add(1, SeqCst);
    }
}
