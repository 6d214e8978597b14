//! Names of route tables.

use crate::limits::MAX_TABLES;

/// A route table: the main one, or one of those that policy rules lead to ([`crate::route::rules`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TableId(u8);

impl TableId {
    /// The table that every packet may use, and that holds what follows from our own addresses.
    pub const MAIN: TableId = TableId(0);

    /// The table at place `index` of those that were configured beside the main one; `None` beyond [`MAX_TABLES`].
    pub fn policy(index: usize) -> Option<TableId> {
        (index < MAX_TABLES).then_some(TableId(index as u8 + 1))
    }

    /// Its place among the configured ones; `None` for the main table.
    #[inline]
    pub fn index(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_the_bound_says_beside_the_main_one() {
        assert_eq!(TableId::MAIN.index(), None);
        assert_eq!(TableId::policy(MAX_TABLES - 1).and_then(TableId::index), Some(MAX_TABLES - 1));
        assert_eq!(TableId::policy(MAX_TABLES), None);
    }
}
