//! The lab itself.

use super::harness::{Lab, Role, standing};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub fn a_lab_leaves_nothing_behind_even_when_its_test_panics() {
    let mut namespace = String::new();
    let mut folder = std::path::PathBuf::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::up();
        namespace = lab.namespace(Role::Router);
        folder = lab.folder();
        let _sleeper = lab.background(Role::Router, "sleep 1000");
        assert!(std::path::Path::new("/run/netns").join(&namespace).exists());
        std::panic::resume_unwind(Box::new("a test that fails")); // without a message on the log
    }));
    assert!(outcome.is_err());
    assert!(!std::path::Path::new("/run/netns").join(&namespace).exists());
    assert!(!folder.exists());
    let ours = format!("t{}-", std::process::id());
    assert_eq!(standing().iter().filter(|run| run.starts_with(&ours)).count(), 0);
}
