//! Counted fake descriptors: each must be closed exactly once, whichever way it leaves the router.

use std::{cell::RefCell, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A fake descriptor, closed when it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

thread_local! {
    /// How often each token is open: twice while a state is handed over, until the old one is dropped.
    static OPEN: RefCell<BTreeMap<u64, u32>> = const { RefCell::new(BTreeMap::new()) };
    static OPENED: RefCell<u64> = const { RefCell::new(0) };
}

impl Token {
    pub(crate) fn open() -> Self {
        let number = OPENED.with_borrow_mut(|opened| {
            *opened += 1;
            *opened
        });
        Self::taken(number)
    }

    /// The number of tokens open in this test.
    pub(crate) fn count_open() -> usize {
        OPEN.with_borrow(|open| open.values().map(|count| *count as usize).sum())
    }

    fn taken(number: u64) -> Self {
        OPEN.with_borrow_mut(|open| *open.entry(number).or_insert(0) += 1);
        Self(number)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| {
            let count = open.get_mut(&self.0).expect("a descriptor was closed twice");
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        });
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::taken)
    }
}
