//! Where a broker can be reached: its sockets, their files, and the claim to their path. If a file is removed, the broker notices
//! within seconds and binds a new socket. Open connections don't depend on the file.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use ipc_protocol::transport::{Address, socket};
use rustix::net::SocketType;

use super::{
    claim::{Claim, ClaimError},
    config::Config,
    path_error::plain,
};
use crate::core::Moment;

/// Why a broker can't be reached at its address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The path can't be claimed.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A system call failed.
    #[error("cannot listen at {address}: {}", plain(source))]
    Bind {
        /// The address.
        address: Address,
        /// The error.
        source: io::Error,
    },
}

/// Newly bound sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) stream: Option<OwnedFd>,
    pub(crate) datagram: Option<OwnedFd>,
}

/// A broker's socket files, and its claim, which outlives them.
#[derive(Debug)]
pub(crate) struct Site {
    path: PathBuf,
    doorways: Vec<Doorway>,
    claim: Option<Claim>,
    backlog: i32,
    next_look: Moment,
    /// Whether the last look found a file missing and couldn't replace it.
    is_lost: bool,
}

/// The result of checking the files.
#[derive(Debug)]
pub(crate) enum Look {
    /// Nothing has changed since the last look.
    Unchanged,
    /// Files were gone. These sockets replace the ones that could no longer be reached.
    Reopened(Sockets),
    /// Files are gone, and new ones can't be created.
    Lost(SiteError),
}

/// A path, and the kind of socket that belongs there.
#[derive(Debug)]
struct Doorway {
    path: PathBuf,
    kind: SocketType,
    file: Option<SocketFile>,
}

/// A socket file, removed on drop unless another file has taken its place. The inode isn't reused while the socket is open.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Binds the configured sockets. An abstract address has no site, because there is no file that could be removed.
pub(crate) fn open(config: &Config, now: Moment) -> Result<(Option<Site>, Sockets), SiteError> {
    let datagram = config.socket.datagram().filter(|_| config.datagram);
    let backlog = i32::try_from(config.limits.backlog).unwrap_or(i32::MAX);
    let Address::Path(path) = &config.socket else {
        let stream = Some(bind(&config.socket, SocketType::STREAM, backlog)?);
        let datagram = datagram.map(|address| bind(&address, SocketType::DGRAM, backlog)).transpose()?;
        return Ok((None, Sockets { stream, datagram }));
    };
    let mut doorways = vec![Doorway { path: path.clone(), kind: SocketType::STREAM, file: None }];
    if let Some(Address::Path(path)) = datagram {
        doorways.push(Doorway { path, kind: SocketType::DGRAM, file: None });
    }
    let next_look = now.after(BETWEEN_LOOKS);
    let mut site = Site { path: path.clone(), doorways, claim: None, backlog, next_look, is_lost: false };
    let sockets = site.fill()?;
    Ok((Some(site), sockets))
}

impl Site {
    /// The path of the stream socket. The others are beside it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// When to look again.
    pub(crate) fn next_look(&self) -> Moment {
        self.next_look
    }

    /// Checks the files, and replaces those that are missing.
    pub(crate) fn look(&mut self, now: Moment) -> Look {
        self.next_look = now.after(BETWEEN_LOOKS);
        let was_lost = self.is_lost;
        self.is_lost = !self.doorways.iter().all(Doorway::is_filled);
        if !self.is_lost {
            return Look::Unchanged;
        }
        match self.fill() {
            Ok(sockets) => {
                self.is_lost = false;
                Look::Reopened(sockets)
            }
            Err(_) if was_lost => Look::Unchanged,
            Err(error) => Look::Lost(error),
        }
    }

    /// Removes the files for good, so that no further client connects. The claim stays.
    pub(crate) fn leave(&mut self) {
        self.doorways.clear();
    }

    /// Binds the missing sockets: all of them, or none if one can't be bound.
    fn fill(&mut self) -> Result<Sockets, SiteError> {
        // A lock whose file is gone doesn't keep others away from the path.
        let claim = match self.claim.take().filter(Claim::is_there) {
            Some(claim) => claim,
            None => Claim::take(&self.path)?,
        };
        let claim = self.claim.insert(claim);
        let missing: Vec<_> = self.doorways.iter_mut().filter(|doorway| !doorway.is_filled()).collect();
        for doorway in &missing {
            claim.remove_stale(&doorway.path, doorway.kind)?;
        }
        // If one fails, the sockets before it are dropped with their files, because a file with a closed socket would seem present.
        let bound: Vec<_> = missing.iter().map(|doorway| doorway.bind(self.backlog)).collect::<Result<_, _>>()?;
        let mut sockets = Sockets::default();
        for (doorway, (file, socket)) in missing.into_iter().zip(bound) {
            doorway.file = Some(file);
            match doorway.kind {
                SocketType::STREAM => sockets.stream = Some(socket),
                _ => sockets.datagram = Some(socket),
            }
        }
        Ok(sockets)
    }
}

impl Doorway {
    fn is_filled(&self) -> bool {
        self.file.as_ref().is_some_and(SocketFile::is_there)
    }

    fn bind(&self, backlog: i32) -> Result<(SocketFile, OwnedFd), SiteError> {
        let address = Address::Path(self.path.clone());
        let socket = bind(&address, self.kind, backlog)?;
        let file = SocketFile::of(&self.path).map_err(|source| SiteError::Bind { address, source })?;
        Ok((file, socket))
    }
}

fn bind(address: &Address, kind: SocketType, backlog: i32) -> Result<OwnedFd, SiteError> {
    let bound = match kind {
        SocketType::STREAM => socket::listen_stream(address, SOCKET_MODE, backlog),
        _ => socket::bind_datagram(address, SOCKET_MODE),
    };
    bound.map_err(|source| SiteError::Bind { address: address.clone(), source })
}

impl SocketFile {
    /// The file of the socket just bound at `path`.
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) })
    }

    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there() {
            // If this fails, the next broker finds a stale socket and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Every user may connect. The policy decides what they may do, and its refusal explains more than EACCES. To keep users out
/// completely, restrict the socket's directory.
const SOCKET_MODE: u32 = 0o666;
/// A look costs two system calls, and wakes an idle broker.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
        site: Site,
        sockets: Sockets,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let config = Config::new(Address::Path(directory.path().join("run/s")));
            let (site, sockets) = open(&config, Moment(0)).unwrap();
            Self { directory, site: site.unwrap(), sockets }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join("run").join(name)
        }

        /// Looks at the files, and takes over new sockets.
        fn look(&mut self) -> &'static str {
            match self.site.look(self.site.next_look()) {
                Look::Unchanged => "unchanged",
                Look::Lost(_) => "lost",
                Look::Reopened(Sockets { stream, datagram }) => {
                    self.sockets.stream = stream.or(self.sockets.stream.take());
                    self.sockets.datagram = datagram.or(self.sockets.datagram.take());
                    "reopened"
                }
            }
        }

        #[track_caller]
        fn expect_reachable(&self) {
            UnixStream::connect(self.path("s")).unwrap();
            UnixDatagram::unbound().unwrap().send_to(b"x", self.path("s.dgram")).unwrap();
        }
    }

    #[test]
    fn files_that_are_there_are_left_alone() {
        let mut scene = Scene::new();
        assert_eq!(scene.look(), "unchanged");
        scene.expect_reachable();
    }

    #[test]
    fn a_socket_that_is_removed_is_made_again_without_the_other() {
        let mut scene = Scene::new();
        for name in ["s", "s.dgram"] {
            fs::remove_file(scene.path(name)).unwrap();
            assert_eq!(scene.look(), "reopened");
            scene.expect_reachable();
            assert_eq!(scene.look(), "unchanged");
        }
    }

    #[test]
    fn a_directory_that_is_removed_is_made_again_with_all_that_was_in_it() {
        let mut scene = Scene::new();
        fs::remove_dir_all(scene.path("")).unwrap();
        assert_eq!(scene.look(), "reopened");
        scene.expect_reachable();
        assert!(scene.path("s.lock").exists());
    }

    #[test]
    fn a_path_that_another_broker_has_taken_is_left_to_it_until_it_is_free() {
        let mut scene = Scene::new();
        fs::remove_dir_all(scene.path("")).unwrap();
        let other = open(&Config::new(Address::Path(scene.path("s"))), Moment(0)).unwrap();
        assert_eq!([scene.look(), scene.look()], ["lost", "unchanged"], "it is reported once");
        scene.expect_reachable();
        drop(other);
        assert_eq!(scene.look(), "reopened");
        scene.expect_reachable();
    }

    #[test]
    fn what_took_the_place_of_a_socket_is_not_removed() {
        let mut scene = Scene::new();
        fs::remove_file(scene.path("s")).unwrap();
        let _other = UnixListener::bind(scene.path("s")).unwrap();
        assert_eq!(scene.look(), "lost");
        let path = scene.path("s");
        drop(scene.site);
        assert!(path.exists());
    }

    #[test]
    fn the_files_go_before_the_claim() {
        let mut scene = Scene::new();
        scene.site.leave();
        assert!(!scene.path("s").exists() && !scene.path("s.dgram").exists());
        assert!(matches!(Claim::take(&scene.path("s")), Err(ClaimError::Taken { .. })));
        assert_eq!(scene.look(), "unchanged");
    }
}
