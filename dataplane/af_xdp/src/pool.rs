//! The pool: where frames come from. One per worker, with or without AF_XDP sockets on it.
//!
//! Allocation pops the free list, dropping a frame pushes: last in, first out, so that the chunk that is still in
//! the cache is the next one used.

use crate::Socket;
use crate::frame::Frame;
use crate::umem::{Core, Handle, KERNEL_HEADROOM, Layout, MAX_CHAIN, MAX_CHUNKS, Place, TX_METADATA_BYTES};
use std::io;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkSize {
    /// 2048: a packet of up to 1664 bytes (with the default headroom) in one chunk.
    #[default]
    B2048,
    /// 4096: up to 3712 bytes in one chunk; three chunks for an MTU of 9000.
    B4096,
}

impl ChunkSize {
    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        1 << self.shift()
    }

    const fn shift(self) -> u32 {
        match self {
            ChunkSize::B2048 => 11,
            ChunkSize::B4096 => 12,
        }
    }
}

/// Which pages the region is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Pages of 4 KiB.
    Never,
    /// Huge pages where the kernel finds some (`madvise`), without any being reserved.
    #[default]
    Transparent,
    /// Reserved huge pages of 2 MiB (`vm.nr_hugepages`); an error when there are not enough.
    Hugetlb,
}

/// How a pool is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Chunks, 1 to [`MAX_CHUNKS`]. Every ring that is to be full at once takes its share.
    pub chunks: u32,
    /// Bytes of each.
    pub chunk_size: ChunkSize,
    /// Bytes in front of a fresh or received packet, behind the kernel's own 256: at most half a chunk.
    pub headroom: u16,
    /// Kind of pages.
    pub huge_pages: HugePages,
    /// Keep room in front of every packet for a transmit checksum request (16 bytes of the headroom's far end).
    pub tx_metadata: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            chunks: 16 * 1024,
            chunk_size: ChunkSize::default(),
            headroom: 128,
            huge_pages: HugePages::default(),
            tx_metadata: true,
        }
    }
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Too many chunks or none.
    #[error("a pool has 1 to {MAX_CHUNKS} frames, not {0}")]
    Chunks(u32),
    /// The headroom leaves no room for packets.
    #[error("a headroom of {headroom} bytes does not fit frames of {chunk} bytes: at most half a frame")]
    Headroom {
        /// What was asked for.
        headroom: u16,
        /// Bytes of a chunk.
        chunk: usize,
    },
    /// No memory.
    #[error("cannot map {bytes} bytes for packets: {source}; use fewer frames or free memory")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not enough reserved huge pages.
    #[error(
        "cannot map {bytes} bytes of huge pages: {source}; reserve {pages} with `sysctl vm.nr_hugepages`"
    )]
    HugePages {
        /// Bytes asked for.
        bytes: usize,
        /// Pages of 2 MiB that are needed.
        pages: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How many chunks are in which place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// All chunks.
    pub size: u32,
    /// On the free list.
    pub free: u32,
    /// In the fill, rx, tx and completion rings of sockets, or with the kernel between them.
    pub in_rings: u32,
    /// In frames that are alive.
    pub held: u32,
    /// Given up, because the kernel could not be seen to be done with them when a socket was closed.
    pub quarantined: u32,
}

/// Chunks are missing or counted twice: a defect of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frames are not conserved: {account:?}, the rings of the sockets hold {rings}")]
pub struct Imbalance {
    /// What the pool thinks.
    pub account: Account,
    /// What the cursors of the sockets' rings say.
    pub rings: u32,
}

/// A handle on a region of packet memory. Cloning it gives another handle on the same region; it cannot leave its
/// thread.
#[derive(Debug, Clone)]
pub struct Pool {
    core: Handle,
}

impl Pool {
    /// Maps the region and faults it in.
    ///
    /// # Errors
    /// When the layout is impossible or there is no memory for it.
    pub fn new(config: &PoolConfig) -> Result<Pool, PoolError> {
        let PoolConfig { chunks, chunk_size, headroom, huge_pages, tx_metadata } = *config;
        if chunks == 0 || chunks > MAX_CHUNKS {
            return Err(PoolError::Chunks(chunks));
        }
        let chunk = chunk_size.bytes();
        if KERNEL_HEADROOM + usize::from(headroom) > chunk / 2 {
            return Err(PoolError::Headroom { headroom, chunk });
        }
        let layout = Layout {
            chunks,
            chunk_shift: chunk_size.shift(),
            headroom,
            reserve: if tx_metadata { TX_METADATA_BYTES as u16 } else { 0 },
            transparent_huge: huge_pages == HugePages::Transparent,
            hugetlb: huge_pages == HugePages::Hugetlb,
        };
        let bytes = chunks as usize * chunk;
        let core = Core::map(&layout).map_err(|source| match huge_pages {
            HugePages::Hugetlb => PoolError::HugePages { bytes, pages: bytes.div_ceil(2 << 20), source },
            _ => PoolError::Memory { bytes, source },
        })?;
        Ok(Pool { core: Handle::new(core) })
    }

    /// An empty packet (length 0) with the standard headroom, or `None` when no chunk is free.
    #[inline]
    pub fn alloc(&self) -> Option<Frame> {
        let chunk = self.core.take(Place::HELD)?;
        // SAFETY: the chunk was just taken off the free list, so nobody else has it; the standard headroom is
        // inside the chunk; the region lives as long as a chunk is not free.
        Some(unsafe { Frame::own(self.core.as_ptr(), chunk, usize::from(self.core.data_start), 0) })
    }

    /// A frame that holds a copy of `packet`, as a chain when it is longer than a chunk; `None`, taking nothing,
    /// when there are not enough chunks or the packet needs more than [`MAX_CHAIN`].
    #[inline]
    pub fn frame(&self, packet: &[u8]) -> Option<Frame> {
        if packet.len() <= self.room() { self.filled(packet) } else { self.chain(packet) }
    }

    /// [`Pool::frame`] for a packet that fits one chunk; `None` also for one that does not. In a loop over small
    /// packets this is faster, because the handle stays in registers: one that may come from two places is put
    /// together in memory, and whoever reads it at once waits for the stores.
    #[inline]
    pub fn short_frame(&self, packet: &[u8]) -> Option<Frame> {
        if packet.len() <= self.room() { self.filled(packet) } else { None }
    }

    fn chain(&self, packet: &[u8]) -> Option<Frame> {
        let room = self.room();
        let needed = packet.len().div_ceil(room);
        if needed > MAX_CHAIN || needed > self.available() {
            return None;
        }
        let mut pieces = packet.chunks(room);
        let mut head = self.filled(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            head.chain(self.filled(piece)?).ok()?;
        }
        Some(head)
    }

    /// A frame that holds a copy of `bytes`, of which there are at most [`Pool::room`].
    #[inline]
    fn filled(&self, bytes: &[u8]) -> Option<Frame> {
        let chunk = self.core.take(Place::HELD)?;
        let offset = usize::from(self.core.data_start);
        debug_assert!(bytes.len() <= self.room());
        // SAFETY: the chunk was just taken off the free list, so nobody else has it; the callers give no more
        // bytes than there is room behind the standard headroom; the region lives
        // as long as a chunk is not free. The handle is made last, in one piece: one that is changed and then
        // moved at once waits for its own stores.
        unsafe {
            let data = self.core.at(chunk, offset);
            copy(bytes, data);
            Some(Frame::own_at(self.core.as_ptr(), chunk, data, bytes.len()))
        }
    }

    /// Chunks that are free now.
    #[inline]
    pub fn available(&self) -> usize {
        self.core.free_len() as usize
    }

    /// All chunks.
    #[inline]
    pub fn size(&self) -> usize {
        self.core.size() as usize
    }

    /// Chunks that are not free: in rings, in frames, or quarantined.
    #[inline]
    pub fn outstanding(&self) -> usize {
        self.size() - self.available()
    }

    /// Bytes of a chunk.
    #[inline]
    pub fn chunk_size(&self) -> usize {
        self.core.chunk_size()
    }

    /// Bytes that a packet of one chunk can have behind the standard headroom.
    #[inline]
    pub fn room(&self) -> usize {
        self.core.chunk_size() - usize::from(self.core.data_start)
    }

    /// How many chunks are in which place. `held` is what is in none of the others; a caller that knows how many
    /// segments it holds compares the two.
    pub fn account(&self) -> Account {
        let (size, free) = (self.core.size(), self.core.free_len());
        let (in_rings, quarantined) = (self.core.in_rings(), self.core.quarantined());
        Account { size, free, in_rings, held: size.wrapping_sub(free + in_rings + quarantined), quarantined }
    }

    /// Checks that no chunk is lost or counted twice. `sockets` are all the sockets of this pool.
    ///
    /// # Errors
    /// When the cursors of the sockets' rings disagree with the pool's account; in debug builds also when the place
    /// noted for each chunk does.
    pub fn conservation<'a>(
        &self,
        sockets: impl IntoIterator<Item = &'a Socket>,
    ) -> Result<Account, Imbalance> {
        let account = self.account();
        let rings = sockets.into_iter().map(Socket::chunks_in_rings).sum();
        let sum = u64::from(account.free) + u64::from(account.in_rings) + u64::from(account.quarantined);
        let balanced = rings == account.in_rings && sum <= u64::from(account.size);
        #[cfg(debug_assertions)]
        let balanced = balanced && self.core.held_by_place() == account.held;
        if balanced { Ok(account) } else { Err(Imbalance { account, rings }) }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.core
    }
}

/// Copies `from` to `to`, its first cache line by moves in place of a call: most packets are hardly longer.
///
/// # Safety
/// `to` has room for all of `from` and does not overlap it.
#[inline]
unsafe fn copy(from: &[u8], to: *mut u8) {
    // SAFETY: as the caller promised; the first line is in front of the rest in both.
    unsafe {
        match from.split_first_chunk::<LINE>() {
            Some((line, rest)) => {
                to.cast::<[u8; LINE]>().write_unaligned(*line);
                if !rest.is_empty() {
                    core::ptr::copy_nonoverlapping(rest.as_ptr(), to.add(LINE), rest.len());
                }
            }
            None => core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()),
        }
    }
}
