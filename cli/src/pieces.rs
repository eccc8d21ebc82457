//! Input that is taken as bytes: in pieces of one length, or as they come.

use std::{fs::File, io};

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;

/// What is one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// This number of bytes, except for the last one.
    Chunks(usize),
    /// What one read brings.
    AsTheyCome,
}

/// The pieces of a file or a pipe.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: File,
    cut: Cut,
    /// Bytes read at once.
    most: usize,
    /// Read, but less than a piece.
    rest: Bytes,
    /// The last piece, whose memory is used again once its reader has let it go.
    last: Bytes,
    has_ended: bool,
}

impl Pieces {
    /// The pieces of an open file.
    pub(crate) fn of(file: File, cut: Cut) -> Self {
        let is_file = file.metadata().is_ok_and(|about| about.is_file());
        let most = if is_file { OF_FILE } else { OF_PIPE };
        let most = match cut {
            Cut::Chunks(len) => len.max(most / len.max(1) * len),
            Cut::AsTheyCome => most,
        };
        Self { file, cut, most, rest: Bytes::new(), last: Bytes::new(), has_ended: false }
    }

    /// The pieces that the next read brings, at least one; none at the end.
    pub(crate) fn next(&mut self) -> io::Result<Vec<Bytes>> {
        let least = match self.cut {
            Cut::Chunks(len) => len,
            Cut::AsTheyCome => 1,
        };
        let mut read = self.room();
        read.extend_from_slice(&std::mem::take(&mut self.rest));
        while !self.has_ended && read.len() < least {
            match rustix::io::read(&self.file, rustix::buffer::spare_capacity(&mut read)) {
                Ok(len) => self.has_ended = len == 0,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut read = Bytes::from(read);
        let len = if self.cut == Cut::AsTheyCome { read.len() } else { least };
        let mut pieces = Vec::new();
        while !read.is_empty() && (read.len() >= len || self.has_ended) {
            pieces.push(read.split_to(len.min(read.len())));
        }
        self.rest = read;
        if let [only] = &pieces[..] {
            self.last = only.clone();
        }
        Ok(pieces)
    }

    /// Memory for a read, most often that of the last piece.
    fn room(&mut self) -> Vec<u8> {
        let mut room = match std::mem::take(&mut self.last).try_into_mut() {
            Ok(last) if self.rest.is_empty() => emptied(last),
            _ => Vec::new(),
        };
        room.reserve_exact(self.most);
        room
    }
}

fn emptied(mut bytes: BytesMut) -> Vec<u8> {
    bytes.clear();
    bytes.into()
}

/// As much as a pipe holds.
const OF_PIPE: usize = 64 * 1024;
/// As much as a stream allows at once: longer items cost less a byte, up to there.
const OF_FILE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pieces(bytes: &[u8], cut: Cut) -> Pieces {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Pieces::of(file.reopen().unwrap(), cut)
    }

    fn all(mut pieces: Pieces) -> Vec<Bytes> {
        std::iter::from_fn(|| Some(pieces.next().unwrap()).filter(|some| !some.is_empty())).flatten().collect()
    }

    #[test]
    fn chunks_are_of_one_length_but_for_the_last() {
        assert_eq!(all(pieces(b"abcdefgh", Cut::Chunks(3))), ["abc", "def", "gh"]);
        assert_eq!(all(pieces(b"abcdef", Cut::Chunks(3))), ["abc", "def"]);
        assert_eq!(all(pieces(b"", Cut::Chunks(3))), [""; 0]);
    }

    #[test]
    fn one_read_brings_many_short_chunks_and_no_byte_is_lost() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        for len in [7, 64, 4_096, 65_536, 262_144, 300_000] {
            let mut chunks = pieces(&bytes, Cut::Chunks(len));
            let first = chunks.next().unwrap();
            assert_eq!(first.len(), (OF_FILE / len).max(1), "chunks of {len}");
            let together = [first.concat(), all(chunks).concat()].concat();
            assert!(together == bytes, "chunks of {len}");
        }
    }

    #[test]
    fn a_chunk_is_waited_for_and_what_one_read_brings_is_not() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut pieces = Pieces::of(File::from(std::os::fd::OwnedFd::from(reader)), Cut::AsTheyCome);
        for text in ["one", "three", "x"] {
            writer.write_all(text.as_bytes()).unwrap();
            assert_eq!(pieces.next().unwrap(), [text]);
        }
        drop(writer);
        assert!(pieces.next().unwrap().is_empty());
    }

    #[test]
    fn memory_is_used_again_once_it_is_free() {
        let mut pieces = pieces(&vec![b'x'; 4 * OF_FILE], Cut::AsTheyCome);
        let first = pieces.next().unwrap();
        let place = first[0].as_ptr();
        let kept = pieces.next().unwrap();
        assert_ne!(kept[0].as_ptr(), place, "the first is still read");
        let place = kept[0].as_ptr();
        drop(kept);
        assert_eq!(pieces.next().unwrap()[0].as_ptr(), place);
    }
}
