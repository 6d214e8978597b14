//! `docs/socket-options.md` says what the table of options says.

use flumen::session::options::document::page;
use std::path::Path;

#[test]
fn the_page_about_socket_options_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/socket-options.md");
    if std::env::var_os("FLUMEN_REWRITE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "run it with FLUMEN_REWRITE=1: {} is old", path.display());
}
