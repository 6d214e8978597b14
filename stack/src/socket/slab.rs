//! A bounded table of things that are named by handles: sockets, connections.
//!
//! A handle is a place and the generation of what stands there; a handle of something that is gone finds
//! nothing, whoever took its place. Free places form a list through the table itself, so taking and freeing
//! cost the same whatever the size. Memory is reserved by [`Slab::new`] and touched when used: nothing is
//! allocated later.
//!
//! Invariants
//! 1. A place is free or taken; `len` is the number of taken ones and never above the capacity.
//! 2. The generation of a place grows each time it is freed, so a handle is good for one occupant only (until
//!    2^32 have come and gone at the same place).

/// The name of something in a [`Slab`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    index: u32,
    generation: u32,
}

impl Handle {
    /// The place in the table, for tables that run beside it.
    #[inline]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Handle and generation in one word, for owners that keep words.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The handle that [`Handle::to_bits`] made. One that was made up finds nothing, or something that is
    /// really there: never anything out of bounds.
    #[inline]
    pub const fn from_bits(bits: u64) -> Handle {
        Handle { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Taken(T),
    Free { next: u32 },
}

/// The end of the list of free places.
const NONE: u32 = u32::MAX;

/// A bounded table with handles.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Place<T>>,
    capacity: usize,
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    /// A table for at most `capacity` things (below 2^32).
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(NONE as usize - 1);
        Slab { places: Vec::with_capacity(capacity), capacity, free: NONE, len: 0 }
    }

    /// How many stand in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when none does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when no more fit.
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// How many fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What stands at a place, whichever handle it has.
    #[inline]
    pub fn look(&self, index: usize) -> Option<&T> {
        match &self.places.get(index)?.content {
            Content::Taken(content) => Some(content),
            Content::Free { .. } => None,
        }
    }

    /// Puts something in, or gives it back when the table is full.
    pub fn insert(&mut self, content: T) -> Result<Handle, T> {
        let index = self.free;
        if let Some(place) = self.places.get_mut(index as usize) {
            if let Content::Free { next } = place.content {
                self.free = next;
            }
            place.content = Content::Taken(content);
            self.len += 1;
            return Ok(Handle { index, generation: place.generation });
        }
        if self.places.len() == self.capacity {
            return Err(content);
        }
        let index = self.places.len() as u32;
        self.places.push(Place { generation: 0, content: Content::Taken(content) });
        self.len += 1;
        Ok(Handle { index, generation: 0 })
    }

    /// As [`Slab::insert`], for what knows its own handle. `None` when the table is full.
    pub fn insert_with(&mut self, make: impl FnOnce(Handle) -> T) -> Option<Handle> {
        if self.is_full() {
            return None;
        }
        let index = if self.free == NONE { self.places.len() as u32 } else { self.free };
        let generation = self.places.get(index as usize).map_or(0, |place| place.generation);
        self.insert(make(Handle { index, generation })).ok()
    }

    /// Takes something out.
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let place = self.places.get_mut(handle.index())?;
        if place.generation != handle.generation || matches!(place.content, Content::Free { .. }) {
            return None;
        }
        let content = core::mem::replace(&mut place.content, Content::Free { next: self.free });
        place.generation = place.generation.wrapping_add(1);
        self.free = handle.index;
        self.len -= 1;
        match content {
            Content::Taken(content) => Some(content),
            Content::Free { .. } => None,
        }
    }

    /// As [`Slab::remove`], for what nobody wants: it is dropped where it stands. False: there was nothing.
    pub fn discard(&mut self, handle: Handle) -> bool {
        let Some(place) = self.places.get_mut(handle.index()) else { return false };
        if place.generation != handle.generation || matches!(place.content, Content::Free { .. }) {
            return false;
        }
        place.content = Content::Free { next: self.free };
        place.generation = place.generation.wrapping_add(1);
        self.free = handle.index;
        self.len -= 1;
        true
    }

    /// What a handle names.
    #[inline]
    pub fn get(&self, handle: Handle) -> Option<&T> {
        match self.places.get(handle.index())? {
            Place { generation, content: Content::Taken(content) } if *generation == handle.generation => {
                Some(content)
            }
            _ => None,
        }
    }

    /// What a handle names, to change.
    #[inline]
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        match self.places.get_mut(handle.index())? {
            Place { generation, content: Content::Taken(content) } if *generation == handle.generation => {
                Some(content)
            }
            _ => None,
        }
    }

    /// Everything that stands in it, in the order of the places.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| match &place.content {
            Content::Taken(content) => {
                Some((Handle { index: index as u32, generation: place.generation }, content))
            }
            Content::Free { .. } => None,
        })
    }

    /// The handle of what stands at a place, for walking the table a piece at a time.
    pub fn at(&self, index: usize) -> Option<Handle> {
        let place = self.places.get(index)?;
        matches!(place.content, Content::Taken(_))
            .then_some(Handle { index: index as u32, generation: place.generation })
    }

    /// What stands at a place, to change, with its handle.
    #[inline]
    pub fn at_mut(&mut self, index: usize) -> Option<(Handle, &mut T)> {
        match self.places.get_mut(index)? {
            Place { generation, content: Content::Taken(content) } => {
                Some((Handle { index: index as u32, generation: *generation }, content))
            }
            Place { content: Content::Free { .. }, .. } => None,
        }
    }

    /// Places that were ever used: the end of a walk with [`Slab::at`].
    pub fn places(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_handle_does_not_find_who_took_the_place() {
        let mut slab = Slab::new(1);
        let first = slab.insert("first").unwrap();
        assert_eq!(slab.insert("too many"), Err("too many"));
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second").unwrap();
        assert_eq!(first.index(), second.index());
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"second")));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(Handle::from_bits(second.to_bits())), Some(&mut "second"));
        assert_eq!(slab.get(Handle::from_bits(u64::MAX)), None);
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in proptest::collection::vec((any::<bool>(), any::<u8>()), 1..200)) {
            let mut slab = Slab::new(16);
            let mut model: Vec<(Handle, u8)> = Vec::new();
            for (insert, value) in steps {
                if insert {
                    match slab.insert(value) {
                        Ok(handle) => model.push((handle, value)),
                        Err(_) => prop_assert_eq!(model.len(), 16),
                    }
                } else if !model.is_empty() {
                    let (handle, old) = model.swap_remove(usize::from(value) % model.len());
                    if value % 2 == 0 {
                        prop_assert_eq!(slab.remove(handle), Some(old));
                    } else {
                        prop_assert!(slab.discard(handle));
                    }
                    prop_assert!(!slab.discard(handle));
                    prop_assert_eq!(slab.get(handle), None);
                }
                prop_assert_eq!(slab.len(), model.len());
                for (handle, value) in &mut model {
                    prop_assert_eq!(slab.get(*handle), Some(&*value));
                    prop_assert_eq!(slab.at_mut(handle.index()), Some((*handle, value)));
                }
                prop_assert_eq!(slab.iter().count(), model.len());
            }
        }
    }
}
