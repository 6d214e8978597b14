//! Bursts: the unit of work. A burst is a bounded array of frames that a port handed over in one poll.

use crate::limits::BURST;
use arrayvec::ArrayVec;

/// Up to [`BURST`] frames (or things found out about them) that are worked on together, so that lookups of
/// one packet overlap with those of the next and the instruction cache stays warm.
pub type Burst<T> = ArrayVec<T, BURST>;

/// Takes the places that are set in `gone` out of a burst, and out of `beside`, which has something for each of its
/// places. For what goes wrong now and then: most bursts lose nothing.
#[cold]
pub fn remove<T, V: Copy>(burst: &mut Burst<T>, beside: &mut [V; BURST], gone: u64) {
    let (mut from, mut to) = (0, 0);
    burst.retain(|_| {
        let stays = gone >> from & 1 == 0;
        if stays {
            beside[to] = beside[from];
            to += 1;
        }
        from += 1;
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_a_burst_moves_up_with_it() {
        let mut burst: Burst<u8> = (0..BURST as u8).collect();
        let mut beside = core::array::from_fn(|place| place as u16 + 100);
        remove(&mut burst, &mut beside, !0b10_0101);
        assert_eq!(burst[..], [0, 2, 5]);
        assert_eq!(beside[..3], [100, 102, 105]);
        remove(&mut burst, &mut beside, 0b111);
        assert!(burst.is_empty());
    }
}
