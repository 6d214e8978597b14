//! The memory region that packets live in, and where each of its chunks is.
//!
//! ```text
//!   base                                                    one chunk (2048 or 4096 bytes)
//!   | chunk 0 | chunk 1 | chunk 2 | ... | chunk n-1 |   ->  | reserve |  headroom ... | packet | tailroom |
//! ```
//!
//! A chunk is always in exactly one place, and the places change hands without locks or counts in the chunk:
//!
//! ```text
//!            alloc                      push                kernel
//!   free list -----> Frame (held) ----------> tx ring --------------> completion ring --+
//!      ^  ^            |   ^                                                            | complete
//!      |  +---- drop --+   | receive                                                    |
//!      |                   +---------- rx ring <----- kernel ----- fill ring <- refill -|-- free list
//!      +--------------------------------------------------------------------------------+
//! ```
//!
//! Invariants
//! 1. A chunk's number is on the free list at most once, and never while a frame or a ring has the chunk.
//!    Everything that is unsafe in this crate's frames rests on it. Debug builds check it chunk by chunk.
//! 2. free + in rings + held + quarantined = size (*conservation*).
//! 3. The mapping outlives every frame and every registration with the kernel: `Handle` unmaps it only when
//!    all chunks are on the free list, and leaks it otherwise. A leak is a defect of the caller's; a write into
//!    unmapped memory would be ours.

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};
use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

/// Bytes that the kernel leaves free in front of a received packet, before our own headroom
/// (XDP_PACKET_HEADROOM in the kernel's uapi).
pub const KERNEL_HEADROOM: usize = 256;

/// Bytes of transmit metadata in front of a packet: the flags word and the checksum request
/// (`struct xsk_tx_metadata` of if_xdp.h, without the launch time, which we never ask for).
pub const TX_METADATA_BYTES: usize = 16;

/// Chunks of one pool at most: 16 GiB of chunks of 4096 bytes. The kernel counts pages in 32 bits; a pool of
/// this size is a mistake in the configuration rather than a wish.
pub const MAX_CHUNKS: u32 = 1 << 22;

/// Segments of one packet on the wire at most. The kernel's copy mode takes CONFIG_MAX_SKB_FRAGS (17 unless somebody
/// changed it) for drivers that build packets without a linear part, and 18 for the others; 17 chunks of 2048
/// bytes hold 28 KB, three times the largest MTU in use.
pub const MAX_SEGMENTS: usize = 17;

/// Segments of one chain in memory at most: 64 of 1664 bytes, the least that fresh chunks of 2048 hold by default,
/// are half as much again as the longest IP datagram. A chain of more than [`MAX_SEGMENTS`] is for reading: a socket
/// refuses to transmit it.
pub const MAX_CHAIN: usize = 64;

/// No chunk: the end of a chain.
pub(crate) const NONE: u32 = u32::MAX;

/// What the pool notes about a chunk that is part of a chain: which chunk follows, and, unless it is the first
/// (whose bytes the [`crate::Frame`] itself describes), where in it the packet's bytes lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) next: u32,
    pub(crate) offset: u16,
    pub(crate) len: u16,
}

/// A transmit checksum request, in offsets from the start of the chunk so that it stays true when headers are
/// put in front of the packet later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChecksumRequest {
    pub(crate) start: u16,
    pub(crate) field: u16,
}

/// Where a chunk is. That it is in a ring, and in whose, is always noted, so that a socket's chunks can be found when
/// it is closed; the difference between free and held is noted in debug builds only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u8);

impl Place {
    pub(crate) const FREE: Place = Place(0);
    pub(crate) const HELD: Place = Place(1);
    pub(crate) const QUARANTINED: Place = Place(2);
    const FIRST_RING: u8 = 3;

    /// In a ring, or with the kernel between two rings.
    const fn is_ring(self) -> bool {
        self.0 >= Place::FIRST_RING
    }
}

/// The region, its free list and its side arrays. One thread only: it is full of [`Cell`]s and reached through
/// an [`Rc`].
pub(crate) struct Core {
    base: *mut u8,
    chunk_shift: u32,
    size: u32,
    /// Offset of the first byte of a fresh packet: [`KERNEL_HEADROOM`] and the standard headroom.
    pub(crate) data_start: u16,
    /// Standard headroom, as the kernel is told it.
    pub(crate) headroom: u16,
    /// Bytes at the start of each chunk that no packet may grow into: room for transmit metadata.
    pub(crate) reserve: u16,
    free_len: Cell<u32>,
    in_rings: Cell<u32>,
    quarantined: Cell<u32>,
    free: Box<[Cell<u32>]>,
    links: Box<[Cell<Link>]>,
    requests: Box<[Cell<ChecksumRequest>]>,
    places: Box<[Cell<Place>]>,
    /// One bit for each socket that is open on this pool.
    sockets: Cell<u128>,
    memory: MmapRaw,
}

/// How the region is mapped.
pub(crate) struct Layout {
    pub(crate) chunks: u32,
    pub(crate) chunk_shift: u32,
    pub(crate) headroom: u16,
    pub(crate) reserve: u16,
    pub(crate) transparent_huge: bool,
    pub(crate) hugetlb: bool,
}

impl Core {
    pub(crate) fn map(layout: &Layout) -> io::Result<Core> {
        let bytes = (layout.chunks as usize) << layout.chunk_shift;
        let memory =
            if layout.hugetlb { map_hugetlb(bytes)? } else { map_pages(bytes, layout.transparent_huge)? };
        let memory = MmapRaw::from(memory);
        // Highest chunk at the bottom, so that the first pops give the lowest chunks.
        let free = (0..layout.chunks).rev().map(Cell::new).collect();
        Ok(Core {
            base: memory.as_mut_ptr(),
            chunk_shift: layout.chunk_shift,
            size: layout.chunks,
            data_start: KERNEL_HEADROOM as u16 + layout.headroom,
            headroom: layout.headroom,
            reserve: layout.reserve,
            free_len: Cell::new(layout.chunks),
            in_rings: Cell::new(0),
            quarantined: Cell::new(0),
            free,
            links: array(layout.chunks, Link { next: NONE, offset: 0, len: 0 }),
            requests: array(layout.chunks, ChecksumRequest { start: 0, field: 0 }),
            places: array(layout.chunks, Place::FREE),
            sockets: Cell::new(0),
            memory,
        })
    }

    #[inline]
    pub(crate) fn chunk_size(&self) -> usize {
        1 << self.chunk_shift
    }

    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    #[inline]
    pub(crate) fn free_len(&self) -> u32 {
        self.free_len.get()
    }

    #[inline]
    pub(crate) fn in_rings(&self) -> u32 {
        self.in_rings.get()
    }

    #[inline]
    pub(crate) fn quarantined(&self) -> u32 {
        self.quarantined.get()
    }

    /// Address and length of the region, for its registration with the kernel.
    pub(crate) fn region(&self) -> (*mut u8, usize) {
        (self.base, (self.size as usize) << self.chunk_shift)
    }

    /// Byte `offset` of `chunk`.
    ///
    /// # Safety
    /// `chunk` is below [`Core::size`] and `offset` at most the chunk size.
    #[inline]
    pub(crate) unsafe fn at(&self, chunk: u32, offset: usize) -> *mut u8 {
        debug_assert!(chunk < self.size && offset <= self.chunk_size());
        // SAFETY: the region is `size` chunks long, so the result is inside it or one past its end.
        unsafe { self.base.add(((chunk as usize) << self.chunk_shift) + offset) }
    }

    /// The offset in `chunk` of an address that lies in it or, for an empty packet, right behind it.
    #[inline]
    pub(crate) fn offset_in(&self, chunk: u32, data: *const u8) -> usize {
        data as usize - self.base as usize - ((chunk as usize) << self.chunk_shift)
    }

    /// The address of byte `offset` of `chunk` as descriptors name it.
    #[inline]
    pub(crate) fn address(&self, chunk: u32, offset: usize) -> u64 {
        (u64::from(chunk) << self.chunk_shift) | offset as u64
    }

    /// Chunk and offset of a descriptor's address; `None` when the kernel named something outside the region.
    #[inline]
    pub(crate) fn locate(&self, address: u64) -> Option<(u32, usize)> {
        let chunk = address >> self.chunk_shift;
        let offset = address as usize & (self.chunk_size() - 1);
        (chunk < u64::from(self.size)).then_some((chunk as u32, offset))
    }

    /// Takes a chunk off the free list.
    #[inline]
    pub(crate) fn take(&self, to: Place) -> Option<u32> {
        let len = self.free_len.get().checked_sub(1)?;
        let chunk = self.free.get(len as usize)?.get();
        self.free_len.set(len);
        self.moved(chunk, Place::FREE, to);
        Some(chunk)
    }

    /// Puts a chunk back on the free list. The caller owned it and may not touch it any more.
    #[inline]
    pub(crate) fn give_back(&self, chunk: u32, from: Place) {
        self.moved(chunk, from, Place::FREE);
        let len = self.free_len.get();
        if let Some(slot) = self.free.get(len as usize) {
            slot.set(chunk);
            self.free_len.set(len + 1);
        }
    }

    /// Puts the chunks of a chain from `first` on back on the free list.
    #[cold]
    pub(crate) fn give_back_chain(&self, first: u32) {
        let mut chunk = first;
        while chunk != NONE {
            let next = self.link(chunk).next;
            self.give_back(chunk, Place::HELD);
            chunk = next;
        }
    }

    /// Notes that `count` chunks went into rings.
    #[inline]
    pub(crate) fn enter_rings(&self, count: u32) {
        self.in_rings.set(self.in_rings.get() + count);
    }

    /// Notes that `count` chunks came out of rings.
    #[inline]
    pub(crate) fn leave_rings(&self, count: u32) {
        self.in_rings.set(self.in_rings.get().saturating_sub(count));
    }

    /// Takes a number for a new socket: the place of its chunks. `None` when 128 sockets are open on the pool.
    pub(crate) fn open_rings(&self) -> Option<Place> {
        let used = self.sockets.get();
        let number = used.trailing_ones();
        (number < u128::BITS).then(|| {
            self.sockets.set(used | 1 << number);
            Place(Place::FIRST_RING + number as u8)
        })
    }

    /// Ends a socket: its chunks go to the free list when the kernel is `done` with them, and are given up for ever
    /// otherwise, because it may still write into them.
    pub(crate) fn close_rings(&self, rings: Place, done: bool) {
        for (chunk, place) in self.places.iter().enumerate().filter(|(_, place)| place.get() == rings) {
            self.leave_rings(1);
            if done {
                self.give_back(chunk as u32, rings);
            } else {
                place.set(Place::QUARANTINED);
                self.quarantined.set(self.quarantined.get() + 1);
            }
        }
        self.sockets.set(self.sockets.get() & !(1 << (rings.0 - Place::FIRST_RING)));
    }

    /// Notes that `chunk` changed its place and, in debug builds, that it was where it should have been.
    #[inline]
    pub(crate) fn moved(&self, chunk: u32, from: Place, to: Place) {
        debug_assert_eq!(
            self.places[chunk as usize].get(),
            from,
            "chunk {chunk} was not where it should have been"
        );
        if cfg!(debug_assertions) || from.is_ring() || to.is_ring() {
            self.places[chunk as usize].set(to);
        }
    }

    /// True when `chunk` is in the rings of the socket with this place: places of rings are kept in every build.
    #[inline]
    pub(crate) fn is_in(&self, chunk: u32, rings: Place) -> bool {
        self.places[chunk as usize].get() == rings
    }

    #[inline]
    pub(crate) fn link(&self, chunk: u32) -> Link {
        self.links[chunk as usize].get()
    }

    #[inline]
    pub(crate) fn set_link(&self, chunk: u32, link: Link) {
        self.links[chunk as usize].set(link);
    }

    /// Makes `next` the chunk behind `chunk`.
    #[inline]
    pub(crate) fn set_next(&self, chunk: u32, next: u32) {
        self.links[chunk as usize].set(Link { next, ..self.link(chunk) });
    }

    #[inline]
    pub(crate) fn request(&self, chunk: u32) -> ChecksumRequest {
        self.requests[chunk as usize].get()
    }

    #[inline]
    pub(crate) fn set_request(&self, chunk: u32, request: ChecksumRequest) {
        self.requests[chunk as usize].set(request);
    }

    /// Chunks noted as held by frames: only known in debug builds.
    #[cfg(debug_assertions)]
    pub(crate) fn held_by_place(&self) -> u32 {
        self.places.iter().filter(|place| place.get() == Place::HELD).count() as u32
    }
}

impl core::fmt::Debug for Core {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Core")
            .field("size", &self.size)
            .field("chunk_size", &self.chunk_size())
            .field("free", &self.free_len.get())
            .field("in_rings", &self.in_rings.get())
            .field("bytes", &self.memory.len())
            .finish_non_exhaustive()
    }
}

/// A share in the region. Pools and sockets have one each; frames do not, which keeps them cheap, and is why the
/// last handle looks whether any are left.
#[derive(Debug, Clone)]
pub(crate) struct Handle(Rc<Core>);

impl Handle {
    pub(crate) fn new(core: Core) -> Handle {
        Handle(Rc::new(core))
    }

    pub(crate) fn as_ptr(&self) -> *const Core {
        Rc::as_ptr(&self.0)
    }
}

impl Deref for Handle {
    type Target = Core;
    #[inline]
    fn deref(&self) -> &Core {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let last = Rc::strong_count(&self.0) == 1;
        if last && self.0.free_len.get() != self.0.size {
            // Frames are alive, or the kernel may still use some chunks: keep the region for ever (invariant 3).
            std::mem::forget(Rc::clone(&self.0));
        }
    }
}

fn array<T: Copy>(len: u32, value: T) -> Box<[Cell<T>]> {
    vec![value; len as usize].into_iter().map(Cell::new).collect()
}

/// Ordinary pages, faulted in now rather than by the first packets; huge ones where the kernel has them.
fn map_pages(bytes: usize, transparent_huge: bool) -> io::Result<MmapMut> {
    let memory = MmapOptions::new().len(bytes).map_anon()?;
    if transparent_huge {
        // A kernel without transparent huge pages refuses (EINVAL): then small pages it is, which only costs TLB.
        let _ = memory.advise(Advice::HugePage);
    }
    memory.advise(Advice::PopulateWrite)?;
    Ok(memory)
}

/// Pages of 2 MiB from the reserved pool (`vm.nr_hugepages`).
fn map_hugetlb(bytes: usize) -> io::Result<MmapMut> {
    const HUGE_BITS: u8 = 21;
    let whole = bytes.next_multiple_of(1 << HUGE_BITS);
    MmapOptions::new().len(whole).huge(Some(HUGE_BITS)).populate().map_anon()
}
