//! Descriptors that take as long to close as their sender likes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};
use tempfile::TempDir;

/// A descriptor to be sent. A process that closes the last copy of it waits until the bait is dropped.
#[derive(Debug)]
pub enum Bait {
    /// A socket that waits for its unsent data to be read.
    Lingering(Lingering),
    /// A file whose server doesn't answer.
    Silent(Silent),
}

/// One end of a connection over the loopback device, and the end that reads nothing.
#[derive(Debug)]
pub struct Lingering {
    /// Goes first: the other end doesn't linger any more then.
    _reader: TcpStream,
    sender: Option<TcpStream>,
}

/// A file in a file system of its own (fuse(4)).
#[derive(Debug)]
pub struct Silent {
    directory: TempDir,
    file: Option<File>,
    is_silent: Arc<AtomicBool>,
}

impl Bait {
    /// A socket with SO_LINGER and unsent data.
    #[must_use]
    pub fn lingering() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let sender = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (reader, _) = listener.accept().expect("one is connected");
        set_socket_send_buffer_size(&sender, 1 << 20).expect("a size");
        sender.set_nonblocking(true).expect("a socket");
        while (&sender).write(&[0; 65_536]).is_ok() {}
        set_socket_linger(&sender, Some(Duration::from_secs(3_600))).expect("a time");
        Self::Lingering(Lingering { _reader: reader, sender: Some(sender) })
    }

    /// A file whose server answers neither FLUSH nor RELEASE once [`Bait::let_go`] is called. Takes root.
    #[must_use]
    pub fn silent() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("a kernel with FUSE");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("bait"), directory.path(), Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("root");
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = Arc::clone(&is_silent);
        thread::spawn(move || serve(&device, &silent));
        let file = OpenOptions::new().read(true).write(true).open(directory.path().join("file"));
        Self::Silent(Silent { directory, file: Some(file.expect("it is served")), is_silent })
    }

    /// Closes the test's own copy, after it has arrived and before it is closed there. From now on closing it takes for ever.
    pub fn let_go(&mut self) {
        match self {
            Self::Lingering(lingering) => lingering.sender = None,
            Self::Silent(silent) => {
                silent.file = None;
                silent.is_silent.store(true, Ordering::SeqCst);
            }
        }
    }
}

impl AsFd for Bait {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Lingering(lingering) => lingering.sender.as_ref().expect("it is there until it is let go").as_fd(),
            Self::Silent(silent) => silent.file.as_ref().expect("it is there until it is let go").as_fd(),
        }
    }
}

impl Drop for Silent {
    /// Ends the connection to the server, so that nothing waits for it any more.
    fn drop(&mut self) {
        let _ = umount2(self.directory.path(), MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
    }
}

/// Serves a directory with one file, until the file system is unmounted.
fn serve(mut device: &File, is_silent: &AtomicBool) {
    let mut request = vec![0; 1 << 17];
    loop {
        match device.read(&mut request) {
            Ok(len) => {
                if let Some(answer) = answer(&request[..len], is_silent.load(Ordering::SeqCst)) {
                    let _ = device.write_all(&answer); // the request may have been interrupted
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return, // ENODEV: it is unmounted
        }
    }
}

/// The answer to one request, from the header `fuse_in_header` on (linux/fuse.h).
fn answer(request: &[u8], is_silent: bool) -> Option<Vec<u8>> {
    let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().expect("four bytes"));
    let (operation, id, node) = (word(4), &request[8..16], u64::from(word(16)));
    let (error, body) = match operation {
        LOOKUP => (0, [&words(&[FILE, 0, 3_600, 3_600, 0])[..], &attributes(FILE)].concat()),
        GETATTR => (0, [&words(&[3_600, 0])[..], &attributes(node)].concat()),
        OPEN => (0, words(&[1, 0])),
        INIT => (
            0,
            [&7_u32.to_le_bytes()[..], &31_u32.to_le_bytes(), &[0; 12], &65_536_u32.to_le_bytes(), &[0; 40]].concat(),
        ),
        FLUSH | RELEASE if is_silent => return None,
        FORGET => return None,
        FLUSH | RELEASE => (0, Vec::new()),
        _ => (-ENOSYS, Vec::new()),
    };
    let len = u32::try_from(16 + body.len()).expect("a short answer");
    Some([&len.to_le_bytes()[..], &error.to_le_bytes(), id, &body].concat())
}

/// `fuse_attr` of the directory (1) or the file.
fn attributes(node: u64) -> Vec<u8> {
    let mode: u32 = if node == FILE { 0o100_666 } else { 0o040_755 };
    [&words(&[node, 0, 0, 0, 0, 0])[..], &[0; 12], &mode.to_le_bytes(), &1_u32.to_le_bytes(), &[0; 20]].concat()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

const FILE: u64 = 2;
const ENOSYS: i32 = nix::libc::ENOSYS;
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
