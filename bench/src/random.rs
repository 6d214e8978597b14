//! Random numbers that come again: every run measures the same tables and the same traffic.

/// xorshift64* (Vigna 2016).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`, which is made odd, because zero stays zero.
    pub const fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    /// 128 random bits.
    pub fn wide(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// One of the values, as often as the weight beside it says.
    pub fn weighted(&mut self, weights: &[(u8, u32)]) -> u8 {
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(total.max(1) as usize) as u32;
        for &(value, weight) in weights {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return value,
            }
        }
        0
    }
}
