//! What the tests of the configuration share: a base that is right, and ways to say what is wrong with a change.

use flumen::config::{self, Loaded, Severity};
use std::path::Path;

/// One port and one core that are right: tests add what is wrong.
pub const BASE: &str = r#"
[[port]]
name = "lan"
addresses = ["192.0.2.1/24", "2001:db8::1/64"]
[[port]]
name = "wan"
addresses = ["198.51.100.1/24"]
[[core]]
cpu = 0
ports = ["lan", "wan"]
"#;

pub fn parse(text: &str) -> Loaded {
    config::parse("test.toml", text.to_owned(), Path::new("/nowhere"), &mut |path| {
        Err(config::LoadError::NotText { path: path.to_owned(), offset: 0 })
    })
}

/// Severity, text at the place, message and help of each problem.
pub fn problems_of(loaded: &Loaded) -> Vec<(Severity, String, String, String)> {
    loaded
        .problems
        .iter()
        .map(|problem| {
            let text = &loaded.sources.0[problem.at.file()].text;
            let place = text[problem.at.span()].to_owned();
            (problem.severity, place, problem.message.clone(), problem.help.clone().unwrap_or_default())
        })
        .collect()
}

/// Exactly one error, whose place is `place`, whose message and advice contain the other texts.
#[track_caller]
pub fn wrong(text: &str, place: &str, message: &str, help: &str) {
    let loaded = parse(text);
    let shown = loaded.sources.render_all(&loaded.problems, false);
    let found = problems_of(&loaded);
    let [(severity, at, said, advice)] = found.as_slice() else { panic!("not one problem:\n{shown}") };
    assert_eq!(*severity, Severity::Error);
    assert_eq!(at, place, "{shown}");
    assert!(said.contains(message), "{shown}");
    assert!(advice.contains(help), "{shown}");
    assert!(loaded.config.is_none());
}

#[track_caller]
pub fn right(text: &str) -> config::Config {
    let loaded = parse(text);
    assert!(loaded.problems.is_empty(), "{}", loaded.sources.render_all(&loaded.problems, false));
    loaded.config.unwrap()
}

pub fn lan(lines: &str) -> String {
    BASE.replacen("name = \"lan\"", &format!("name = \"lan\"\n{lines}"), 1)
}

pub fn addresses(list: &str) -> String {
    format!("[[port]]\nname = \"p\"\naddresses = [{list}]\n[[core]]\ncpu = 0\nports = [\"p\"]\n")
}

pub fn core(lines: &str) -> String {
    BASE.replace("cpu = 0", &format!("cpu = 0\n{lines}"))
}

pub fn plus(lines: &str) -> String {
    format!("{BASE}{lines}\n")
}
