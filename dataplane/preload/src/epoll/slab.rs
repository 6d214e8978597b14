//! Values under small numbers that are used again.

/// A slab.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// An empty one.
    pub const fn new() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }

    /// Keeps a value; its number.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.places[number as usize] = Some(value);
            return number;
        }
        self.places.push(Some(value));
        self.places.len() as u32 - 1
    }

    /// Gives a value back.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.places.get_mut(number as usize)?.take();
        if value.is_some() {
            self.free.push(number);
        }
        value
    }

    /// True when it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.places.len() == self.free.len()
    }

    /// A value.
    pub fn get(&self, number: u32) -> Option<&T> {
        self.places.get(number as usize)?.as_ref()
    }

    /// A value, to be changed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    /// The numbers in use.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<T> {
        let used: Vec<u32> =
            (0..self.places.len() as u32).filter(|number| self.places[*number as usize].is_some()).collect();
        used.into_iter()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}
