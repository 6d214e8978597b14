//! Shared by the tests: small tables, and the obvious model of longest-prefix match.

use crate::route::{Rib, RibConfig};

/// A table that is cheap to make.
pub(crate) fn small_rib() -> Rib {
    Rib::new(RibConfig {
        max_routes4: 1000,
        max_routes6: 1000,
        groups4: 64,
        nodes6: 4096,
        leaves6: 4096,
        next_hops: 64,
        multipath: 4,
        top4: None,
    })
    .unwrap()
}
