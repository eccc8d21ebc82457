//! The join of what services have run with what callers were told.

use std::{collections::BTreeMap, fs, path::Path};

use ipc_client::ErrorCode;

use crate::{
    cast::Chronicle,
    ledger::{CallId, End, Ends, Flaw, Life, Runs, Safety, Told},
    report::Report,
};

/// What is known of the calls of one life of a caller.
#[derive(Debug, Default)]
struct Account {
    ends: BTreeMap<u64, End>,
    runs: BTreeMap<u64, u32>,
    /// How many calls there were, if the caller has lived to say so.
    calls: Option<u64>,
}

/// Joins the ledger of a round, adds it to the report, and returns what is not true.
pub(crate) fn judge(ledger: &Path, chronicle: &Chronicle, report: &mut Report) -> Vec<String> {
    let mut lies = Vec::new();
    let accounts = read(ledger, &mut lies);
    for (life, account) in &accounts {
        account.judge(*life, &mut lies);
        report.calls += account.known();
        account.ends.values().for_each(|end| report.count(end.told));
        report.unheard += account.known() - account.ends.len() as u64;
        report.delays.extend(account.ends.values().filter_map(|end| delay(end, chronicle)));
        report.runs += account.runs.values().map(|runs| u64::from(*runs)).sum::<u64>();
    }
    lies
}

fn read(ledger: &Path, lies: &mut Vec<String>) -> BTreeMap<Life, Account> {
    let mut accounts: BTreeMap<Life, Account> = BTreeMap::new();
    for entry in fs::read_dir(ledger).expect("it was written").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with("runs.") {
            for id in Runs::read(&path) {
                *accounts.entry(id.life()).or_default().runs.entry(id.serial()).or_default() += 1;
            }
        } else if let Some(life) = name.strip_prefix("ends.").and_then(life_of) {
            let (ends, calls) = Ends::read(&path);
            let account = accounts.entry(life).or_default();
            account.calls = calls;
            for end in ends {
                let is_second = account.ends.insert(end.id.serial(), end).is_some();
                if is_second || end.flaw == Flaw::Again {
                    lies.push(format!("{} ended twice", end.id));
                }
            }
        }
    }
    accounts
}

fn life_of(name: &str) -> Option<Life> {
    let (caller, number) = name.split_once('.')?;
    Some(Life { caller: caller.parse().ok()?, number: number.parse().ok()? })
}

impl Account {
    fn judge(&self, life: Life, lies: &mut Vec<String>) {
        for serial in 0..self.known() {
            let runs = self.runs.get(&serial).copied().unwrap_or(0);
            if let Some(lie) = self.lie_about(serial, runs) {
                lies.push(format!("{} {lie}; it ran {runs} times", CallId::new(life, serial)));
            }
        }
    }

    fn lie_about(&self, serial: u64, runs: u32) -> Option<String> {
        let Some(end) = self.ends.get(&serial) else {
            let never = self.calls.is_some().then(|| "never ended".to_owned());
            return never.or_else(|| (runs > 1).then(|| "had a caller that was killed".to_owned()));
        };
        let possible = match end.told {
            Told::Answered => 1..=1,
            Told::Failed(_, Safety::Safe) => 0..=0,
            Told::Failed(_, Safety::Unknown) | Told::Accepted | Told::GivenUp => 0..=1,
        };
        let told = || format!("of service {} ended with {}", end.troupe, end.told);
        match end.flaw {
            Flaw::None => (!possible.contains(&runs)).then(told),
            Flaw::Late => Some(format!("{}, long after its deadline", told())),
            Flaw::Wrong => Some(format!("{}, with the reply to another call", told())),
            Flaw::Again => None, // reported already
        }
    }

    /// How many calls there were, as far as is known.
    fn known(&self) -> u64 {
        let last = |serial: Option<&u64>| serial.map_or(0, |serial| serial + 1);
        let seen = last(self.ends.keys().next_back()).max(last(self.runs.keys().next_back()));
        self.calls.unwrap_or(0).max(seen)
    }
}

/// How long after the death of its service a caller was told, unless the broker or the caller could not act meanwhile.
fn delay(end: &End, chronicle: &Chronicle) -> Option<u64> {
    if !matches!(end.told, Told::Failed(code, _) if code == ErrorCode::SERVICE_GONE.0) {
        return None;
    }
    let killed = chronicle.kills.iter().filter(|(at, troupe)| *at <= end.at && troupe.number() == end.troupe);
    let killed = killed.map(|(at, _)| *at).max()?;
    let overlaps = |from: u64, to: u64| from <= end.at && killed <= to;
    let is_excused = chronicle.without_broker.iter().any(|(from, to)| overlaps(*from, *to));
    let caller = end.id.life().caller;
    let was_stopped = chronicle.without_caller.iter().any(|(who, from, to)| *who == caller && overlaps(*from, *to));
    (!is_excused && !was_stopped).then(|| end.at - killed)
}
