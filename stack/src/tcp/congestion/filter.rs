//! The smallest or largest of what was measured within a window of time, in constant space (Kathleen Nichols'
//! algorithm): the best, the best since it, and the best since that one, so that when the best is too old its
//! successor is there.

/// A running minimum or maximum. Times are ticks of any clock that wraps; a value of 0 is "none".
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extreme {
    pub(super) best: [(u32, u32); 3],
}

impl Extreme {
    /// The extreme value; 0 when there is none.
    #[inline]
    pub(crate) fn value(&self) -> u32 {
        self.best[0].1
    }

    /// Forgets everything but `value`.
    pub(crate) fn reset(&mut self, time: u32, value: u32) {
        self.best = [(time, value); 3];
    }

    /// A measurement; the smallest is wanted.
    #[inline]
    pub(crate) fn lower(&mut self, window: u32, time: u32, value: u32) {
        self.update(window, time, value, |new, old| new <= old);
    }

    /// A measurement; the largest is wanted.
    #[inline]
    pub(crate) fn raise(&mut self, window: u32, time: u32, value: u32) {
        self.update(window, time, value, |new, old| new >= old);
    }

    #[inline]
    fn update(&mut self, window: u32, time: u32, value: u32, better: impl Fn(u32, u32) -> bool) {
        let age = |of: (u32, u32)| time.wrapping_sub(of.0);
        if self.best[0].1 == 0 || better(value, self.best[0].1) || age(self.best[2]) > window {
            return self.reset(time, value);
        }
        if better(value, self.best[1].1) {
            self.best[1] = (time, value);
            self.best[2] = (time, value);
        } else if better(value, self.best[2].1) {
            self.best[2] = (time, value);
        }
        self.age(window, time, value);
    }

    /// Lets the best go when it is too old, and spreads the successors over the window.
    fn age(&mut self, window: u32, time: u32, value: u32) {
        let since = time.wrapping_sub(self.best[0].0);
        let new = (time, value);
        if since > window {
            self.best = [self.best[1], self.best[2], new];
            if time.wrapping_sub(self.best[0].0) > window {
                self.best = [self.best[1], self.best[2], new];
            }
        } else if self.best[1].0 == self.best[0].0 && since > window / 4 {
            self.best[1] = new;
            self.best[2] = new;
        } else if self.best[2].0 == self.best[1].0 && since > window / 2 {
            self.best[2] = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_best_is_forgotten_when_the_window_has_passed() {
        let mut filter = Extreme::default();
        filter.lower(100, 0, 5);
        (1..=100).for_each(|time| filter.lower(100, time, 9));
        assert_eq!(filter.value(), 5);
        filter.lower(100, 101, 9);
        assert_eq!(filter.value(), 9);
    }

    proptest! {
        /// Never worse than the true extreme of the window; never one that is older than the window.
        #[test]
        fn it_is_a_value_of_the_window_and_no_worse_than_the_newest(
            start: u32, steps in proptest::collection::vec((0u32..30, 1u32..1000), 1..200)) {
            let (mut low, mut high) = (Extreme::default(), Extreme::default());
            let (mut time, mut seen) = (start, Vec::new());
            for (step, value) in steps {
                time = time.wrapping_add(step);
                seen.push((time, value));
                low.lower(100, time, value);
                high.raise(100, time, value);
                let fresh: Vec<u32> =
                    seen.iter().filter(|s| time.wrapping_sub(s.0) <= 100).map(|s| s.1).collect();
                prop_assert!(fresh.contains(&low.value()) && low.value() <= value);
                prop_assert!(fresh.contains(&high.value()) && high.value() >= value);
            }
        }
    }
}
