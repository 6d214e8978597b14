//! Where the values of a field come from: one value, a range in steps, chance, or a list in turn.
//!
//! All fields are numbers here (an IPv6 address has 128 bits), so that one generator serves them all; what a number
//! means is known where it is read ([`super::values`]) and where it is written ([`super::template`]).

use crate::random::Random;

/// A source of values that never ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generator {
    /// The same for ever.
    Fixed(u128),
    /// `first`, `first + step`, … up to `last`, and again.
    Steps {
        /// The least.
        first: u128,
        /// None is larger.
        last: u128,
        /// At least 1.
        step: u128,
        /// The next to be drawn.
        next: u128,
    },
    /// Any from `first` to `last`, all alike.
    Random {
        /// The least.
        first: u128,
        /// The largest.
        last: u128,
    },
    /// These in turn, and again.
    List {
        /// Not empty.
        values: Vec<u128>,
        /// The place of the next.
        next: usize,
    },
}

impl Generator {
    /// The next value.
    #[inline]
    pub fn draw(&mut self, random: &mut Random) -> u128 {
        match self {
            Generator::Fixed(value) => *value,
            Generator::Steps { first, last, step, next } => {
                let value = *next;
                *next = match value.checked_add(*step) {
                    Some(after) if after <= *last => after,
                    _ => *first,
                };
                value
            }
            Generator::Random { first, last } => match (*last - *first).checked_add(1) {
                Some(span) if span <= u128::from(u64::MAX) => {
                    *first + u128::from(random.draw() % span as u64)
                }
                Some(span) => *first + random.wide() % span,
                None => random.wide(),
            },
            Generator::List { values, next } => {
                let value = values[*next];
                *next = if *next + 1 == values.len() { 0 } else { *next + 1 };
                value
            }
        }
    }

    /// The only value, where there is only one.
    pub fn fixed(&self) -> Option<u128> {
        match self {
            Generator::Fixed(value) => Some(*value),
            Generator::Steps { first, last, step, .. } if last - first < *step => Some(*first),
            Generator::Random { first, last } if first == last => Some(*first),
            Generator::List { values, .. } if values.len() == 1 => values.first().copied(),
            _ => None,
        }
    }

    /// The least value that it can give.
    pub fn least(&self) -> u128 {
        match self {
            Generator::Fixed(value) => *value,
            Generator::Steps { first, .. } | Generator::Random { first, .. } => *first,
            Generator::List { values, .. } => values.iter().copied().min().unwrap_or(0),
        }
    }

    /// The largest value that it can give.
    pub fn most(&self) -> u128 {
        match self {
            Generator::Fixed(value) => *value,
            Generator::Steps { first, last, step, .. } => last - (last - first) % step,
            Generator::Random { last, .. } => *last,
            Generator::List { values, .. } => values.iter().copied().max().unwrap_or(0),
        }
    }

    /// True when this value can come.
    pub fn can_give(&self, value: u128) -> bool {
        match self {
            Generator::Fixed(only) => *only == value,
            Generator::Steps { first, last, step, .. } => {
                (*first..=*last).contains(&value) && (value - first).is_multiple_of(*step)
            }
            Generator::Random { first, last } => (*first..=*last).contains(&value),
            Generator::List { values, .. } => values.contains(&value),
        }
    }

    /// The mean of what it gives.
    pub fn mean(&self) -> f64 {
        match self {
            Generator::List { values, .. } => {
                values.iter().map(|value| *value as f64).sum::<f64>() / values.len().max(1) as f64
            }
            other => (other.least() as f64 + other.most() as f64) / 2.0,
        }
    }

    /// Begins at another place, so that several workers with the same generator do not walk in step.
    pub fn skip(&mut self, count: usize) {
        match self {
            Generator::Steps { first, last, step, next } => {
                let steps = (*last - *first) / *step + 1;
                *next = *first + count as u128 % steps * *step;
            }
            Generator::List { values, next } => *next = count % values.len(),
            Generator::Fixed(_) | Generator::Random { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(mut generator: Generator, count: usize) -> Vec<u128> {
        let mut random = Random::new(1);
        (0..count).map(|_| generator.draw(&mut random)).collect()
    }

    #[test]
    fn steps_go_up_to_the_last_and_begin_again_even_at_the_end_of_all_numbers() {
        let steps = |first, last, step| Generator::Steps { first, last, step, next: first };
        assert_eq!(drawn(steps(1, 3, 1), 7), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(drawn(steps(1, 6, 2), 5), [1, 3, 5, 1, 3], "6 is never met");
        assert_eq!(steps(1, 6, 2).most(), 5);
        assert_eq!(drawn(steps(u128::MAX - 1, u128::MAX, 1), 3), [u128::MAX - 1, u128::MAX, u128::MAX - 1]);
        assert_eq!(steps(4, 6, 3).fixed(), Some(4));
    }

    #[test]
    fn chance_stays_within_its_bounds_reaches_both_and_repeats_itself() {
        let some = drawn(Generator::Random { first: 10, last: 12 }, 200);
        assert!(some.iter().all(|value| (10..=12).contains(value)));
        assert!(some.contains(&10) && some.contains(&12));
        assert_eq!(
            some,
            drawn(Generator::Random { first: 10, last: 12 }, 200),
            "the same seed, the same values"
        );
        let all = drawn(Generator::Random { first: 0, last: u128::MAX }, 3);
        assert!(all.iter().any(|value| *value > u128::from(u64::MAX)));
    }

    #[test]
    fn a_list_goes_round_and_a_worker_may_begin_elsewhere() {
        let mut list = Generator::List { values: vec![5, 7, 9], next: 0 };
        list.skip(4);
        assert_eq!(drawn(list.clone(), 4), [7, 9, 5, 7]);
        assert_eq!((list.least(), list.most(), list.mean()), (5, 9, 7.0));
        let mut steps = Generator::Steps { first: 0, last: 9, step: 3, next: 0 };
        steps.skip(5);
        assert_eq!(drawn(steps, 4), [3, 6, 9, 0]);
    }
}
