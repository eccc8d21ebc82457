//! Bytes onto a descriptor: a terminal, a pipe, a file. Knows nothing of what they mean.

use std::{io, os::fd::AsFd};

use ipc_client::poll::{self, PollFd, PollFlags};
use rustix::io::Errno;

/// Writes to the descriptor itself: std's stdout would cut a payload at its last line break. A descriptor that another
/// program made non-blocking (a shared terminal) is waited for.
pub(crate) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    let to = to.as_fd();
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll::wait(&mut [PollFd::new(&to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What the system says about a failure, without std's "(os error 2)".
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        // nix has "Try again" for it, which seldom helps.
        Some(number) if number == Errno::AGAIN.raw_os_error() => "Resource temporarily unavailable".to_owned(),
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => without_number(&error.to_string()),
    }
}

/// The text of a library's error up to the number of the system's error that it wraps.
fn without_number(text: &str) -> String {
    text.split_once(" (os error ").map_or(text, |(reason, _)| reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_system_is_told_without_its_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(reason(&io::Error::from_raw_os_error(11)), "Resource temporarily unavailable");
        assert_eq!(reason(&io::Error::other("odd")), "odd");
        let wrapped = "No such file or directory (os error 2) at path \"/x\"";
        assert_eq!(reason(&io::Error::other(wrapped)), "No such file or directory");
    }
}
