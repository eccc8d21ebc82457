//! Several subscriptions of one client as one: their events in the order in which they came.
//!
//! Each has at most its first notice in `head`. Of the heads, the one that came first is told, but only when all that are empty were
//! asked after the last head was found: reading for one subscription brings what came for the others, too.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use ipc_client::{Error, Notice, Watched};

/// Subscriptions, in the order of their patterns on the command line.
#[derive(Debug)]
pub(super) struct Merged(Vec<Source>);

#[derive(Debug)]
struct Source {
    watched: Watched,
    head: Option<Notice>,
}

impl Merged {
    pub(super) fn new(subscriptions: Vec<Watched>) -> Self {
        Self(subscriptions.into_iter().map(|watched| Source { watched, head: None }).collect())
    }

    /// The next notice that is there, and which subscription tells it.
    ///
    /// # Errors
    /// Why a subscription has ended, and which.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Notice)>, (usize, Error)> {
        while self.look()? && self.0.len() > 1 {}
        let heads = self.0.iter_mut().enumerate().filter(|(_, source)| source.head.is_some());
        let first = heads.min_by_key(|(_, source)| source.place());
        Ok(first.and_then(|(at, source)| Some((at, source.head.take()?))))
    }

    /// Readable when there may be something to tell.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|source| source.watched.as_fd())
    }

    /// Asks each that has no head, and returns whether one was found.
    fn look(&mut self) -> Result<bool, (usize, Error)> {
        let mut found = false;
        for (at, source) in self.0.iter_mut().enumerate().filter(|(_, source)| source.head.is_none()) {
            source.head = source.watched.next_within(Duration::ZERO).map_err(|error| (at, error))?;
            found |= source.head.is_some();
        }
        Ok(found)
    }
}

impl Source {
    /// What is no event has no place, and is told at once.
    fn place(&self) -> u64 {
        match &self.head {
            Some(Notice::Event(event)) => event.place,
            _ => 0,
        }
    }
}
