//! Memory of our own that is not the program's allocator's: so it can be given back in a signal handler, which may have interrupted that.

use core::marker::PhantomData;
use core::ops::Deref;
use core::sync::atomic::{AtomicPtr, AtomicU64};
use memmap2::{MmapMut, MmapOptions};
use std::io;

/// What zeros are a value of, and what need not be dropped.
///
/// # Safety
/// That must be so.
pub unsafe trait Zeros {}

// SAFETY: an integer.
unsafe impl Zeros for AtomicU64 {}
// SAFETY: a null pointer.
unsafe impl<T> Zeros for AtomicPtr<T> {}

/// As many of them as were asked for, zero at first.
#[derive(Debug)]
pub struct Table<T: Zeros> {
    map: MmapMut,
    len: usize,
    _of: PhantomData<T>,
}

impl<T: Zeros> Table<T> {
    /// A new one.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(len: usize) -> io::Result<Table<T>> {
        let map = MmapOptions::new().len((len * size_of::<T>()).max(1)).map_anon()?;
        Ok(Table { map, len, _of: PhantomData })
    }
}

impl<T: Zeros> Deref for Table<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping is page-aligned, long enough, and lives as long as `self`; zeros are values, and what is stored later is.
        unsafe { core::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

/// A value in a mapping.
#[derive(Debug)]
pub struct Placed<T>(*mut T);

impl<T> Placed<T> {
    /// Places it.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(value: T) -> io::Result<Placed<T>> {
        let mut map = MmapOptions::new().len(size_of::<T>().max(1)).map_anon()?;
        let place = map.as_mut_ptr().cast::<T>();
        core::mem::forget(map);
        // SAFETY: the mapping is page-aligned, long enough and ours.
        unsafe { place.write(value) };
        Ok(Placed(place))
    }

    /// As a pointer, which lives until [`Placed::from_raw`].
    pub fn into_raw(self) -> *mut T {
        core::mem::ManuallyDrop::new(self).0
    }

    /// What was placed.
    ///
    /// # Safety
    /// The pointer came from [`Placed::into_raw`], and nobody else follows it any more.
    pub unsafe fn from_raw(place: *mut T) -> Placed<T> {
        Placed(place)
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: placed by `new`, and there as long as `self`.
        unsafe { &*self.0 }
    }
}

impl<T> Drop for Placed<T> {
    fn drop(&mut self) {
        // SAFETY: as above; nobody has it any more.
        unsafe {
            self.0.drop_in_place();
            libc::munmap(self.0.cast(), size_of::<T>().max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::SeqCst;
    use std::sync::Arc;

    #[test]
    fn what_is_placed_is_dropped_with_its_place() {
        let value = Arc::new(5);
        let placed = Placed::new(Arc::clone(&value)).unwrap();
        assert_eq!((**placed, Arc::strong_count(&value)), (5, 2));
        // SAFETY: of `into_raw`, once.
        drop(unsafe { Placed::from_raw(placed.into_raw()) });
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_table_is_zero_at_first_and_as_long_as_was_asked_for() {
        let table: Table<AtomicU64> = Table::new(1000).unwrap();
        assert!(table.len() == 1000 && table.iter().all(|word| word.load(SeqCst) == 0));
        table[999].store(7, SeqCst);
        assert_eq!(table.iter().map(|word| word.load(SeqCst)).sum::<u64>(), 7);
        assert!(Table::<AtomicU64>::new(0).unwrap().is_empty());
    }
}
