//! Which services are offered as tools, and what they say of themselves.

use std::{
    sync::{Arc, Mutex, Once, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ipc_client::{
    Client, MethodName, Notice, Pattern, Result, ServiceName,
    control::{self, operation},
};

use super::tools::{Offered, Tools};
use crate::lookup;

/// The services that match the patterns on the command line.
#[derive(Debug)]
pub(super) struct Directory {
    client: Client,
    patterns: Vec<Pattern>,
    tools: Mutex<Arc<Tools>>,
    waited: Once,
}

impl Directory {
    pub(super) fn new(client: Client, patterns: Vec<Pattern>) -> Self {
        Self { client, patterns, tools: Mutex::default(), waited: Once::new() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for services that are named in full, up to [`WAIT`] in all: an agent often starts together with what it uses, and reads
    /// the list once. So is it for the first who asks, and for those who ask meanwhile.
    pub(super) fn wait(&self) {
        self.waited.call_once(|| self.wait_for_named());
    }

    fn wait_for_named(&self) {
        let until = Instant::now() + WAIT;
        for name in self.patterns.iter().filter_map(named) {
            let wait = control::Wait { name, gone: false, target: true };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.client.ask::<operation::Wait>(&wait, Some(left)).is_err() {
                continue; // what isn't there isn't listed
            }
        }
    }

    /// The tools as they were last looked up.
    pub(super) fn known(&self) -> Arc<Tools> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks the tools up again.
    ///
    /// # Errors
    /// The broker isn't there or doesn't answer; what was known stays so.
    pub(super) fn refresh(&self) -> Result<Arc<Tools>> {
        let tools = Arc::new(self.look()?);
        *self.tools.lock().unwrap_or_else(PoisonError::into_inner) = tools.clone();
        Ok(tools)
    }

    /// Calls `changed` whenever the tools have become others; never returns. Who may not watch names looks at them now and then.
    pub(super) fn follow(&self, changed: impl Fn()) {
        loop {
            let Ok(mut instances) = self.client.subscribe(INSTANCES) else {
                thread::sleep(LOOK_AGAIN);
                self.compare(&changed);
                continue;
            };
            self.compare(&changed); // what has changed before it was watched
            while let Ok(notice) = instances.next_within(Duration::MAX) {
                if !notice.is_some_and(|notice| self.is_concerned(&notice)) {
                    continue;
                }
                // Services come in crowds.
                while matches!(instances.next_within(CROWD), Ok(Some(_))) {}
                self.compare(&changed);
            }
        }
    }

    /// Whether a service comes or goes that is offered; any may have, if something was missed.
    fn is_concerned(&self, notice: &Notice) -> bool {
        let Notice::Event(event) = notice else { return true };
        let name = event.decode::<control::InstanceEvent>().ok().and_then(|instance| instance.name);
        name.is_some_and(|name| self.is_wanted(&name))
    }

    fn compare(&self, changed: &impl Fn()) {
        let before = self.known();
        if self.refresh().is_ok_and(|tools| *tools != *before) {
            changed();
        }
    }

    fn look(&self) -> Result<Tools> {
        let until = Instant::now() + PATIENCE;
        let names = self.names(until)?;
        Ok(Tools::of(names.iter().filter_map(|name| self.offered(name, until))))
    }

    /// The names that a pattern matches, or whose methods one may match.
    fn names(&self, until: Instant) -> Result<Vec<ServiceName>> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let question = control::List { pattern: None, after: after.clone() };
            let page = self.client.ask::<operation::List>(&question, Some(PATIENCE))?;
            names.extend(page.names.into_iter().filter(|name| self.is_wanted(name)));
            names.truncate(MOST_SERVICES);
            if page.next <= after || Instant::now() >= until {
                return Ok(names);
            }
            after = page.next;
        }
    }

    fn is_wanted(&self, service: &ServiceName) -> bool {
        let below = format!("{service}.");
        self.patterns.iter().any(|pattern| pattern.matches(service.as_str()) || pattern.as_str().starts_with(&below))
    }

    /// A service that has gone meanwhile, doesn't answer, or may not be called by this user isn't offered.
    fn offered(&self, name: &ServiceName, until: Instant) -> Option<Offered> {
        let left = lookup::ASIDE.min(until.saturating_duration_since(Instant::now()));
        let found = lookup::find_with(&self.client, name, left).ok()?;
        let description = lookup::describe(&self.client, &found, left).ok()?;
        let mut methods: Vec<MethodName> = match &description {
            Some(description) => description.methods.keys().cloned().collect(),
            None => found.shown.methods,
        };
        if !self.patterns.iter().any(|pattern| pattern.matches(name.as_str())) {
            if methods.is_empty() && description.is_none() {
                methods = self.patterns.iter().filter_map(|pattern| method(name, pattern)).collect();
            }
            let dotted = |method: &MethodName| format!("{name}.{method}");
            methods.retain(|method| self.patterns.iter().any(|pattern| pattern.matches(&dotted(method))));
            if methods.is_empty() {
                return None;
            }
        }
        Some(Offered { service: name.clone(), description, methods })
    }
}

/// The name that a pattern consists of, if it matches no other.
fn named(pattern: &Pattern) -> Option<ServiceName> {
    ServiceName::parse(pattern.as_str()).ok()
}

/// The method of a service that a pattern names.
fn method(service: &ServiceName, pattern: &Pattern) -> Option<MethodName> {
    let method = pattern.as_str().strip_prefix(service.as_str())?.strip_prefix('.')?;
    MethodName::parse(method).ok().filter(|method| !method.as_str().is_empty())
}

/// The broker's events about those who offer names. One that says something else of itself registers anew.
const INSTANCES: &str = "ipc.instance.*";
/// How long named services are waited for.
const WAIT: Duration = Duration::from_secs(1);
/// How long all that is asked for one list may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often names are looked at by those who may not watch them.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long more news is waited for.
const CROWD: Duration = Duration::from_millis(50);
/// More than any client shows.
const MOST_SERVICES: usize = 1_000;
