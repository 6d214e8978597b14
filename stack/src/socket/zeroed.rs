//! Large tables that cost no memory until they are touched.
//!
//! A table sized for a million connections must not cost a gigabyte on a machine that has three. The allocator
//! hands out zeroed memory in whole pages that the kernel fills in at the first touch, provided that nobody asks
//! for an alignment above its own (then the memory is cleared by hand, that is: touched). So a little more is
//! asked for than needed, and the table begins at the first aligned element.
//!
//! All zeros must therefore mean "empty" in every table built on this.

use zerocopy::FromZeros;

/// The tables begin at a page: what is a page long then lies in one page, what is a cache line long in one line.
const ALIGNMENT: usize = 4096;

/// `len` zeroed elements, the first of which begins a page.
#[derive(Debug)]
pub struct Zeroed<T> {
    memory: Box<[T]>,
    start: usize,
    len: usize,
}

impl<T: FromZeros> Zeroed<T> {
    /// A table of `len` elements. For the alignment to hold, the size of an element must divide 16 bytes, which is
    /// what an allocator aligns to.
    ///
    /// # Panics
    /// When the machine has no such memory: at start, as every allocation.
    pub fn new(len: usize) -> Self {
        let spare = ALIGNMENT / size_of::<T>().max(1);
        let memory = <[T]>::new_box_zeroed_with_elems(len.saturating_add(spare)).unwrap_or_default();
        assert!(memory.len() >= len, "no memory for a table of {len} elements");
        let ahead = (ALIGNMENT - memory.as_ptr().addr() % ALIGNMENT) % ALIGNMENT / size_of::<T>().max(1);
        let start = ahead.min(memory.len() - len);
        Zeroed { memory, start, len }
    }

    /// The elements.
    #[inline]
    pub fn get(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The elements, to change.
    #[inline]
    pub fn get_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_begins_a_page_and_is_all_zeros() {
        for len in [0, 1, 63, 4096, 1 << 20] {
            let mut table = Zeroed::<u64>::new(len);
            assert_eq!(table.get().len(), len);
            assert_eq!(table.get().as_ptr().addr() % ALIGNMENT, 0, "{len}");
            assert!(table.get_mut().iter().all(|&word| word == 0));
        }
    }
}
