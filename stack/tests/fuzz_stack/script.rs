//! The script that the random bytes are.

/// The script: each answer of it is taken off the front; at the end all answers are zero.
pub struct Script<'a>(pub &'a [u8]);

impl Script<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        number % bound
    }

    /// True once in `odds`.
    pub fn once_in(&mut self, odds: u8) -> bool {
        self.byte().is_multiple_of(odds)
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(count.min(self.0.len()));
        self.0 = later;
        let mut bytes = now.to_vec();
        bytes.resize(count, 0x5a);
        bytes
    }
}
