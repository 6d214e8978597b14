//! The file of the control socket: made with its permissions, never two services on one, gone when the service
//! ends.
//!
//! A service holds a lock on `SOCKET.lock` as long as it lives; the kernel lets go of it when the process
//! dies, however it dies. So a socket file whose lock is free is a dead process's, and may be replaced.
//! The lock file holds the process's number, for the message to the second one.

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections that the kernel lets wait.
const BACKLOG: i32 = 128;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another service has it.
    #[error("another flumen runs here{}: it holds the control socket {}", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), .path.display())]
    Running {
        /// The socket.
        path: PathBuf,
        /// The other process, when it says.
        pid: Option<u32>,
    },
    /// Something that is not ours is in the way.
    #[error("{} is in the way of the control socket: it is not a socket", .0.display())]
    InTheWay(PathBuf),
    /// The system refuses.
    #[error("cannot make the control socket {}: {doing}: {error}", .path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

/// A socket file that is ours until this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
    lock: PathBuf,
    // The lock lasts as long as the file is open.
    _locked: File,
}

impl SocketFile {
    /// Makes the socket at `path` with permission bits `mode`, and listens. The folder is made if it is missing.
    pub fn bind(path: &Path, mode: u32) -> Result<(SocketFile, UnixListener), BindError> {
        let (file, listener) = SocketFile::make(path, mode, SockType::Stream)?;
        Ok((file, listener.into()))
    }

    /// As [`SocketFile::bind`], for a socket of packets (SOCK_SEQPACKET), and it is somebody's: user, group.
    pub fn bind_packets(
        path: &Path,
        mode: u32,
        (user, group): (Option<u32>, Option<u32>),
    ) -> Result<(SocketFile, OwnedFd), BindError> {
        let made = SocketFile::make(path, mode, SockType::SeqPacket)?;
        std::os::unix::fs::chown(path, user, group).map_err(|error| BindError::System {
            path: path.to_owned(),
            doing: "its owner",
            error,
        })?;
        Ok(made)
    }

    fn make(path: &Path, mode: u32, kind: SockType) -> Result<(SocketFile, OwnedFd), BindError> {
        let system =
            |doing| move |error: io::Error| BindError::System { path: path.to_owned(), doing, error };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(system("its folder"))?;
        }
        let lock = lock_path(path);
        let locked = take_lock(path, &lock)?;
        remove_stale(path)?;
        let listener = listen(path, mode, kind).map_err(system("bind"))?;
        let inode = std::fs::symlink_metadata(path).map_err(system("look at it"))?.ino();
        // From here on the file goes away with `file`, whatever fails.
        let file = SocketFile { path: path.to_owned(), inode, lock, _locked: locked };
        // The umask may have taken bits away.
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(system("its permissions"))?;
        rustix::io::ioctl_fionbio(&listener, true).map_err(|error| system("non-blocking")(error.into()))?;
        Ok((file, listener))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another socket there by hand: only ours is taken away. Nothing is left to do
        // about an error here.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = std::fs::remove_file(&self.lock);
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

/// The lock, with our process number in it.
fn take_lock(path: &Path, lock: &Path) -> Result<File, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), doing: "its lock file", error };
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644);
        // Not through somebody else's symbolic link.
        options.custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits());
        let mut file = options.open(lock).map_err(system)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = (&mut file).take(16).read_to_string(&mut text);
                return Err(BindError::Running { path: path.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(system(error)),
        }
        // The one before us may have removed the file between our opening and our locking it.
        let ours = file.metadata().map_err(system)?.ino();
        if std::fs::symlink_metadata(lock).is_ok_and(|there| there.ino() == ours) {
            file.set_len(0).map_err(system)?;
            writeln!(file, "{}", std::process::id()).map_err(system)?;
            return Ok(file);
        }
    }
}

/// Takes away what a dead process left at `path`.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::InTheWay(path.to_owned())),
        // Somebody listens without holding our lock: another program, or a service in another mount namespace.
        Ok(_) if is_alive(path) => {
            return Err(BindError::Running { path: path.to_owned(), pid: None });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(BindError::System { path: path.to_owned(), doing: "look at it", error });
        }
    }
    std::fs::remove_file(path).map_err(|error| BindError::System {
        path: path.to_owned(),
        doing: "remove the one of a dead process",
        error,
    })
}

/// True when somebody listens there, by packets or by bytes.
fn is_alive(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPROTOTYPE),
    }
}

fn listen(path: &Path, mode: u32, kind: SockType) -> io::Result<OwnedFd> {
    use nix::sys::socket::{bind, listen, socket};
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // Linux gives the file the bits that the socket has when it is bound, less the umask: so there is no moment
    // in which others may connect.
    fchmod(&fd, Mode::from_bits_truncate(mode))?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/control.sock");
        (folder, path)
    }

    #[test]
    fn the_file_has_its_permissions_and_goes_with_the_service() {
        for mode in [0o600, 0o660, 0o666, 0o777] {
            let (_folder, path) = place();
            let (file, _listener) = SocketFile::bind(&path, mode).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
            drop(file);
            assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_second_service_is_told_who_has_the_socket() {
        let (_folder, path) = place();
        let (_file, _listener) = SocketFile::bind(&path, 0o600).unwrap();
        let error = SocketFile::bind(&path, 0o600).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, BindError::Running { pid: Some(other), .. } if other == pid), "{error}");
        assert!(error.to_string().contains(&format!("another flumen runs here (pid {pid})")), "{error}");
        assert!(UnixStream::connect(&path).is_ok(), "the first one lost its socket");
    }

    #[test]
    fn the_file_of_a_dead_process_is_replaced() {
        let (_folder, path) = place();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&path).unwrap()); // closed, and the file left behind
        std::fs::write(lock_path(&path), "4194999\n").unwrap();
        assert!(UnixStream::connect(&path).is_err());
        let (_file, _listener) = SocketFile::bind(&path, 0o600).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(std::fs::read_to_string(lock_path(&path)).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_stranger_who_listens_keeps_the_socket_and_a_file_is_not_removed() {
        let (_folder, path) = place();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let stranger = UnixListener::bind(&path).unwrap();
        let error = SocketFile::bind(&path, 0o600).unwrap_err();
        assert!(matches!(error, BindError::Running { pid: None, .. }), "{error}");
        drop(stranger);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        let error = SocketFile::bind(&path, 0o600).unwrap_err();
        assert!(matches!(error, BindError::InTheWay(_)), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_path_that_is_too_long_or_forbidden_is_an_error() {
        let (_folder, path) = place();
        let error = SocketFile::bind(&path.with_file_name("x".repeat(200)), 0o600).unwrap_err();
        assert!(matches!(error, BindError::System { doing: "bind", .. }), "{error}");
        let error = SocketFile::bind(Path::new("/proc/flumen/control.sock"), 0o600).unwrap_err();
        assert!(matches!(error, BindError::System { doing: "its folder", .. }), "{error}");
    }
}
