//! The service: one connection, with one write for all calls of one read.

use std::{io, os::fd::BorrowedFd};

use super::{
    dialect::{Dialect, Step},
    intake::{Intake, write_all},
};

/// Receives events until the stream ends.
pub(super) fn swallow(dialect: &impl Dialect, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut intake = Intake::new(Intake::LEN);
    while intake.wait_and_read(socket)? > 0 {
        loop {
            let len = match dialect.step(intake.bytes()) {
                Step::Incomplete => break,
                Step::Skip(len) => len,
                Step::Found(found) => found.len,
            };
            intake.consume(len);
        }
    }
    Ok(())
}

/// Bodies up to this length are echoed. Longer ones are answered with [`SHORT`] bytes.
const ECHOED: usize = 64 * 1024;
/// The length of the answer to a long body.
pub(super) const SHORT: usize = 16;

/// Answers calls until the stream ends.
pub(super) fn serve(dialect: &impl Dialect, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut intake = Intake::new(Intake::LEN);
    let mut out = Vec::with_capacity(Intake::LEN);
    while intake.wait_and_read(socket)? > 0 {
        loop {
            let len = match dialect.step(intake.bytes()) {
                Step::Incomplete => break,
                Step::Skip(len) => len,
                Step::Found(found) => {
                    let body = &intake.bytes()[found.body];
                    let answer = if body.len() <= ECHOED { body } else { &body[..SHORT] };
                    dialect.put_reply(&mut out, found.token, answer);
                    found.len
                }
            };
            intake.consume(len);
        }
        write_all(socket, &out)?;
        out.clear();
    }
    Ok(())
}
