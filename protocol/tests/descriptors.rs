//! Unwanted descriptors, when this process has no number left to receive them under. A binary of its own: the limit on descriptors
//! holds for a whole process.
#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::{self, IoSlice},
    os::{fd::AsFd, unix::net::UnixStream},
};

use ipc_protocol::{
    Message,
    limits::MAX_BODY,
    transport::{Inbox, ReadBuffer},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

#[test]
fn descriptors_are_noticed_even_when_none_can_be_received() {
    let (sender, receiver) = UnixStream::pair().unwrap();
    let gift = File::open("/dev/null").unwrap();
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let fds = [gift.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let ping = Message::Ping(1).to_vec();
    sendmsg(&sender, &[IoSlice::new(&ping)], &mut control, SendFlags::empty()).unwrap();

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let read = Inbox::new(MAX_BODY).read(receiver.as_fd(), &mut ReadBuffer::new());

    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
}
