//! The rules of the house: which crate may know which, and where unsafe code may live.

#![allow(clippy::panic)] // a test fails by panicking

use cargo_metadata::{Metadata, MetadataCommand, Package};
use std::path::Path;

/// A member, its folder, the members it may depend on (`None`: all), and whether it may contain unsafe code.
const MEMBERS: [(&str, Option<&[&str]>, bool); 6] = [
    ("flumen-stack", Some(&[]), false),
    ("af_xdp", Some(&[]), true),
    ("flumen-ipc", Some(&[]), true),
    ("flumen-preload", Some(&["flumen-ipc"]), true),
    ("flumen", None, false),
    ("flumen-bench", None, false),
];

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata")
}

/// The rules of a member.
fn rules(package: &Package) -> (Option<&'static [&'static str]>, bool) {
    let name = package.name.as_str();
    let found = MEMBERS.iter().find(|(member, _, _)| *member == name);
    let (_, may_use, may_be_unsafe) =
        found.unwrap_or_else(|| panic!("{name} is a new member: say here what it may know"));
    (*may_use, *may_be_unsafe)
}

#[test]
fn members_depend_only_on_those_they_may_know() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    assert!(packages.len() >= 4, "the search finds the members");
    for package in &packages {
        let (Some(may_use), _) = rules(package) else { continue };
        for dependency in &package.dependencies {
            let ours = packages.iter().any(|member| *member.name == dependency.name);
            let allowed = may_use.contains(&dependency.name.as_str());
            assert!(!ours || allowed, "{} must not depend on {}", package.name, dependency.name);
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_where_it_may_not_live() {
    let mut checked = 0;
    for package in metadata().workspace_packages() {
        let (_, false) = rules(package) else { continue };
        for target in package.targets.iter().filter(|target| target.is_lib() || target.is_bin()) {
            let text = std::fs::read_to_string(&target.src_path).expect("a source file");
            assert!(
                text.lines().any(|line| line == "#![forbid(unsafe_code)]"),
                "{} does not forbid unsafe code",
                target.src_path
            );
            checked += 1;
        }
    }
    assert!(checked >= 4, "stack, dataplane (library and binary) and bench were checked, not {checked}");
}

#[test]
fn every_member_follows_the_lints_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
        assert!(text.contains("[lints]\nworkspace = true"), "{} has lints of its own", package.name);
    }
}
