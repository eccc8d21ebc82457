//! When memory is given back of what has gone: some time after the peers that caused it have left, and not at once, because they may
//! come back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// The next time.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tidying {
    due: Option<Moment>,
    /// How long it is put off. A row at the far end of a table may keep memory for long.
    pause: Duration,
}

impl Tidying {
    /// Notes after a connection has gone whether there is much to give back.
    pub(crate) fn note(&mut self, now: Moment, is_roomy: bool) {
        if is_roomy && self.due.is_none() {
            self.pause = SOON;
            self.due = Some(now.after(SOON));
        }
    }

    pub(crate) fn due(&self) -> Option<Moment> {
        self.due
    }

    /// Whether it is time.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Memory was given back, as far as it could be.
    pub(crate) fn done(&mut self, now: Moment, is_roomy: bool) {
        self.pause = (self.pause * 2).min(LATE);
        self.due = is_roomy.then(|| now.after(self.pause));
    }
}

/// The first time is soon, and once in a while if there was nothing to be had.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_soon_and_then_less_and_less_often() {
        let (mut tidying, mut now) = (Tidying::default(), Moment(0));
        tidying.note(now, false);
        assert_eq!(tidying.due(), None);
        let mut pauses = Vec::new();
        tidying.note(now, true);
        for _ in 0..9 {
            let due = tidying.due().unwrap();
            assert!(tidying.is_due(due) && !tidying.is_due(now));
            pauses.push(due.since(now).as_secs());
            now = due;
            tidying.note(now, true);
            tidying.done(now, true);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        tidying.done(now, false);
        assert_eq!(tidying.due(), None);
    }
}
