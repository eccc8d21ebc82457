//! Who pays: bytes, connections and calls are charged to a user before they are stored, and given back when they are gone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{Limits, Use};

/// The accounts of all users.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Accounts {
    users: BTreeMap<u32, Account>,
    total: Account,
    peak: Account,
    peak_per_uid: Account,
}

/// What one user holds, or the most that any held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Open connections.
    pub(crate) connections: u64,
    /// Bytes: frames not yet read by their receiver, calls that wait, registrations, frames being put together.
    pub(crate) bytes: u64,
    /// Answered calls sent by datagram that are pending.
    pub(crate) datagram_calls: u64,
}

/// Which quota would be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The user's.
    User,
    /// The broker's.
    Broker,
}

impl Accounts {
    /// Charges `bytes` to a user, if they fit by `limits` into the user's account and into the whole, as far as these are open to
    /// that use.
    pub(crate) fn charge_bytes(&mut self, uid: u32, bytes: usize, (of, limits): (Use, &Limits)) -> Result<(), Full> {
        let bytes = bytes as u64;
        let account = self.users.get_mut(&uid);
        let of_user = account.as_ref().map_or(0, |account| account.bytes) + bytes;
        let in_all = self.total.bytes + bytes;
        check(of, of_user, in_all, limits)?;
        match account {
            Some(account) => account.bytes = of_user,
            None => drop(self.users.insert(uid, Account { bytes, ..Account::default() })),
        }
        self.total.bytes = in_all;
        self.peak.bytes = self.peak.bytes.max(in_all);
        self.peak_per_uid.bytes = self.peak_per_uid.bytes.max(of_user);
        Ok(())
    }

    /// Whether `bytes` more would be charged to a user now.
    pub(crate) fn has_room(&self, uid: u32, bytes: usize, (of, limits): (Use, &Limits)) -> Result<(), Full> {
        let bytes = bytes as u64;
        check(of, self.of(uid).bytes + bytes, self.total.bytes + bytes, limits)
    }

    /// Charges, whatever the limits say: they were asked before, or the holder is about to be cut off.
    pub(crate) fn charge(&mut self, uid: u32, charge: Account) {
        let account = self.users.entry(uid).or_default();
        account.add(charge);
        self.total.add(charge);
        self.peak.raise(self.total);
        self.peak_per_uid.raise(*account);
    }

    /// Gives back what was charged.
    pub(crate) fn discharge(&mut self, uid: u32, charge: Account) {
        let Some(account) = self.users.get_mut(&uid) else { return };
        account.subtract(charge);
        self.total.subtract(charge);
        if *account == Account::default() {
            self.users.remove(&uid);
        }
    }

    /// What one user holds.
    pub(crate) fn of(&self, uid: u32) -> Account {
        self.users.get(&uid).copied().unwrap_or_default()
    }

    /// What all hold.
    pub(crate) fn total(&self) -> Account {
        self.total
    }

    /// The most that all ever held.
    pub(crate) fn peak(&self) -> Account {
        self.peak
    }

    /// Whether every user holds the same in both. For the invariants.
    pub(crate) fn holds_the_same(&self, other: &Self) -> bool {
        (&self.users, self.total) == (&other.users, other.total)
    }

    /// The most that one user holds now, and ever held.
    pub(crate) fn per_uid(&self) -> (Account, Account) {
        let mut most = Account::default();
        self.users.values().for_each(|account| most.raise(*account));
        (most, self.peak_per_uid)
    }
}

impl Account {
    pub(crate) fn bytes(bytes: usize) -> Self {
        Self { bytes: bytes as u64, ..Self::default() }
    }

    pub(crate) fn connection() -> Self {
        Self { connections: 1, ..Self::default() }
    }

    pub(crate) fn datagram_call() -> Self {
        Self { datagram_calls: 1, ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.bytes += other.bytes;
        self.datagram_calls += other.datagram_calls;
    }

    fn subtract(&mut self, other: Self) {
        self.connections -= other.connections;
        self.bytes -= other.bytes;
        self.datagram_calls -= other.datagram_calls;
    }

    fn raise(&mut self, other: Self) {
        self.connections = self.connections.max(other.connections);
        self.bytes = self.bytes.max(other.bytes);
        self.datagram_calls = self.datagram_calls.max(other.datagram_calls);
    }
}

/// Whether a user, and all together, may hold so much for that use.
fn check(of: Use, of_user: u64, in_all: u64, limits: &Limits) -> Result<(), Full> {
    if of_user > of.part_of(limits.bytes_per_uid) {
        return Err(Full::User);
    }
    if in_all > of.part_of(limits.bytes_total) {
        return Err(Full::Broker);
    }
    Ok(())
}
