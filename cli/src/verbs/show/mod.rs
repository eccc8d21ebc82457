//! `ipcctl show`: everything about one name.

mod described;

use ipc_client::{Description, ServiceName, control};

use crate::{
    exit::Exit,
    format::Format,
    globals::Globals,
    link::Link,
    lookup::{self, Found},
    out,
    problem::{Problem, Result},
    table::{self, Cell},
};

/// Show everything about one name: its methods, its calls, the processes behind it; who holds a lock of that name, and who waits.
///
/// What a service says of its methods stands below: what they are for, their fields and types.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl show calc\n  ipcctl show calc.add      # the same, of one method\n  \
    ipcctl show calc.add -o json    # with the JSON Schemas of its request, reply and error\n  \
    ipcctl show calc.cleared        # an event")]
pub(crate) struct Args {
    /// The name of a service, SERVICE.METHOD, or the topic of an event of a service
    name: ServiceName,
}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        let link = globals.connect("show")?;
        let found = lookup::find(&self.name, |show| link.try_ask("show", show));
        let is_registered =
            |found: &Found| found.method.as_ref().is_none_or(|method| found.shown.methods.contains(method));
        if !found.as_ref().is_ok_and(is_registered)
            && let Some((shown, event)) = self.event(&link)
        {
            return print_event(shown, &event, globals.format);
        }
        let mut found = found.map_err(|error| Problem::from_error(self.name.as_str(), &error))?;
        if found.method.is_some() && !found.may_have_method() {
            let problem = Problem::from_error(self.name.as_str(), &found.no_method());
            return Err(problem.hint(found.other_methods()));
        }
        let mut description = described_by(&link, &found);
        if let Some(method) = &found.method {
            found.shown.methods.retain(|known| known == method);
            description.methods.retain(|name, _| name == method);
        }
        match globals.format {
            Format::Text => {
                let table = table::render(&rows(&found.shown));
                out::print(&(table + &described::text(found.shown.name.as_str(), &description)))?;
            }
            Format::Json => out::ndjson(&[Whole { shown: &found.shown, described: described::json(&description) }])?,
        }
        Ok(Exit::SUCCESS)
    }

    /// The event of this name, and the service that says that it publishes it: one whose name the topic begins with.
    fn event(&self, link: &Link<'_>) -> Option<(control::Shown, Description)> {
        let topic = self.name.as_str();
        let mut services = topic.rmatch_indices('.').filter_map(|(at, _)| ServiceName::parse(topic.get(..at)?).ok());
        services.find_map(|service| {
            let found = lookup::find(&service, |show| link.try_ask("show", show)).ok()?;
            let mut description = described_by(link, &found);
            description.events.retain(|known, _| known == topic);
            description.methods.clear();
            description.about.clear();
            (!description.events.is_empty()).then_some((found.shown, description))
        })
    }
}

/// What a service says of itself. One that doesn't answer is shown all the same.
fn described_by(link: &Link<'_>, found: &Found) -> Description {
    lookup::describe(link.client(), found, lookup::ASIDE).ok().flatten().unwrap_or_default()
}

fn print_event(mut shown: control::Shown, event: &Description, format: Format) -> Result<Exit> {
    match format {
        Format::Text => out::print(described::text(shown.name.as_str(), event).trim_start_matches('\n'))?,
        Format::Json => {
            shown.methods.clear();
            out::ndjson(&[Whole { shown: &shown, described: described::json(event) }])?;
        }
    }
    Ok(Exit::SUCCESS)
}

/// What the broker knows, and what the service says.
#[derive(serde::Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    shown: &'a control::Shown,
    #[serde(flatten)]
    described: serde_json::Map<String, serde_json::Value>,
}

/// `name value` rows; an instance is a row, so that `grep ^instance` finds them all.
fn rows(shown: &control::Shown) -> Vec<Vec<Cell>> {
    let row = |name: &str, value: String| vec![Cell::text(name), Cell::text(value)];
    let methods: Vec<&str> = shown.methods.iter().map(|method| method_name(method.as_str())).collect();
    if let Some(lock) = shown.lock.as_ref().filter(|_| shown.instances.is_empty()) {
        let mut rows = vec![row("name", shown.name.to_string())];
        rows.extend(lock_rows(lock));
        return rows;
    }
    let mut rows = vec![
        row("name", shown.name.to_string()),
        row("shared", if shown.shared { "yes" } else { "no" }.to_owned()),
        row("methods", methods.join(" ")),
        row("queued", shown.queued.to_string()),
        row("calls", shown.calls.to_string()),
    ];
    rows.extend(shown.instances.iter().map(|instance| row("instance", describe(instance))));
    rows.extend(shown.lock.iter().flat_map(lock_rows));
    rows
}

/// Who holds a lock, and who waits for it, in order.
fn lock_rows(lock: &control::LockShown) -> Vec<Vec<Cell>> {
    let row = |name: &str, value: String| vec![Cell::text(name), Cell::text(value)];
    let mut rows = vec![row("places", lock.places.to_string())];
    rows.extend(lock.holders.iter().map(|holder| row("holder", party(holder))));
    rows.extend(lock.waiting.iter().map(|waiter| row("waiting", party(waiter))));
    let more = (lock.waiters as usize).saturating_sub(lock.waiting.len());
    if more > 0 {
        rows.push(row("waiting", format!("and {more} more")));
    }
    rows
}

fn party(party: &control::LockWaiter) -> String {
    let control::LockWaiter { peer, uid, pid, agent } = party;
    format!("{peer} uid {uid} pid {}, {agent}", known(*pid))
}

fn known(pid: Option<u32>) -> String {
    pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
}

fn describe(instance: &control::Instance) -> String {
    let control::Instance { peer, uid, pid, agent, window, in_flight, .. } = instance;
    let pid = known(*pid);
    format!("{peer} uid {uid} pid {pid} in flight {in_flight} of {window}, {agent}")
}

fn method_name(method: &str) -> &str {
    if method.is_empty() { "(default)" } else { method }
}

#[cfg(test)]
mod tests {
    use ipc_client::{MethodName, PeerNumber};

    use super::*;

    #[test]
    fn each_fact_has_its_line() {
        let instance = control::Instance {
            peer: PeerNumber(7),
            uid: 1000,
            pid: Some(42),
            agent: "calc\n1".into(),
            window: 64,
            in_flight: 2,
            description: None,
        };
        let shown = control::Shown {
            lock: None,
            name: ServiceName::parse("calc").unwrap(),
            shared: false,
            methods: vec![MethodName::default(), MethodName::parse("add").unwrap()],
            queued: 0,
            calls: 12,
            instances: vec![instance],
        };
        let expected = "name      calc\nshared    no\nmethods   (default) add\nqueued    0\ncalls     12\n\
                        instance  @7 uid 1000 pid 42 in flight 2 of 64, calc\\n1\n";
        assert_eq!(table::render(&rows(&shown)), expected);
    }

    #[test]
    fn a_lock_is_shown_with_those_who_hold_it_and_those_who_wait() {
        let party =
            |peer, pid| control::LockWaiter { peer: PeerNumber(peer), uid: 7, pid, agent: "ipcctl lock".into() };
        let (holders, waiting) = (vec![party(1, Some(42))], vec![party(2, None)]);
        let lock = control::LockShown { places: 1, holders, waiting, waiters: 3 };
        let shown = control::Shown {
            lock: Some(lock),
            name: ServiceName::parse("job").unwrap(),
            shared: false,
            methods: vec![],
            queued: 0,
            calls: 0,
            instances: vec![],
        };
        let expected = "name     job\nplaces   1\nholder   @1 uid 7 pid 42, ipcctl lock\n\
                        waiting  @2 uid 7 pid unknown, ipcctl lock\nwaiting  and 2 more\n";
        assert_eq!(table::render(&rows(&shown)), expected);
    }
}
