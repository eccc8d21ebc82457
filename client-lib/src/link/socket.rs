//! What all links do with a socket, and how much may wait for it.

use std::{
    io::{self, IoSlice},
    os::fd::BorrowedFd,
};

use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown},
};

use crate::session::Session;

/// Writes until everything is written or the socket takes no more.
///
/// # Errors
/// What send(2) says.
pub(super) fn transmit(socket: BorrowedFd<'_>, session: &mut Session) -> io::Result<()> {
    while let Some(bytes) = session.poll_transmit() {
        let written = match session.transmit_behind() {
            [] => send(socket, bytes, FLAGS),
            behind => {
                let both = [IoSlice::new(bytes), IoSlice::new(behind)];
                sendmsg(socket, &both, &mut SendAncillaryBuffer::default(), FLAGS)
            }
        };
        match written {
            Ok(len) => session.transmitted(len),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Ends a connection for both sides.
pub(super) fn shut_down(socket: BorrowedFd<'_>) {
    let _ = shutdown(socket, Shutdown::Both); // fails if the broker was first, which is as good
}

/// Unsent bytes above which nothing more is read.
pub(super) const HIGH_WATER: usize = 1024 * 1024;
/// Bytes after which gathered calls leave: the broker reads that much of a connection at a time.
pub(super) const GATHER: usize = 32 * 1024;
/// A broken connection is an error and not a signal; a full one is a state.
const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
