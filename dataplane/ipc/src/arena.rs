//! The memory of one attached program, and where everything stands in it.
//!
//! ```text
//!   head │ news tree │ for each worker: marks │ call slots │ cells │ rings: receive, send; receive, send; …
//!
//!   marks of a worker: a line with the tops of three trees │ the rest of: kick tree, close tree, call tree
//! ```
//!
//! A worker looks at the marks of every program, again and again, and most have none: the tops of all trees are in one line.
//!
//! The geometry says it all, and both sides compute the same offsets from it. The memfd is sparse: a ring takes memory
//! when it is used for the first time.

use crate::call::CallSlot;
use crate::cell::Cell;
use crate::limits::{MAX_CALLS, MAX_RING, MAX_SLOTS, MAX_WORKERS, MIN_RING};
use crate::ring::Ring;
use crate::tree::DirtyTree;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const PAGE: usize = 4096;

/// How an arena is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Geometry {
    /// Sockets: a multiple of 64, at most [`MAX_SLOTS`].
    pub slots: u32,
    /// Calls on their way: a multiple of 64, at most [`MAX_CALLS`].
    pub calls: u32,
    /// Bytes of a receive ring: a power of two.
    pub rx_bytes: u32,
    /// Bytes of a send ring: a power of two.
    pub tx_bytes: u32,
    /// Workers.
    pub workers: u32,
}

/// A geometry that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GeometryError(&'static str);

impl Geometry {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), GeometryError> {
        let Geometry { slots, calls, rx_bytes, tx_bytes, workers } = *self;
        let group = |count: u32, most: u32| count > 0 && count <= most && count.is_multiple_of(64);
        let ring = |bytes: u32| bytes.is_power_of_two() && (MIN_RING..=MAX_RING).contains(&bytes);
        if !group(slots, MAX_SLOTS) {
            return Err(GeometryError("the number of sockets is no multiple of 64, or beyond the limit"));
        }
        if !group(calls, MAX_CALLS) {
            return Err(GeometryError("the number of calls is no multiple of 64, or beyond the limit"));
        }
        if !ring(rx_bytes) || !ring(tx_bytes) {
            return Err(GeometryError("a ring's size is no power of two between 4 KiB and 16 MiB"));
        }
        if workers == 0 || workers as usize > MAX_WORKERS {
            return Err(GeometryError("no workers, or more than there can be"));
        }
        Ok(())
    }

    /// The worker that a local port lives on (TCP's, UDP's and UDP-Lite's; the identifiers of ping sockets): a socket that names it is to be
    /// opened there, and all others refuse it.
    pub fn home_of_port(&self, port: u16) -> u32 {
        u32::from(port) % self.workers.max(1)
    }

    /// Bytes of the arena.
    pub fn bytes(&self) -> usize {
        self.rings() + self.slots as usize * (self.rx_bytes as usize + self.tx_bytes as usize)
    }

    fn tree_bytes(numbers: u32) -> usize {
        (DirtyTree::words(numbers) * 8).next_multiple_of(64)
    }

    const fn news(&self) -> usize {
        PAGE
    }

    /// Bytes of a tree without its top.
    fn branch_bytes(numbers: u32) -> usize {
        (DirtyTree::branches(numbers) * 8).next_multiple_of(64)
    }

    fn of_worker(&self, worker: usize) -> usize {
        let each = size_of::<Tops>() + 2 * Self::branch_bytes(self.slots) + Self::branch_bytes(self.calls);
        self.news() + Self::tree_bytes(self.slots) + worker * each
    }

    fn calls_at(&self) -> usize {
        self.of_worker(self.workers as usize).next_multiple_of(PAGE)
    }

    fn cells(&self) -> usize {
        (self.calls_at() + self.calls as usize * size_of::<CallSlot>()).next_multiple_of(PAGE)
    }

    fn rings(&self) -> usize {
        (self.cells() + self.slots as usize * size_of::<Cell>()).next_multiple_of(PAGE)
    }

    /// Gives the memory of the rings of `count` slots from `first` on back to the system, in an arena of this layout. They read
    /// as zeros afterwards, and are memory again when they are used. A system call, which interrupts all processors that
    /// have used them: not on the packet path.
    ///
    /// # Errors
    /// The system's; slots that there are not.
    pub fn release_rings(&self, arena: impl AsFd, first: u32, count: u32) -> io::Result<()> {
        if first.checked_add(count).is_none_or(|end| end > self.slots) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such slots"));
        }
        let each = u64::from(self.rx_bytes) + u64::from(self.tx_bytes);
        let offset = self.rings() as u64 + u64::from(first) * each;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(arena, hole, offset, u64::from(count) * each)?)
    }
}

/// The first words of an arena, written by the program.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Head {
    /// Low half: threads of the program that sleep until its bell rings (in poll, select, epoll_wait). High half: how often
    /// one of them lay down or got up.
    sleepers: AtomicU64,
}

const ONE_CHANGE: u64 = 1 << 32;

impl Head {
    /// A thread is about to sleep. It looks once more for what is there already.
    pub fn lie_down(&self) {
        self.sleepers.fetch_add(ONE_CHANGE + 1, SeqCst);
    }

    /// It is awake, whatever woke it, and takes the news now.
    pub fn get_up(&self) {
        self.sleepers.fetch_add(ONE_CHANGE - 1, SeqCst);
    }
}

/// The tops of the trees that a program marks for a worker.
#[derive(Debug)]
#[repr(C, align(64))]
struct Tops {
    kicks: AtomicU64,
    closes: AtomicU64,
    calls: AtomicU64,
}

/// What a program marked for one worker, seen without touching more of its memory than the one line that says so.
#[derive(Debug)]
pub struct Watch {
    tops: NonNull<Tops>,
    _arena: Arc<Arena>,
}

// SAFETY: what `tops` points to is made of atomics, in a mapping that any thread may use.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl Watch {
    /// Of the marks for a worker in an arena.
    pub fn new(arena: &Arc<Arena>, worker: usize) -> Watch {
        Watch { tops: NonNull::from(arena.tops(worker)), _arena: Arc::clone(arena) }
    }

    #[inline]
    fn tops(&self) -> &Tops {
        // SAFETY: it lies in the arena's mapping, which lives as long as `self`.
        unsafe { self.tops.as_ref() }
    }

    /// True when something is marked.
    #[inline]
    pub fn has_marks(&self) -> bool {
        let Tops { kicks, closes, calls } = self.tops();
        [kicks, closes, calls].map(|top| top.load(SeqCst)) != [0; 3]
    }

    /// True when slots are marked that were let go of.
    #[inline]
    pub fn has_closes(&self) -> bool {
        self.tops().closes.load(SeqCst) != 0
    }

    /// True when calls are marked.
    #[inline]
    pub fn has_calls(&self) -> bool {
        self.tops().calls.load(SeqCst) != 0
    }
}

/// A mapping of an arena.
#[derive(Debug)]
pub struct Arena {
    map: MmapRaw,
    geometry: Geometry,
}

impl Arena {
    /// Makes one; the descriptor is for the program.
    ///
    /// # Errors
    /// The system's; a geometry that makes no sense.
    pub fn create(geometry: Geometry) -> io::Result<(Arena, OwnedFd)> {
        geometry.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let fd = rustix::fs::memfd_create("flumen-arena", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, geometry.bytes() as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let map = MmapOptions::new().len(geometry.bytes()).no_reserve_swap().map_raw(&fd)?;
        Ok((Arena { map, geometry }, fd))
    }

    /// Maps one that came through a socket.
    ///
    /// # Errors
    /// The system's; a memfd that is too short for the geometry.
    pub fn open(fd: impl AsFd, geometry: Geometry) -> io::Result<Arena> {
        geometry.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if rustix::fs::fstat(&fd)?.st_size < geometry.bytes() as i64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the arena is too short"));
        }
        let map = MmapOptions::new().len(geometry.bytes()).no_reserve_swap().map_raw(&fd.as_fd())?;
        Ok(Arena { map, geometry })
    }

    /// Its layout.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// In a child after fork, of the arena of its parent: what this process writes from now on, but to cells and rings, is seen by
    /// nobody else; and the words that it reads there are zeros. Sockets live on.
    pub fn part_from_service(&self) {
        let (begin, len) = (self.at(0).cast(), self.geometry.cells());
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
        );
        // SAFETY: the pages in front of the cells are this mapping's. What refers to them reads and writes atomics, and finds others.
        // Where the kernel has no memory for it, a child that goes on with a call of its parent's may disturb the parent's.
        unsafe { libc::mmap(begin, len, access, flags, -1, 0) };
    }

    /// Its first words.
    pub fn head(&self) -> &Head {
        // SAFETY: see `at`; a head is made of atomics.
        unsafe { &*self.at(0).cast::<Head>() }
    }

    /// Sockets with news: marked by workers, taken by the program.
    pub fn news(&self) -> DirtyTree<'_> {
        let (words, slots) = (DirtyTree::words(self.geometry.slots), self.geometry.slots);
        let (top, branches) = self.words(self.geometry.news(), words).split_at(1);
        DirtyTree::new(&top[0], branches, slots)
    }

    /// Sockets that the program touched: marked by it, taken by the worker. Worker numbers are taken modulo their number.
    pub fn kicks(&self, worker: usize) -> DirtyTree<'_> {
        let Geometry { slots, .. } = self.geometry;
        self.tree(&self.tops(worker).kicks, self.branches_of(worker), slots)
    }

    /// Slots that the program let go of: marked by it, taken by the worker. The last process that has a socket closes it so. The worker
    /// takes them before the calls that were asked later: so nobody waits for a close, and everybody finds it done.
    pub fn closes(&self, worker: usize) -> DirtyTree<'_> {
        let Geometry { slots, .. } = self.geometry;
        let offset = self.branches_of(worker) + Geometry::branch_bytes(slots);
        self.tree(&self.tops(worker).closes, offset, slots)
    }

    /// Calls for a worker: marked by the program, taken by the worker.
    pub fn call_marks(&self, worker: usize) -> DirtyTree<'_> {
        let Geometry { slots, calls, .. } = self.geometry;
        let offset = self.branches_of(worker) + 2 * Geometry::branch_bytes(slots);
        self.tree(&self.tops(worker).calls, offset, calls)
    }

    /// Worker numbers are taken modulo their number.
    fn tops(&self, worker: usize) -> &Tops {
        let worker = worker % self.geometry.workers as usize;
        // SAFETY: see `at`; tops are atomics.
        unsafe { &*self.at(self.geometry.of_worker(worker)).cast::<Tops>() }
    }

    fn branches_of(&self, worker: usize) -> usize {
        self.geometry.of_worker(worker % self.geometry.workers as usize) + size_of::<Tops>()
    }

    /// A call slot; its number is taken modulo their number.
    pub fn call(&self, number: u32) -> &CallSlot {
        let number = (number % self.geometry.calls) as usize;
        // SAFETY: see `at`; slots are made of atomics and of bytes that are only copied.
        unsafe { &*self.at(self.geometry.calls_at() + number * size_of::<CallSlot>()).cast::<CallSlot>() }
    }

    /// The words of a socket; slots are taken modulo their number.
    pub fn cell(&self, slot: u32) -> &Cell {
        let slot = (slot % self.geometry.slots) as usize;
        // SAFETY: see `at`; cells are made of atomics.
        unsafe { &*self.at(self.geometry.cells() + slot * size_of::<Cell>()).cast::<Cell>() }
    }

    /// The receive ring of a socket: the worker writes, the program reads.
    pub fn rx(&self, slot: u32) -> Ring<'_> {
        self.ring(slot, 0, self.geometry.rx_bytes)
    }

    /// The send ring of a socket: the program writes, the worker reads.
    pub fn tx(&self, slot: u32) -> Ring<'_> {
        self.ring(slot, self.geometry.rx_bytes, self.geometry.tx_bytes)
    }

    /// Which sleep threads of the program are in, if any sleeps until the bell rings: to be asked after news were marked. Who
    /// has rung for a sleep need not ring again for the same one: whom it wakes has not got up yet, and takes all news then.
    #[inline]
    pub fn sleep(&self) -> Option<u32> {
        let word = self.head().sleepers.load(SeqCst);
        (word as u32 > 0).then_some((word >> 32) as u32)
    }

    fn ring(&self, slot: u32, offset: u32, size: u32) -> Ring<'_> {
        let Geometry { slots, rx_bytes, tx_bytes, .. } = self.geometry;
        let each = rx_bytes as usize + tx_bytes as usize;
        let base = self.at(self.geometry.rings() + (slot % slots) as usize * each + offset as usize);
        // SAFETY: a mapping does not start at address zero.
        let base = unsafe { NonNull::new_unchecked(base) };
        // SAFETY: the ring lies in the mapping, which lives as long as `self`; references to its bytes are never made.
        unsafe { Ring::new(base, size as usize) }
    }

    fn tree<'a>(&'a self, top: &'a AtomicU64, branches: usize, numbers: u32) -> DirtyTree<'a> {
        DirtyTree::new(top, self.words(branches, DirtyTree::branches(numbers)), numbers)
    }

    /// `count` words of a tree.
    fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        // SAFETY: see `at`; trees lie in the mapping as far as the geometry says, and their words are atomics.
        unsafe { core::slice::from_raw_parts(self.at(offset).cast::<AtomicU64>(), count) }
    }

    /// An address in the mapping. All that is made of it is made of atomics or copied by raw pointers: another process may
    /// write it at any time. The geometry, checked and kept in private memory, keeps offsets within the mapping, which
    /// is page-aligned, sealed against shrinking, and lives as long as `self`; offsets are multiples of the
    /// alignment of what stands there.
    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.geometry.bytes());
        self.map.as_mut_ptr().wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Geometry = Geometry { slots: 128, calls: 64, rx_bytes: 4096, tx_bytes: 8192, workers: 2 };

    #[test]
    fn both_mappings_see_the_same_and_nothing_overlaps() {
        let (service, fd) = Arena::create(SMALL).unwrap();
        let program = Arena::open(&fd, SMALL).unwrap();
        service.news().mark(100);
        program.kicks(0).mark(7);
        program.kicks(1).mark(8);
        program.call_marks(1).mark(9);
        program.closes(0).mark(10);
        assert_eq!(program.news().take(), Some((64, 1 << 36)));
        assert_eq!(service.kicks(0).take(), Some((0, 1 << 7)));
        assert_eq!(service.kicks(1).take(), Some((0, 1 << 8)));
        assert_eq!(service.call_marks(0).take(), None);
        assert_eq!((service.closes(0).take(), service.closes(1).take()), (Some((0, 1 << 10)), None));
        assert_eq!(service.call_marks(1).take(), Some((0, 1 << 9)));
        for slot in 0..SMALL.slots {
            program.rx(slot).copy_in(0, &[slot as u8; 4096]);
            program.tx(slot).copy_in(0, &[!slot as u8; 8192]);
            program.cell(slot).program.rx_head.store(u64::from(slot), SeqCst);
        }
        for slot in 0..SMALL.slots {
            let mut out = [0; 8192];
            service.rx(slot).copy_out(0, &mut out[..4096]);
            assert!(out[..4096].iter().all(|byte| *byte == slot as u8));
            service.tx(slot).copy_out(0, &mut out);
            assert!(out.iter().all(|byte| *byte == !slot as u8));
            assert_eq!(service.cell(slot).program.rx_head.load(SeqCst), u64::from(slot));
        }
        let before = rustix::fs::fstat(&fd).unwrap().st_blocks;
        SMALL.release_rings(&fd, 5, 2).unwrap();
        for (slot, byte) in [(4, 4), (5, 0), (6, 0), (7, 7)] {
            let mut out = [1; 16];
            program.rx(slot).copy_out(0, &mut out);
            assert_eq!(out, [byte; 16], "slot {slot}");
            program.tx(slot).copy_out(8176, &mut out);
            assert_eq!(out, [if byte == 0 { 0 } else { !byte }; 16], "slot {slot}");
        }
        assert!(
            SMALL.release_rings(&fd, 100, 100).is_err() && SMALL.release_rings(&fd, 1, u32::MAX).is_err()
        );
        SMALL.release_rings(&fd, 0, SMALL.slots).unwrap();
        let given_back = (before - rustix::fs::fstat(&fd).unwrap().st_blocks) * 512;
        assert!(given_back >= i64::from(SMALL.slots - 2) * (4096 + 8192), "{given_back} bytes");
    }

    #[test]
    fn a_watch_sees_the_marks_of_its_worker() {
        let arena = Arc::new(Arena::create(SMALL).unwrap().0);
        let watches = [0, 1].map(|worker| Watch::new(&arena, worker));
        let see =
            || watches.each_ref().map(|watch| (watch.has_marks(), watch.has_closes(), watch.has_calls()));
        assert_eq!(see(), [(false, false, false); 2]);
        arena.kicks(1).mark(127);
        assert_eq!(see(), [(false, false, false), (true, false, false)]);
        arena.closes(1).mark(1);
        arena.call_marks(0).mark(63);
        assert_eq!(see(), [(true, false, true), (true, true, false)]);
        while arena.kicks(1).take().or_else(|| arena.closes(1).take()).is_some() {}
        // A tree that is empty may have marks above its leaves until somebody looks.
        assert_eq!((arena.kicks(1).take(), arena.closes(1).take()), (None, None));
        assert_eq!(see(), [(true, false, true), (false, false, false)]);
    }

    #[test]
    fn each_sleep_of_a_program_has_its_number() {
        let (service, fd) = Arena::create(SMALL).unwrap();
        let program = Arena::open(&fd, SMALL).unwrap();
        assert_eq!(service.sleep(), None);
        program.head().lie_down();
        let first = service.sleep().unwrap();
        assert_eq!(service.sleep(), Some(first), "nobody lay down or got up");
        program.head().lie_down();
        let second = service.sleep().unwrap();
        program.head().get_up();
        let third = service.sleep().unwrap();
        assert!(first != second && second != third, "the one that is left sleeps another sleep");
        program.head().get_up();
        assert_eq!(service.sleep(), None);
    }

    #[test]
    fn a_child_parts_from_the_service_and_its_sockets_stay() {
        let (service, fd) = Arena::create(SMALL).unwrap();
        let child = Arena::open(&fd, SMALL).unwrap();
        service.news().mark(1);
        service.rx(5).copy_in(0, b"bytes");
        child.part_from_service();
        assert_eq!(child.news().take(), None);
        child.kicks(0).mark(7);
        child.head().lie_down();
        assert!(child.call(3).claim());
        assert_eq!((service.kicks(0).take(), service.sleep(), service.call(3).claim()), (None, None, true));
        let mut bytes = [0; 5];
        child.rx(5).copy_out(0, &mut bytes);
        assert_eq!(&bytes, b"bytes");
        child.cell(127).program.rx_head.store(5, SeqCst);
        assert_eq!(service.cell(127).program.rx_head.load(SeqCst), 5);
    }

    #[test]
    fn a_program_cannot_take_the_memory_away() {
        let (_service, fd) = Arena::create(SMALL).unwrap();
        assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    }

    #[test]
    fn geometries_have_bounds() {
        let wrong = [
            Geometry { slots: 0, ..SMALL },
            Geometry { slots: 100, ..SMALL },
            Geometry { slots: MAX_SLOTS + 64, ..SMALL },
            Geometry { calls: MAX_CALLS + 64, ..SMALL },
            Geometry { rx_bytes: 5000, ..SMALL },
            Geometry { tx_bytes: MIN_RING / 2, ..SMALL },
            Geometry { tx_bytes: MAX_RING * 2, ..SMALL },
            Geometry { workers: 0, ..SMALL },
            Geometry { workers: MAX_WORKERS as u32 + 1, ..SMALL },
        ];
        assert!(wrong.iter().all(|geometry| geometry.check().is_err() && Arena::create(*geometry).is_err()));
        let largest = Geometry {
            slots: MAX_SLOTS,
            calls: MAX_CALLS,
            rx_bytes: MIN_RING,
            tx_bytes: MIN_RING,
            workers: MAX_WORKERS as u32,
        };
        let (arena, _fd) = Arena::create(largest).unwrap();
        arena.tx(MAX_SLOTS - 1).copy_in(0, &[1; 4096]);
        arena.call_marks(MAX_WORKERS - 1).mark(MAX_CALLS - 1);
        assert!(Arena::open(rustix::fs::memfd_create("short", MemfdFlags::CLOEXEC).unwrap(), SMALL).is_err());
    }
}
