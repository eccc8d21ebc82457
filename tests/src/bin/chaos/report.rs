//! What has happened in all rounds.

use std::{collections::BTreeMap, fmt};

use crate::{harm::Harm, ledger::Told, processes::Holdings};

/// Sums over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) calls: u64,
    /// Calls that ran.
    pub(crate) runs: u64,
    /// Calls whose caller was killed before it could say how they ended.
    pub(crate) unheard: u64,
    /// From the kill of a service to what its callers were told, in nanoseconds.
    pub(crate) delays: Vec<u64>,
    pub(crate) harms: BTreeMap<Harm, u64>,
    pub(crate) broker: Vec<Holdings>,
    ends: BTreeMap<Told, u64>,
}

impl Report {
    pub(crate) fn count(&mut self, told: Told) {
        *self.ends.entry(told).or_default() += 1;
    }

    /// The delay that this part of a thousand calls did not exceed, in milliseconds.
    fn delay(&self, part: usize) -> f64 {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let at = (delays.len() * part / 1_000).min(delays.len().saturating_sub(1));
        delays.get(at).map_or(0.0, |delay| *delay as f64 / 1e6)
    }
}

/// One fact a line, its value first, so that a script can find both.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} calls", self.calls)?;
        writeln!(f, "{:>12} runs", self.runs)?;
        for (told, count) in &self.ends {
            writeln!(f, "{count:>12} {told}")?;
        }
        writeln!(f, "{:>12} whose caller was killed", self.unheard)?;
        for (harm, count) in &self.harms {
            writeln!(f, "{count:>12} times {harm:?}")?;
        }
        writeln!(f, "{:>12} calls told of a killed service, with no other harm meanwhile", self.delays.len())?;
        for (name, part) in [("p50", 500), ("p99", 990), ("max", 1_000)] {
            writeln!(f, "{:>12.3} ms from kill to error, {name}", self.delay(part))?;
        }
        let most = |of: fn(&Holdings) -> u64| self.broker.iter().map(of).max().unwrap_or(0);
        writeln!(f, "{:>12} descriptors of the idle broker at most", most(|one| one.descriptors as u64))?;
        writeln!(f, "{:>12} KiB resident of the idle broker at most", most(|one| one.resident_kib))
    }
}
