//! Writes lines without waiting: a stopped terminal or a full pipe must not delay a broker.

use std::{
    io::{self, Write},
    os::fd::AsFd,
};

use ipc_protocol::transport::poll::{PollFlags, is_ready};

/// Writes a line to standard output or standard error. The descriptor may be shared with other processes, so it stays blocking.
///
/// # Errors
/// `WouldBlock` if there is no room now, or those of write(2).
pub fn write_line(mut stream: impl Write + AsFd, line: &str) -> io::Result<()> {
    // A pipe is writable when PIPE_BUF (4,096) bytes fit (pipe(7)), so a line has to be shorter.
    let mut line = line.to_owned();
    line.truncate(line.floor_char_boundary(LINE_LEN));
    line.push('\n');
    if !is_ready(stream.as_fd(), PollFlags::OUT)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    stream.write_all(line.as_bytes())?;
    stream.flush()
}

/// The longest line, in bytes.
const LINE_LEN: usize = 4_000;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_takes_a_line_or_none_of_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        let long = "ü".repeat(LINE_LEN);
        let written = (0..).take_while(|_| write_line(&writer, &long).is_ok()).count();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), vec![LINE_LEN; written]);
        assert!(written > 0);
    }
}
