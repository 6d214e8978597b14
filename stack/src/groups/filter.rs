//! Source filters (RFC 3376 sections 2 and 3, RFC 3810 sections 3 and 4): from whom one wants to hear a group.
//!
//! ```text
//!   INCLUDE {a, b}   only from a and b          INCLUDE {}   from nobody: not a member
//!   EXCLUDE {a, b}   from all but a and b       EXCLUDE {}   from everybody: a plain join
//! ```
//!
//! What a port asks of its link is the union of what its sockets want (RFC 3376 section 3.2).

use core::net::IpAddr;

/// Whether sources are named to be heard or not to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only these.
    Include,
    /// All but these.
    Exclude,
}

/// A source filter. The sources are sorted and each is there once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    mode: Mode,
    sources: Vec<IpAddr>,
}

impl Filter {
    /// From nobody.
    pub const NOBODY: Filter = Filter { mode: Mode::Include, sources: Vec::new() };
    /// From everybody.
    pub const EVERYBODY: Filter = Filter { mode: Mode::Exclude, sources: Vec::new() };

    /// A filter; sources may come in any order and more than once.
    pub fn new(mode: Mode, mut sources: Vec<IpAddr>) -> Self {
        sources.sort_unstable();
        sources.dedup();
        Filter { mode, sources }
    }

    /// Include or exclude.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The sources, ascending.
    pub fn sources(&self) -> &[IpAddr] {
        &self.sources
    }

    /// True when nobody is heard.
    pub fn is_nobody(&self) -> bool {
        self.mode == Mode::Include && self.sources.is_empty()
    }

    /// True when what comes from `source` is heard.
    #[inline]
    pub fn admits(&self, source: IpAddr) -> bool {
        let named = !self.sources.is_empty() && self.sources.binary_search(&source).is_ok();
        named == (self.mode == Mode::Include)
    }

    /// With one source more among those that are named.
    pub fn with(&self, source: IpAddr) -> Filter {
        let mut sources = self.sources.clone();
        sources.push(source);
        Filter::new(self.mode, sources)
    }

    /// With one source fewer among those that are named.
    pub fn without(&self, source: IpAddr) -> Filter {
        let sources = self.sources.iter().copied().filter(|one| *one != source).collect();
        Filter { mode: self.mode, sources }
    }

    /// What several want together: RFC 3376 section 3.2.
    pub fn union<'a>(filters: impl Iterator<Item = &'a Filter> + Clone) -> Filter {
        let included = || {
            let including = filters.clone().filter(|filter| filter.mode == Mode::Include);
            including.flat_map(|filter| filter.sources.iter().copied())
        };
        let mut excluding = filters.clone().filter(|filter| filter.mode == Mode::Exclude);
        let Some(first) = excluding.next() else {
            return Filter::new(Mode::Include, included().collect());
        };
        let mut sources = first.sources.clone();
        for other in excluding {
            sources.retain(|source| other.sources.binary_search(source).is_ok());
        }
        let wanted: Vec<IpAddr> = included().collect();
        sources.retain(|source| !wanted.contains(source));
        Filter { mode: Mode::Exclude, sources }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn filters() -> impl Strategy<Value = Filter> {
        (any::<bool>(), prop::collection::vec(0u8..6, 0..5)).prop_map(|(include, numbers)| {
            let mode = if include { Mode::Include } else { Mode::Exclude };
            Filter::new(mode, numbers.into_iter().map(source).collect())
        })
    }

    proptest! {
        #[test]
        fn the_union_admits_whom_any_of_them_admits(filters in prop::collection::vec(filters(), 0..5)) {
            let union = Filter::union(filters.iter());
            for number in 0..8 {
                let any = filters.iter().any(|filter| filter.admits(source(number)));
                prop_assert_eq!(union.admits(source(number)), any, "{}", number);
            }
            // And it is EXCLUDE as soon as one of them is.
            let excludes = filters.iter().any(|filter| filter.mode() == Mode::Exclude);
            prop_assert_eq!(union.mode() == Mode::Exclude, excludes);
        }
    }
}
