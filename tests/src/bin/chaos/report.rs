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
    /// From the kill of a service to its death, in nanoseconds.
    pub(crate) deaths: Vec<u64>,
    /// How long the machine was busy with others, each time, in nanoseconds.
    pub(crate) stalls: Vec<u64>,
    pub(crate) harms: BTreeMap<Harm, u64>,
    pub(crate) broker: Vec<Holdings>,
    ends: BTreeMap<Told, u64>,
}

impl Report {
    pub(crate) fn count(&mut self, told: Told) {
        *self.ends.entry(told).or_default() += 1;
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
            writeln!(f, "{:>12.3} ms from kill to error, {name}", quantile(&self.delays, part))?;
        }
        writeln!(f, "{:>12.3} ms from kill to death, max", quantile(&self.deaths, 1_000))?;
        writeln!(f, "{:>12} times the machine was busy with others", self.stalls.len())?;
        writeln!(f, "{:>12.3} ms of that, max", quantile(&self.stalls, 1_000))?;
        let most = |of: fn(&Holdings) -> u64| self.broker.iter().map(of).max().unwrap_or(0);
        writeln!(f, "{:>12} descriptors of the idle broker at most", most(|one| one.descriptors as u64))?;
        writeln!(f, "{:>12} KiB resident of the idle broker at most", most(|one| one.resident_kib))
    }
}

/// The time that this part of a thousand did not exceed, in milliseconds.
fn quantile(times: &[u64], part: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * part / 1_000).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| *time as f64 / 1e6)
}
