//! Accounts: bytes, connections and calls are charged to a user before they are stored, and discharged when they are gone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    guarantee::Guarantee,
    ids::{AccountId, OfAccount},
    limits::{Limits, Use},
    policy::Effect,
    table::Table,
};

/// The accounts of all users. An account exists while its user holds something.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Accounts {
    rows: Table<OfAccount, Row>,
    by_uid: BTreeMap<u32, AccountId>,
    total: Account,
    /// The bytes of all users who may do nothing.
    strangers: u64,
    guarantee: Guarantee,
    peak: Account,
    peak_per_uid: Account,
    /// Whether bytes were discharged since [`Accounts::take_freed`].
    freed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    uid: u32,
    /// Whether the user may do anything.
    effect: Effect,
    held: Account,
}

/// What one user holds, or the most that any held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Open connections.
    pub(crate) connections: u64,
    /// Bytes of items not read by their receiver, calls, registrations and incomplete frames.
    pub(crate) bytes: u64,
    /// Pending calls in no connection's list: one-way calls, and calls by datagram.
    pub(crate) loose_calls: u64,
}

/// The quota that would be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The user's.
    User,
    /// That of all users who may do nothing.
    Strangers,
    /// The broker's.
    Broker,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let none = Account::default();
        Self {
            rows: Table::new(),
            by_uid: BTreeMap::new(),
            total: none,
            strangers: 0,
            guarantee: Guarantee::default(),
            peak: none,
            peak_per_uid: none,
            freed: false,
        }
    }

    /// The account of a user. Charge something to it at once, because an empty account is closed by the next discharge.
    /// `effect` tells whether the user may do anything.
    pub(crate) fn open(&mut self, uid: u32, effect: Effect, limits: &Limits) -> AccountId {
        if let Some(id) = self.by_uid.get(&uid) {
            return *id;
        }
        let id = self.rows.insert(Row { uid, effect, held: Account::default() });
        self.by_uid.insert(uid, id);
        if effect == Effect::Allow {
            self.guarantee.set_users(|users| users + 1);
            self.settle(limits);
        }
        id
    }

    /// Fits what each user is sure of to new limits.
    pub(crate) fn settle(&mut self, limits: &Limits) {
        if self.guarantee.settle(limits) {
            self.guarantee.beyond = self.count_beyond();
        }
    }

    /// Closes an account if nothing was charged to it.
    pub(crate) fn close_if_empty(&mut self, id: AccountId) {
        if let Some(row) = self.rows.get(id)
            && row.held == Account::default()
        {
            self.by_uid.remove(&row.uid);
            if row.effect == Effect::Allow {
                self.guarantee.set_users(|users| users - 1);
            }
            self.rows.remove(id);
        }
    }

    /// Charges `bytes`, if they fit the part of the user's and the broker's quota that this use may fill. They do if the user is within
    /// what it is sure of, which is the usual case.
    #[inline(always)] // three times for each call, and the use is known where it is called
    pub(crate) fn charge_bytes(&mut self, id: AccountId, bytes: usize, of: Use, limits: &Limits) -> Result<(), Full> {
        let Some(row) = self.rows.get_mut(id) else { return Err(Full::User) };
        let of_user = row.held.bytes + bytes as u64;
        if row.effect == Effect::Deny || of_user > of.part_of(self.guarantee.each()) {
            self.charge_beyond(id, bytes as u64, of, limits)?;
        } else {
            row.held.bytes = of_user;
        }
        self.total.bytes += bytes as u64;
        self.peak.bytes = self.peak.bytes.max(self.total.bytes);
        self.peak_per_uid.bytes = self.peak_per_uid.bytes.max(of_user);
        Ok(())
    }

    /// Charges a user bytes that it is not sure of, if they fit.
    #[cold]
    fn charge_beyond(&mut self, id: AccountId, bytes: u64, of: Use, limits: &Limits) -> Result<(), Full> {
        let Some(row) = self.rows.get_mut(id) else { return Err(Full::User) };
        let of_user = row.held.bytes + bytes;
        match row.effect {
            Effect::Allow => self.guarantee.beyond = check(of, row.held.bytes, of_user, &self.guarantee, limits)?,
            Effect::Deny => {
                let of_strangers = self.strangers + bytes;
                check_stranger(of_user, of_strangers, bytes, &self.guarantee, limits)?;
                self.strangers = of_strangers;
                self.guarantee.beyond += bytes;
            }
        }
        row.held.bytes = of_user;
        Ok(())
    }

    /// Checks whether `bytes` more would fit now.
    pub(crate) fn has_room(&self, id: AccountId, bytes: usize, of: Use, limits: &Limits) -> Result<(), Full> {
        let Some(row) = self.rows.get(id) else { return Err(Full::User) };
        let of_user = row.held.bytes + bytes as u64;
        match row.effect {
            Effect::Allow if of_user <= of.part_of(self.guarantee.each()) => Ok(()),
            Effect::Allow => check(of, row.held.bytes, of_user, &self.guarantee, limits).map(drop),
            Effect::Deny => {
                check_stranger(of_user, self.strangers + bytes as u64, bytes as u64, &self.guarantee, limits)
            }
        }
    }

    /// Charges without checking limits: the caller has checked them, or cuts the holder next.
    pub(crate) fn charge(&mut self, id: AccountId, charge: Account) {
        let Some(row) = self.rows.get_mut(id) else { return };
        let before = row.held.bytes;
        row.held.add(charge);
        match row.effect {
            Effect::Allow => {
                let beyond = self.guarantee.beyond_of(row.held.bytes) - self.guarantee.beyond_of(before);
                self.guarantee.beyond += beyond;
            }
            Effect::Deny => {
                self.strangers += charge.bytes;
                self.guarantee.beyond += charge.bytes;
            }
        }
        self.total.add(charge);
        self.peak.raise(self.total);
        self.peak_per_uid.raise(row.held);
    }

    /// Takes a charge back.
    pub(crate) fn discharge(&mut self, id: AccountId, charge: Account) {
        let Some(row) = self.rows.get_mut(id) else { return };
        let before = row.held.bytes;
        row.held.subtract(charge);
        match row.effect {
            Effect::Allow if before <= self.guarantee.each() => {}
            Effect::Allow => self.guarantee.beyond -= charge.bytes.min(self.guarantee.beyond_of(before)),
            Effect::Deny => {
                self.strangers -= charge.bytes;
                self.guarantee.beyond -= charge.bytes;
            }
        }
        self.total.subtract(charge);
        self.freed |= charge.bytes > 0;
        if row.held == Account::default() {
            self.close_if_empty(id);
        }
    }

    /// Takes a charge of bytes back from an account that stays open.
    #[inline(always)] // as charge_bytes
    pub(crate) fn discharge_bytes(&mut self, id: AccountId, bytes: usize) {
        let Some(row) = self.rows.get_mut(id) else { return };
        let (before, effect, bytes) = (row.held.bytes, row.effect, bytes as u64);
        row.held.bytes -= bytes;
        self.total.bytes -= bytes;
        self.freed = true;
        if effect == Effect::Deny || before > self.guarantee.each() || before == bytes {
            self.discharge_beyond(id, effect, before, bytes);
        }
    }

    /// Takes back what a user wasn't sure of, and closes its account if it holds nothing now.
    #[cold]
    fn discharge_beyond(&mut self, id: AccountId, effect: Effect, before: u64, bytes: u64) {
        match effect {
            Effect::Allow => self.guarantee.beyond -= bytes.min(self.guarantee.beyond_of(before)),
            Effect::Deny => {
                self.strangers -= bytes;
                self.guarantee.beyond -= bytes;
            }
        }
        if before == bytes {
            self.close_if_empty(id);
        }
    }

    /// Has waiting frames looked at again: one that needed more room has left the front of the line.
    pub(crate) fn note_freed(&mut self) {
        self.freed = true;
    }

    /// Whether bytes were discharged since the last call of this.
    pub(crate) fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// What an account holds.
    pub(crate) fn held(&self, id: AccountId) -> Account {
        self.rows.get(id).map(|row| row.held).unwrap_or_default()
    }

    /// What one user holds.
    pub(crate) fn of(&self, uid: u32) -> Account {
        self.by_uid.get(&uid).map(|id| self.held(*id)).unwrap_or_default()
    }

    /// What all users hold.
    pub(crate) fn total(&self) -> Account {
        self.total
    }

    /// The most that all users ever held.
    pub(crate) fn peak(&self) -> Account {
        self.peak
    }

    /// Whether the user of an account may do anything.
    pub(crate) fn effect(&self, id: AccountId) -> Effect {
        self.rows.get(id).map_or(Effect::Deny, |row| row.effect)
    }

    /// Whether a user holds more than it is sure of.
    pub(crate) fn is_beyond(&self, id: AccountId) -> bool {
        let held = |row: &Row| row.effect == Effect::Deny || self.guarantee.beyond_of(row.held.bytes) > 0;
        self.rows.get(id).is_some_and(held)
    }

    /// The bytes of all users who may do nothing.
    pub(crate) fn strangers(&self) -> u64 {
        self.strangers
    }

    /// What all users hold beyond what they are sure of. For the invariants.
    pub(crate) fn beyond(&self) -> u64 {
        self.guarantee.beyond
    }

    /// The same, counted.
    pub(crate) fn count_beyond(&self) -> u64 {
        let of = |row: &Row| match row.effect {
            Effect::Allow => self.guarantee.beyond_of(row.held.bytes),
            Effect::Deny => row.held.bytes,
        };
        self.rows.iter().map(|(_, row)| of(row)).sum()
    }

    /// What each user holds. For the invariants.
    pub(crate) fn by_user(&self) -> BTreeMap<u32, Account> {
        self.rows.iter().map(|(_, row)| (row.uid, row.held)).collect()
    }

    /// The user of an account. For the invariants.
    pub(crate) fn uid(&self, id: AccountId) -> Option<u32> {
        self.rows.get(id).map(|row| row.uid)
    }

    /// The most that one user holds now.
    pub(crate) fn per_uid(&self) -> Account {
        let mut most = Account::default();
        self.rows.iter().for_each(|(_, row)| most.raise(row.held));
        most
    }

    /// The most that one user ever held.
    pub(crate) fn peak_per_uid(&self) -> Account {
        self.peak_per_uid
    }
}

impl Account {
    pub(crate) fn bytes(bytes: usize) -> Self {
        Self { bytes: bytes as u64, ..Self::default() }
    }

    pub(crate) fn connection() -> Self {
        Self { connections: 1, ..Self::default() }
    }

    pub(crate) fn loose_call() -> Self {
        Self { loose_calls: 1, ..Self::default() }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.bytes += other.bytes;
        self.loose_calls += other.loose_calls;
    }

    fn subtract(&mut self, other: Self) {
        self.connections -= other.connections;
        self.bytes -= other.bytes;
        self.loose_calls -= other.loose_calls;
    }

    fn raise(&mut self, other: Self) {
        self.connections = self.connections.max(other.connections);
        self.bytes = self.bytes.max(other.bytes);
        self.loose_calls = self.loose_calls.max(other.loose_calls);
    }
}

/// Checks whether a user may hold more than before, and whether what it isn't sure of is still to be had. Returns how much all users
/// hold of that then.
#[cold]
fn check(of: Use, before: u64, of_user: u64, guarantee: &Guarantee, limits: &Limits) -> Result<u64, Full> {
    if of_user > of.part_of(limits.bytes_per_uid) {
        return Err(Full::User);
    }
    let beyond = guarantee.beyond + guarantee.beyond_of(of_user) - guarantee.beyond_of(before);
    if beyond > of.part_of(guarantee.rest(limits)) {
        return Err(Full::Broker);
    }
    Ok(beyond)
}

/// Checks whether a user who may do nothing, and all such users together, may hold these bytes: an eighth of what others may, so that
/// they take no room from those, and nothing of what those are sure of.
#[cold]
fn check_stranger(
    of_user: u64,
    of_strangers: u64,
    more: u64,
    guarantee: &Guarantee,
    limits: &Limits,
) -> Result<(), Full> {
    if of_user > limits.bytes_per_uid / 8 {
        return Err(Full::User);
    }
    if of_strangers > limits.bytes_total / 8 || guarantee.beyond + more > guarantee.rest(limits) {
        return Err(Full::Strangers);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_closes_with_the_last_thing_it_held() {
        let mut accounts = Accounts::new();
        let id = accounts.open(7, Effect::Allow, &Limits::default());
        accounts.charge(id, Account::connection());
        accounts.charge_bytes(id, 10, Use::Unread, &Limits::default()).unwrap();
        accounts.discharge_bytes(id, 10);
        assert_eq!(accounts.open(7, Effect::Allow, &Limits::default()), id, "a connection holds it open");
        accounts.discharge(id, Account::connection());
        assert_eq!((accounts.held(id), accounts.by_user().len()), (Account::default(), 0));
    }

    #[test]
    fn strangers_hold_an_eighth_of_what_others_may() {
        let limits = Limits { bytes_per_uid: 800, bytes_total: 1_600, ..Limits::default() };
        let mut accounts = Accounts::new();
        let [one, two, three] = [7, 8, 9].map(|uid| accounts.open(uid, Effect::Deny, &limits));
        assert_eq!(accounts.charge_bytes(one, 101, Use::Unread, &limits), Err(Full::User));
        assert_eq!(accounts.charge_bytes(one, 100, Use::Unread, &limits), Ok(()));
        assert_eq!(accounts.charge_bytes(two, 100, Use::Unread, &limits), Ok(()));
        assert_eq!(accounts.charge_bytes(three, 1, Use::Unread, &limits), Err(Full::Strangers));
        let permitted = accounts.open(0, Effect::Allow, &limits);
        assert_eq!(accounts.charge_bytes(permitted, 600, Use::Waiting, &limits), Ok(()));
    }

    #[test]
    fn a_charge_that_does_not_fit_changes_nothing() {
        let limits = Limits { bytes_per_uid: 100, ..Limits::default() };
        let mut accounts = Accounts::new();
        let id = accounts.open(7, Effect::Allow, &limits);
        accounts.charge(id, Account::bytes(60));
        assert_eq!(accounts.charge_bytes(id, 30, Use::Waiting, &limits), Err(Full::User));
        assert_eq!(accounts.charge_bytes(id, 40, Use::Unread, &limits), Ok(()));
        assert_eq!((accounts.of(7).bytes, accounts.peak().bytes), (100, 100));
    }

    /// Limits under which each of up to ten users is sure of 1,000 bytes, of 20,000 that there are besides a frame.
    fn guaranteeing() -> Limits {
        let limits = Limits { bytes_guaranteed: 1_000, bytes_per_uid: 1 << 30, body_bytes: 1, ..Limits::default() };
        Limits { bytes_total: 20_000 + limits.least_quota(), ..limits }
    }

    #[test]
    fn a_user_has_what_it_is_sure_of_whatever_the_others_hold() {
        let limits = guaranteeing();
        let mut accounts = Accounts::new();
        let [greedy, late] = [7, 8].map(|uid| accounts.open(uid, Effect::Allow, &limits));
        while accounts.charge_bytes(greedy, 100, Use::Unread, &limits).is_ok() {}
        assert_eq!(accounts.charge_bytes(greedy, 100, Use::Unread, &limits), Err(Full::Broker));

        assert_eq!(accounts.charge_bytes(late, 1_000, Use::Unread, &limits), Ok(()));
        assert_eq!(accounts.charge_bytes(late, 100, Use::Unread, &limits), Err(Full::Broker));
        assert!(accounts.total().bytes <= limits.bytes_total);
        assert!(accounts.is_beyond(greedy) && !accounts.is_beyond(late));
    }

    #[test]
    fn all_that_users_are_sure_of_and_all_that_they_are_not_is_at_most_the_total() {
        let limits = guaranteeing();
        let mut accounts = Accounts::new();
        let users: Vec<_> = (0..40).map(|uid| accounts.open(uid, Effect::Allow, &limits)).collect();
        let strangers: Vec<_> = (40..80).map(|uid| accounts.open(uid, Effect::Deny, &limits)).collect();
        for of in [&users[..20], &strangers, &users[20..], &users] {
            of.iter().for_each(|id| while accounts.charge_bytes(*id, 10, Use::Unread, &limits).is_ok() {});
        }
        assert!(accounts.total().bytes <= limits.bytes_total);
        let least = users.iter().map(|id| accounts.held(*id).bytes).min();
        assert_eq!(least, Some(250), "there are too many of them for 1,000 or 500 each");
        assert_eq!(accounts.beyond(), accounts.count_beyond());
    }

    #[test]
    fn what_a_user_gives_back_is_free_for_others() {
        let limits = guaranteeing();
        let mut accounts = Accounts::new();
        let [one, two] = [7, 8].map(|uid| accounts.open(uid, Effect::Allow, &limits));
        while accounts.charge_bytes(one, 100, Use::Unread, &limits).is_ok() {}
        assert_eq!(accounts.charge_bytes(two, 4_000, Use::Unread, &limits), Err(Full::Broker));
        accounts.discharge_bytes(one, 2_000);
        accounts.discharge(one, Account::bytes(1_000));
        assert_eq!(accounts.charge_bytes(two, 4_000, Use::Unread, &limits), Ok(()));
        assert_eq!(accounts.beyond(), accounts.count_beyond());
    }
}
