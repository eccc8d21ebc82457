//! The join of what services have run with what callers were told.

use std::{collections::BTreeMap, fs, path::Path};

use ipc_client::ErrorCode;

use crate::{
    caller,
    ledger::{CallId, End, Ends, Flaw, Life, Runs, Safety, Told},
    processes::History,
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
pub(crate) fn judge(ledger: &Path, history: &History, report: &mut Report) -> Vec<String> {
    let mut lies = Vec::new();
    let accounts = read(ledger, &mut lies);
    for (life, account) in &accounts {
        account.judge(*life, &mut lies);
        report.calls += account.known();
        account.ends.values().for_each(|end| report.count(end.told));
        report.unheard += account.known() - account.ends.len() as u64;
        report.delays.extend(account.ends.values().filter_map(|end| delay(end, history)));
        report.runs += account.runs.values().map(|runs| u64::from(*runs)).sum::<u64>();
    }
    report.deaths.extend(&history.deaths);
    report.stalls.extend(history.stalls.iter().map(|(from, to)| to - from));
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
        let told = || format!("of service {} ended with {}", end.kind, end.told);
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
fn delay(end: &End, history: &History) -> Option<u64> {
    let is_gone = matches!(end.told, Told::Failed(code, _) if code == ErrorCode::SERVICE_GONE.0);
    if !is_gone || !caller::is_prompt(end.id.life().caller) {
        return None;
    }
    let killed = history.kills.iter().filter(|(at, kind)| *at <= end.at && kind.number() == end.kind);
    let killed = killed.map(|(at, _)| *at).max()?;
    let overlaps = |from: u64, to: u64| from <= end.at && killed <= to;
    let is_excused = history.without_broker.iter().chain(&history.stalls).any(|(from, to)| overlaps(*from, *to));
    let caller = end.id.life().caller;
    let was_stopped = history.without_caller.iter().any(|(who, from, to)| *who == caller && overlaps(*from, *to));
    (!is_excused && !was_stopped).then(|| end.at - killed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{place::Place, work::Kind};

    const LIFE: Life = Life { caller: 3, number: 1 };
    const SAFE: Told = Told::Failed(ErrorCode::BUSY.0, Safety::Safe);
    const UNKNOWN: Told = Told::Failed(ErrorCode::BROKER_LOST.0, Safety::Unknown);

    fn id(serial: u64) -> CallId {
        CallId::new(LIFE, serial)
    }

    /// What is found when these calls have run, these ends were told, and the caller says that it made that many.
    fn lies(runs: &[u64], ends: &[(u64, Told)], calls: Option<u64>) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().to_owned();
        let place = Place { index: 3, life: 1, socket: "/".into(), ledger, seed: 0, rate: 0 };
        let (written, told) = (Runs::create(&place), Ends::create(&place));
        runs.iter().for_each(|serial| written.ran(id(*serial)));
        ends.iter().for_each(|(serial, end)| told.told(&[End::now(id(*serial), *end, Kind::Pool)]));
        calls.iter().for_each(|calls| told.finish(LIFE, *calls));
        judge(directory.path(), &History::default(), &mut Report::default())
    }

    #[test]
    fn what_was_told_and_what_has_run_agree() {
        let ends =
            [(0, Told::Answered), (1, SAFE), (2, UNKNOWN), (3, UNKNOWN), (4, Told::GivenUp), (5, Told::Accepted)];
        assert_eq!(lies(&[0, 3, 5], &ends, Some(6)), Vec::<String>::new());
    }

    #[test]
    fn an_answered_call_that_has_not_run_is_a_lie() {
        let found = lies(&[], &[(0, Told::Answered)], Some(1));
        assert_eq!(found, ["call 0 of caller 3.1 of service 1 ended with answered; it ran 0 times"]);
    }

    #[test]
    fn a_safe_call_that_has_run_is_a_lie() {
        assert_eq!(lies(&[1], &[(0, SAFE), (1, SAFE)], Some(2)).len(), 1);
    }

    #[test]
    fn a_call_that_runs_twice_is_a_lie_whatever_was_told() {
        assert_eq!(lies(&[0, 0, 1, 1, 2, 2], &[(0, Told::Answered), (1, UNKNOWN)], None).len(), 3);
    }

    #[test]
    fn a_call_that_ends_twice_is_a_lie() {
        assert_eq!(lies(&[0], &[(0, UNKNOWN), (0, UNKNOWN)], Some(1)), ["call 0 of caller 3.1 ended twice"]);
    }

    #[test]
    fn a_call_that_never_ends_is_a_lie_unless_its_caller_was_killed() {
        assert_eq!(lies(&[0, 1], &[(0, Told::Answered)], Some(2)).len(), 1);
        assert_eq!(lies(&[0, 1], &[(0, Told::Answered)], None).len(), 0);
    }

    #[test]
    fn a_delay_is_that_since_the_last_kill_unless_other_harm_explains_it() {
        let gone = Told::Failed(ErrorCode::SERVICE_GONE.0, Safety::Unknown);
        let end = End { at: 1_000, ..End::now(id(0), gone, Kind::Pool) };
        let kills = vec![(100, Kind::Pool), (900, Kind::Pool), (950, Kind::Slow), (1_100, Kind::Pool)];
        let calm = History { kills, ..History::default() };
        assert_eq!(delay(&end, &calm), Some(100));
        let stopped = History { without_caller: vec![(3, 0, 901)], ..calm };
        assert_eq!(delay(&end, &stopped), None);
    }
}
