//! The files of a directory, read once at start. What is not read then does not exist for clients, and nothing is
//! opened later: no path can lead out, no worker waits for a disk.

use crate::config::bounds::{MAX_HTTP_DEPTH, MAX_HTTP_FILE, MAX_HTTP_FILES, MAX_HTTP_TOTAL};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path for clients: `/docs/a.html`.
    pub path: String,
    /// What is in it. Workers share it.
    pub bytes: Arc<[u8]>,
    /// Its media type.
    pub kind: &'static str,
}

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system says no.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A name that no URL has without a guess at its encoding.
    #[error("{}: the name is not UTF-8", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Something that is neither a file nor a directory.
    #[error("{}: only files and directories are served; links are not followed", path.display())]
    Kind {
        /// The thing.
        path: PathBuf,
    },
    /// Beyond a bound.
    #[error("{}: {what}", path.display())]
    TooMuch {
        /// Where.
        path: PathBuf,
        /// Of what.
        what: String,
    },
}

/// Reads all files in and below `directory`. Names that begin with a dot are left out, as shells do.
///
/// # Errors
/// What cannot be served is an error: a file that is silently missing would be looked for in the wrong place.
pub fn load(directory: &Path) -> Result<Vec<File>, FilesError> {
    let mut loader = Loader { files: Vec::new(), total: 0 };
    loader.folder(directory, "", 0)?;
    Ok(loader.files)
}

struct Loader {
    files: Vec<File>,
    total: u64,
}

impl Loader {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), FilesError> {
        let too_much = |path: &Path, what: String| FilesError::TooMuch { path: path.to_owned(), what };
        if depth > MAX_HTTP_DEPTH {
            return Err(too_much(folder, format!("deeper than {MAX_HTTP_DEPTH} directories")));
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| FilesError::Io { path, error }
        };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io(folder))? {
            let entry = entry.map_err(io(folder))?;
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| FilesError::Name { path: entry.path() })?;
            if !name.starts_with('.') {
                entries.push((name, entry));
            }
            if entries.len() > MAX_HTTP_FILES {
                return Err(too_much(folder, format!("more than {MAX_HTTP_FILES} files")));
            }
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, entry) in entries {
            let (path, real) = (format!("{prefix}/{name}"), entry.path());
            let kind = entry.file_type().map_err(io(&real))?;
            if kind.is_dir() {
                self.folder(&real, &path, depth + 1)?;
                continue;
            }
            if !kind.is_file() {
                return Err(FilesError::Kind { path: real });
            }
            if self.files.len() == MAX_HTTP_FILES {
                return Err(too_much(&real, format!("more than {MAX_HTTP_FILES} files")));
            }
            let mut bytes = Vec::new();
            let file = std::fs::File::open(&real).map_err(io(&real))?;
            file.take(MAX_HTTP_FILE + 1).read_to_end(&mut bytes).map_err(io(&real))?;
            if bytes.len() as u64 > MAX_HTTP_FILE {
                return Err(too_much(&real, format!("longer than {} MiB", MAX_HTTP_FILE >> 20)));
            }
            self.total += bytes.len() as u64;
            if self.total > MAX_HTTP_TOTAL {
                return Err(too_much(&real, format!("more than {} MiB in all", MAX_HTTP_TOTAL >> 20)));
            }
            let kind = media_type(&name);
            self.files.push(File { path, bytes: bytes.into(), kind });
        }
        Ok(())
    }
}

/// The media type of a file by the end of its name, of those that web sites are made of.
fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" | "toml" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" | "map" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "gz" | "tgz" => "application/gzip",
        "zip" => "application/zip",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn error(folder: &Path) -> String {
        load(folder).unwrap_err().to_string()
    }

    #[test]
    fn files_are_found_in_folders_in_order_with_their_types() {
        let folder = folder();
        fs::create_dir_all(folder.path().join("docs/deep")).unwrap();
        for (name, text) in [("b.HTML", "b"), ("a", "aa"), ("docs/deep/x.tar.gz", "x"), (".hidden", "h")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let files = load(folder.path()).unwrap();
        let files: Vec<_> =
            files.iter().map(|file| (file.path.as_str(), &file.bytes[..], file.kind)).collect();
        assert_eq!(
            files,
            [
                ("/a", &b"aa"[..], "application/octet-stream"),
                ("/b.HTML", b"b", "text/html; charset=utf-8"),
                ("/docs/deep/x.tar.gz", b"x", "application/gzip"),
            ]
        );
    }

    #[test]
    fn what_cannot_be_served_is_an_error_that_names_it() {
        let folder = folder();
        assert!(error(&folder.path().join("nowhere")).contains("nowhere: No such file"));
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert!(error(folder.path()).contains("link: only files and directories"));
    }

    #[test]
    fn files_have_bounds_of_size_number_and_depth() {
        let folder = folder();
        let large = folder.path().join("large");
        let file = fs::File::create(&large).unwrap();
        file.set_len(MAX_HTTP_FILE).unwrap();
        assert_eq!(load(folder.path()).unwrap()[0].bytes.len() as u64, MAX_HTTP_FILE);
        file.set_len(MAX_HTTP_FILE + 1).unwrap();
        assert!(error(folder.path()).contains("longer than"));
        file.set_len(MAX_HTTP_FILE).unwrap();
        for number in 1..=MAX_HTTP_TOTAL / MAX_HTTP_FILE {
            fs::hard_link(&large, folder.path().join(format!("large{number}"))).unwrap();
        }
        assert!(error(folder.path()).contains("in all"));

        let many = tempfile::tempdir().unwrap();
        for number in 0..MAX_HTTP_FILES {
            fs::write(many.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(load(many.path()).unwrap().len(), MAX_HTTP_FILES);
        fs::write(many.path().join("more"), "").unwrap();
        assert!(error(many.path()).contains("more than"));
        fs::remove_file(many.path().join("more")).unwrap();
        fs::remove_file(many.path().join("0")).unwrap();
        fs::create_dir(many.path().join("z")).unwrap();
        fs::write(many.path().join("z/0"), "").unwrap();
        assert_eq!(load(many.path()).unwrap().len(), MAX_HTTP_FILES, "over all folders");
        fs::write(many.path().join("z/1"), "").unwrap();
        assert!(error(many.path()).contains("more than"));

        let deep = tempfile::tempdir().unwrap();
        let mut path = deep.path().to_owned();
        for _ in 0..MAX_HTTP_DEPTH {
            path.push("d");
        }
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("f"), "").unwrap();
        assert_eq!(load(deep.path()).unwrap().len(), 1);
        fs::create_dir(path.join("d")).unwrap();
        assert!(error(deep.path()).contains("deeper"));
    }
}
