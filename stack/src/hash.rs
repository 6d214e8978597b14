//! Keyed hashing for tables on the packet path: two multiplications, and a random key that no peer knows.
//!
//! This is a multiply-fold hash: each word is mixed with a key word, multiplied to 128 bits, and both halves
//! are folded together. It is no cryptographic hash: it spreads what peers choose over buckets that they
//! cannot predict, and every table that uses it also bounds the work of one bucket.

/// Hash of two words under a key of two words.
#[inline]
pub fn hash2(a: u64, b: u64, key: [u64; 2]) -> u64 {
    fold(a ^ key[0], b ^ key[1])
}

/// Hash of four words under a key of two words.
#[inline]
pub fn hash4(words: [u64; 4], key: [u64; 2]) -> u64 {
    let first = fold(words[0] ^ key[0], words[1] ^ key[1]);
    let second = fold(words[2] ^ key[1].rotate_left(17), words[3] ^ key[0].rotate_left(41));
    fold(first ^ key[1], second ^ 0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_addresses_spread_evenly_and_the_key_matters() {
        let key = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];
        let mut buckets = [0u32; 64];
        for n in 0..64 * 256u64 {
            buckets[hash2(0x0a00_0000 + n, 7, key) as usize % 64] += 1;
        }
        assert!(buckets.iter().all(|&count| (128..512).contains(&count)), "{buckets:?}");
        assert_ne!(hash2(1, 2, key), hash2(1, 2, [key[0] + 2, key[1]]));
        assert_ne!(hash4([1, 2, 3, 4], key), hash4([1, 2, 4, 3], key));
    }
}
