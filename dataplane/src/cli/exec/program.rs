//! Finding a program as execvp would, and whether LD_PRELOAD reaches it: the dynamic linker must be there to read it, and
//! must trust who set it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A program that LD_PRELOAD does not reach.
#[derive(Debug)]
pub struct Unusable {
    /// The file: the program, or the interpreter of its script.
    pub path: PathBuf,
    /// Why not.
    pub why: &'static str,
}

/// Scripts of scripts: as many as the kernel follows.
const INTERPRETERS: usize = 5;

/// As much of a file as tells what it is: the program headers stand right behind the ELF header, and the kernel reads 256
/// bytes of a `#!` line.
const HEAD: u64 = 4096;

/// The file that `name` means.
pub fn find(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Path::new(name).is_file().then(|| PathBuf::from(name));
    }
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    let found = std::env::split_paths(path).map(|folder| folder.join(name));
    found
        .into_iter()
        .find(|file| file.metadata().is_ok_and(|about| about.is_file() && about.mode() & 0o111 != 0))
}

/// Looks whether LD_PRELOAD reaches a program.
///
/// # Errors
/// It does not. A file that cannot be read, or is of no known kind, is left for exec to judge.
pub fn check(program: &Path) -> Result<(), Unusable> {
    let mut path = program.to_owned();
    for _ in 0..INTERPRETERS {
        let Some(head) = head_of(&path) else { return Ok(()) };
        if let Some(line) = head.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
            let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            path = PathBuf::from(OsStr::from_bytes(word));
            continue;
        }
        let why = if runs_as_another(&path) {
            "it runs as another user or group than its caller, and the dynamic linker then ignores LD_PRELOAD"
        } else if is_static(&head) {
            "it is statically linked"
        } else {
            return Ok(());
        };
        return Err(Unusable { path, why });
    }
    Ok(())
}

fn head_of(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

fn runs_as_another(path: &Path) -> bool {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    path.metadata().is_ok_and(|about| {
        about.mode() & 0o4000 != 0 && about.uid() != uid
            || about.mode() & 0o2010 == 0o2010 && about.gid() != gid
    })
}

/// True for an ELF program of 64 bits without an interpreter (PT_INTERP), the dynamic linker.
fn is_static(head: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    if head.get(..5) != Some(b"\x7fELF\x02") {
        return false;
    }
    let word = |at: usize, len: usize| {
        let bytes = head.get(at..at + len)?;
        let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    };
    let (Some(headers), Some(size), Some(count)) = (word(32, 8), word(54, 2), word(56, 2)) else {
        return false;
    };
    let kinds = (0..count).map(|number| word(headers.saturating_add(number * size), 4));
    // A header beyond what was read: nobody knows.
    let mut kinds = kinds.map(|kind| kind.is_none_or(|kind| kind == PT_INTERP as usize));
    !kinds.any(|interpreted| interpreted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_found_as_a_shell_would() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("it");
        std::fs::write(&file, "").unwrap();
        let path = Some(folder.path().as_os_str());
        assert_eq!(find(OsStr::new("it"), path), None, "not executable");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(OsStr::new("it"), path), Some(file.clone()));
        assert_eq!(find(file.as_os_str(), None), Some(file));
        assert_eq!(find(OsStr::new("./not-here"), path), None);
    }

    #[test]
    fn what_the_dynamic_linker_does_not_load_is_told() {
        assert!(check(Path::new("/bin/sh")).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#! /bin/sh -e\n").unwrap();
        assert!(check(&script).is_ok());
        // /bin/sh with the kind of each program header changed: nobody interprets it.
        let mut bytes = std::fs::read("/bin/sh").unwrap();
        for header in (64..64 + usize::from(bytes[56]) * 56).step_by(56) {
            bytes[header] = 6;
        }
        let program = folder.path().join("static");
        std::fs::write(&program, &bytes).unwrap();
        std::fs::write(&script, format!("#!{}\n", program.display())).unwrap();
        let refused = check(&script).unwrap_err();
        assert_eq!((refused.path, refused.why), (program, "it is statically linked"));
    }

    #[test]
    fn a_program_of_another_user_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("it");
        std::fs::copy("/bin/sh", &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
        assert!(check(&program).is_ok(), "it is ours");
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&program, Some(1), None).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
            assert!(check(&program).is_err());
        }
    }
}
