//! Single-producer single-consumer rings of descriptors, shared with the kernel.
//!
//! ```text
//!        consumer cursor            producer cursor         both count for ever and wrap at 2^32;
//!              v                          v                 slot = cursor & (size - 1)
//!   |  free  | filled | filled | filled |  free  |          filled = producer - consumer (wrapping)
//! ```
//!
//! Each side owns one cursor and only reads the other, so neither needs an atomic read-modify-write. Each side
//! also keeps the last value it read of the other's cursor and looks again only when that is used up: the cache
//! line that both sides touch moves once per burst, not once per descriptor.
//!
//! Orderings and their partners
//! * Producer writes slots, then stores its cursor with *Release*; the consumer loads that cursor with *Acquire*
//!   before it reads the slots.
//! * Consumer reads slots, then stores its cursor with *Release*; the producer loads that cursor with *Acquire*
//!   before it writes the slots again.
//! * The flags word (need wakeup) orders nothing and is *Relaxed*: the kernel sets it and then looks at the ring
//!   again, and we submit and then look at it; between the two stands a full fence ([`Producer::needs_wakeup`]).

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use memmap2::MmapRaw;

/// The flag by which the kernel asks for a system call (XDP_RING_NEED_WAKEUP).
const NEED_WAKEUP: u32 = 1;

/// A slot of an rx or tx ring (`struct xdp_desc`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Where the packet starts, in bytes from the start of the region.
    pub address: u64,
    /// Its length in bytes.
    pub len: u32,
    /// [`CONTINUED`] and [`HAS_METADATA`].
    pub options: u32,
}

/// Option of a descriptor: the packet goes on in the next one (XDP_PKT_CONTD).
pub const CONTINUED: u32 = 1;
/// Option of a transmit descriptor: transmit metadata lies in front of the packet (XDP_TX_METADATA).
pub const HAS_METADATA: u32 = 2;

/// What a ring's slots hold: plain old data that any bit pattern is a value of.
pub trait Slot: Copy + private::Sealed {}
impl Slot for u64 {}
impl Slot for Descriptor {}
mod private {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for super::Descriptor {}
}

/// Where the parts of a ring are, in bytes from the start of its mapping (`struct xdp_ring_offset`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Offsets {
    pub(crate) producer: u64,
    pub(crate) consumer: u64,
    pub(crate) slots: u64,
    pub(crate) flags: u64,
}

/// A ring in memory that somebody else also sees.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
    /// Keeps the memory. `None` when an [`Loopback`] keeps it.
    _memory: Option<MmapRaw>,
}

impl<T: Slot> Shared<T> {
    fn in_mapping(memory: MmapRaw, offsets: &Offsets, size: u32) -> Option<Shared<T>> {
        if !size.is_power_of_two() {
            return None;
        }
        let base = NonNull::new(memory.as_mut_ptr())?;
        let part = |offset: u64, bytes: usize, align: usize| {
            let offset = usize::try_from(offset).ok()?;
            let inside = offset.checked_add(bytes)? <= memory.len() && offset.is_multiple_of(align);
            // SAFETY: inside the mapping, as was just checked.
            inside.then(|| unsafe { base.add(offset) })
        };
        let slot_bytes = size as usize * size_of::<T>();
        Some(Shared {
            producer: part(offsets.producer, 4, 4)?.cast(),
            consumer: part(offsets.consumer, 4, 4)?.cast(),
            flags: part(offsets.flags, 4, 4)?.cast(),
            slots: part(offsets.slots, slot_bytes, align_of::<T>())?.cast(),
            size,
            _memory: Some(memory),
        })
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points into the mapping, aligned, valid as long as `self`; shared words are only used as atomics.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }
    }

    #[inline]
    fn slot(&self, cursor: u32) -> *mut T {
        // SAFETY: the masked cursor is below `size`, and `size` slots lie in the mapping.
        unsafe { self.slots.as_ptr().add((cursor & (self.size - 1)) as usize) }
    }
}

/// The side that fills a ring: ours of the fill and tx rings.
pub struct Producer<T> {
    ring: Shared<T>,
    /// Where the next descriptor is written.
    next: u32,
    /// Up to where the consumer may read: what was last published.
    published: u32,
    /// The consumer's cursor as last read.
    consumed: u32,
}

impl<T: Slot> Producer<T> {
    /// The producer's side of a ring of `size` slots (a power of two) in a mapping; `None` when the offsets lie
    /// outside it.
    pub(crate) fn new(memory: MmapRaw, offsets: &Offsets, size: u32) -> Option<Producer<T>> {
        Shared::in_mapping(memory, offsets, size).map(Producer::over)
    }

    fn over(ring: Shared<T>) -> Producer<T> {
        let next = ring.producer().load(Ordering::Relaxed); // our own cursor: nobody else stores it
        let consumed = ring.consumer().load(Ordering::Acquire); // pairs with the consumer's Release
        Producer { ring, next, published: next, consumed }
    }

    /// Slots that are free, looking at the consumer's cursor only when fewer than `wanted` were free before.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let free = self.ring.size - self.next.wrapping_sub(self.consumed).min(self.ring.size);
        if free >= wanted {
            return free;
        }
        self.consumed = self.ring.consumer().load(Ordering::Acquire); // pairs with Consumer::release
        self.ring.size - self.next.wrapping_sub(self.consumed).min(self.ring.size)
    }

    /// Writes the next slot; the consumer does not see it before [`Producer::submit`]. Returns false when the ring
    /// is full.
    #[inline]
    #[must_use]
    pub fn push(&mut self, value: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: the slot is free: the consumer is done with it and does not read it before it is published.
        unsafe { self.ring.slot(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Publishes what was pushed; returns how many slots that were.
    #[inline]
    pub fn submit(&mut self) -> u32 {
        let count = self.next.wrapping_sub(self.published);
        if count != 0 {
            self.ring.producer().store(self.next, Ordering::Release); // pairs with Consumer::ready
            self.published = self.next;
        }
        count
    }

    /// Slots that were published and that the consumer has not taken yet.
    #[inline]
    pub fn pending(&mut self) -> u32 {
        self.consumed = self.ring.consumer().load(Ordering::Acquire); // pairs with Consumer::release
        self.published.wrapping_sub(self.consumed)
    }

    /// Our cursor: how many slots were ever pushed, modulo 2^32, when the ring started at 0.
    #[inline]
    pub fn cursor(&self) -> u32 {
        self.next
    }

    /// True when the kernel asks to be woken before it looks at this ring again.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        // Our submit before, the flag after: without the fence the load could pass the store, and the kernel,
        // which sets the flag and then looks for slots, could miss both.
        fence(Ordering::SeqCst);
        self.ring.flags().load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    /// Slots of the ring.
    pub fn size(&self) -> u32 {
        self.ring.size
    }
}

/// The side that empties a ring: ours of the rx and completion rings.
pub struct Consumer<T> {
    ring: Shared<T>,
    /// The next slot to read.
    next: u32,
    /// Up to where the producer has filled, as last read.
    produced: u32,
}

impl<T: Slot> Consumer<T> {
    /// The consumer's side of a ring of `size` slots (a power of two) in a mapping; `None` when the offsets lie
    /// outside it.
    pub(crate) fn new(memory: MmapRaw, offsets: &Offsets, size: u32) -> Option<Consumer<T>> {
        Shared::in_mapping(memory, offsets, size).map(Consumer::over)
    }

    fn over(ring: Shared<T>) -> Consumer<T> {
        let next = ring.consumer().load(Ordering::Relaxed); // our own cursor: nobody else stores it
        Consumer { ring, next, produced: next }
    }

    /// Filled slots, at most `wanted`, looking at the producer's cursor only when fewer were known.
    #[inline]
    pub fn ready(&mut self, wanted: u32) -> u32 {
        let mut filled = self.produced.wrapping_sub(self.next);
        if filled < wanted {
            self.produced = self.ring.producer().load(Ordering::Acquire); // pairs with Producer::submit
            filled = self.produced.wrapping_sub(self.next).min(self.ring.size);
        }
        filled.min(wanted)
    }

    /// The filled slot `index` from the oldest; `index` is below what [`Consumer::ready`] returned. A larger one
    /// gives a stale value, never memory outside the ring.
    #[inline]
    pub fn peek(&self, index: u32) -> T {
        // SAFETY: the slot lies in the ring; slots are plain data, and the producer does not write filled ones.
        unsafe { self.ring.slot(self.next.wrapping_add(index)).read() }
    }

    /// Reads the oldest filled slot and steps over it. Only after [`Consumer::ready`] said that there is one; the
    /// slot goes back to the producer with the next [`Consumer::release`].
    #[inline]
    pub fn take(&mut self) -> T {
        debug_assert!(self.produced != self.next, "nothing is ready");
        let value = self.peek(0);
        self.next = self.next.wrapping_add(1);
        value
    }

    /// Gives the slots that were taken back to the producer.
    #[inline]
    pub fn release(&mut self) {
        self.ring.consumer().store(self.next, Ordering::Release); // pairs with Producer::room
    }

    /// Our cursor: how many slots were ever taken, modulo 2^32, when the ring started at 0.
    #[inline]
    pub fn cursor(&self) -> u32 {
        self.next
    }

    /// Filled slots that were not taken yet.
    pub fn pending(&mut self) -> u32 {
        self.ready(u32::MAX)
    }

    /// Slots of the ring.
    pub fn size(&self) -> u32 {
        self.ring.size
    }
}

/// A ring in plain memory, for tests: both sides in this process, the cursors starting where the test wants.
pub struct Loopback<T> {
    words: Box<[AtomicU32; 3]>,
    slots: Box<[core::cell::UnsafeCell<T>]>,
}

impl<T: Slot> Loopback<T> {
    /// A ring of `size` slots (rounded up to a power of two) whose cursors both stand at `start`.
    pub fn new(size: u32, start: u32, blank: T) -> Loopback<T> {
        let size = size.next_power_of_two();
        let words = Box::new([AtomicU32::new(start), AtomicU32::new(start), AtomicU32::new(0)]);
        Loopback { words, slots: (0..size).map(|_| core::cell::UnsafeCell::new(blank)).collect() }
    }

    /// The two sides. They borrow the memory through `&mut`, so there is one pair of them at a time.
    pub fn sides(&mut self) -> (LoopbackProducer<'_, T>, LoopbackConsumer<'_, T>) {
        let side = || Shared {
            producer: NonNull::from(&self.words[0]),
            consumer: NonNull::from(&self.words[1]),
            flags: NonNull::from(&self.words[2]),
            slots: NonNull::from(&*self.slots).cast(),
            size: self.slots.len() as u32,
            _memory: None,
        };
        let (producer, consumer) = (Producer::over(side()), Consumer::over(side()));
        (
            LoopbackProducer { side: producer, _memory: core::marker::PhantomData },
            LoopbackConsumer { side: consumer, _memory: core::marker::PhantomData },
        )
    }

    /// Sets or clears the flag by which the consumer asks to be woken.
    pub fn set_need_wakeup(&self, on: bool) {
        self.words[2].store(u32::from(on), Ordering::Relaxed);
    }
}

/// The producer's side of a [`Loopback`].
pub struct LoopbackProducer<'a, T> {
    side: Producer<T>,
    _memory: core::marker::PhantomData<&'a mut Loopback<T>>,
}

/// The consumer's side of a [`Loopback`].
pub struct LoopbackConsumer<'a, T> {
    side: Consumer<T>,
    _memory: core::marker::PhantomData<&'a mut Loopback<T>>,
}

impl<T> core::ops::Deref for LoopbackProducer<'_, T> {
    type Target = Producer<T>;
    fn deref(&self) -> &Producer<T> {
        &self.side
    }
}

impl<T> core::ops::DerefMut for LoopbackProducer<'_, T> {
    fn deref_mut(&mut self) -> &mut Producer<T> {
        &mut self.side
    }
}

impl<T> core::ops::Deref for LoopbackConsumer<'_, T> {
    type Target = Consumer<T>;
    fn deref(&self) -> &Consumer<T> {
        &self.side
    }
}

impl<T> core::ops::DerefMut for LoopbackConsumer<'_, T> {
    fn deref_mut(&mut self) -> &mut Consumer<T> {
        &mut self.side
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8),
        Submit,
        Take(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step =
            prop_oneof![(1u8..12).prop_map(Step::Push), Just(Step::Submit), (1u8..12).prop_map(Step::Take)];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// The ring is a bounded queue with a hidden part, wherever its cursors start; most starts here lie close
        /// enough to 2^32 for them to wrap.
        #[test]
        fn a_ring_behaves_as_a_bounded_queue_across_the_wrap(back in 0u32..64, steps in steps()) {
            const SIZE: u32 = 8;
            let mut ring = Loopback::new(SIZE, 0u32.wrapping_sub(back), 0u64);
            let (mut producer, mut consumer) = ring.sides();
            let (mut hidden, mut visible) = (VecDeque::new(), VecDeque::new());
            let mut value = 0u64;
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        let room = hidden.len() + visible.len() < SIZE as usize;
                        prop_assert_eq!(producer.push(value), room);
                        if room { hidden.push_back(value); }
                        value += 1;
                    },
                    Step::Submit => {
                        prop_assert_eq!(producer.submit() as usize, hidden.len());
                        visible.append(&mut hidden);
                    }
                    Step::Take(count) => {
                        let ready = consumer.ready(count.into());
                        prop_assert_eq!(ready as usize, visible.len().min(count.into()));
                        for index in 0..ready {
                            prop_assert_eq!(Some(consumer.peek(index)), visible.pop_front());
                        }
                        for _ in 0..ready { consumer.take(); }
                        consumer.release();
                    }
                }
                prop_assert_eq!(producer.pending() as usize, visible.len());
            }
        }
    }

    #[test]
    fn the_wakeup_flag_is_seen_when_it_is_set_and_when_it_is_cleared() {
        let mut ring = Loopback::new(8, u32::MAX, 0u64);
        ring.set_need_wakeup(true);
        assert!(ring.sides().0.needs_wakeup());
        ring.set_need_wakeup(false);
        assert!(!ring.sides().0.needs_wakeup());
    }

    #[test]
    fn two_threads_hand_a_million_slots_over_in_order_across_the_wrap() {
        const COUNT: u64 = 1_000_000;
        let mut ring = Loopback::new(256, u32::MAX - 500_000, 0u64);
        let (mut producer, mut consumer) = ring.sides();
        /// Moves a side to its thread.
        struct Moved<T>(T);
        // SAFETY: each side is used by one thread only, and the words they share are atomics.
        unsafe impl<T> Send for Moved<T> {}
        let producer = Moved(&mut *producer);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let producer = producer;
                let mut sent = 0;
                while sent < COUNT {
                    while sent < COUNT && producer.0.push(sent) {
                        sent += 1;
                    }
                    producer.0.submit();
                    std::thread::yield_now();
                }
            });
            let mut expected = 0;
            while expected < COUNT {
                let ready = consumer.ready(64);
                for _ in 0..ready {
                    assert_eq!(consumer.take(), expected);
                    expected += 1;
                }
                consumer.release();
                if ready == 0 {
                    std::thread::yield_now();
                }
            }
        });
    }
}
