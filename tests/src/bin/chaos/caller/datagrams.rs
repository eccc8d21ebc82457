//! Calls by datagram.

use std::time::Duration;

use ipc_client::Datagram;
use ipc_tests::eventually::within;

use super::{
    Begun, Journal,
    library::{end_of_bytes, request},
    pace::Pace,
};
use crate::{
    ledger::Told,
    place::{Halt, Place},
    work::{Kind, Work},
};

/// Calls by datagram, one call at a time.
pub(super) fn call(place: &Place, mut pace: Pace, halt: &Halt, journal: &Journal) {
    let mut dice = place.dice(0xD6);
    let mut datagram = None;
    within(Duration::from_secs(3_600), || {
        datagram = Datagram::connect_to(&place.address()).ok();
        datagram.is_some() || halt.is_asked()
    });
    let Some(datagram) = datagram else { return };
    while pace.take(1, halt).is_some() {
        let kind = Kind::roll(&mut dice, journal.rate);
        let begun = Begun::now(journal.next(), kind, TIMEOUT);
        let work = Work::roll(&mut dice, begun.id, kind, LONGEST);
        let request = request(kind, &work).timeout(TIMEOUT);
        let end = if dice.once_in(4) {
            datagram.one_way(request).map_or_else(|error| begun.fails(&error), |()| begun.ends(Told::Accepted))
        } else {
            end_of_bytes(&begun, &work, datagram.call_bytes(request))
        };
        journal.ends.told(&[end]);
    }
}

/// Short, for a datagram may be lost, and then its caller waits for as long.
const TIMEOUT: Duration = Duration::from_millis(300);
/// What fits.
const LONGEST: u64 = 60_000;
