//! The broker's life: serving, draining on TERM, new limits on HUP, the end.

use std::{io, os::fd::OwnedFd};

use super::{
    config::Config,
    descriptors::{Descriptors, connections_lowered},
    log::Log,
    memory::{Memory, bytes_lowered},
    notify::Notifier,
    poller::{Interest, Poller, Source},
    sandbox::{Sandbox, directory_of},
    signals::{Request, Signals},
    site::{Look, Site},
};
use crate::core::{Limits, Moment};

/// The broker's phase, and what it holds until its end.
#[derive(Debug)]
pub(crate) struct Life {
    config: Config,
    phase: Phase,
    signals: Option<Signals>,
    stop: Option<OwnedFd>,
    notifier: Notifier,
    /// The address of the broker, unless its sockets are inherited.
    site: Option<Site>,
    descriptors: Descriptors,
    memory: Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Running calls may finish until this moment.
    Draining(Moment),
    Stopped,
}

/// A change that a signal requests.
#[derive(Debug)]
pub(crate) enum Turning {
    /// Use these limits.
    Limits(Box<Limits>),
    /// Accept no new calls, and let running ones finish.
    Drain,
    /// End now.
    Stop,
}

impl Life {
    pub(crate) fn new(config: Config, site: Option<Site>, descriptors: Descriptors, memory: Memory) -> Self {
        Self {
            config,
            phase: Phase::Serving,
            signals: None,
            stop: None,
            notifier: Notifier::default(),
            site,
            descriptors,
            memory,
        }
    }

    /// Ends when `stop` becomes readable.
    pub(crate) fn stop_with(&mut self, stop: OwnedFd, poller: &Poller) -> io::Result<()> {
        poller.add(&stop, Source::Stop, Interest::READ)?;
        self.stop = Some(stop);
        Ok(())
    }

    /// Ends on a signal, and notifies a service manager.
    pub(crate) fn stop_on(&mut self, signals: Signals, notifier: Notifier, poller: &Poller) -> io::Result<()> {
        poller.add(&signals, Source::Signals, Interest::READ)?;
        self.signals = Some(signals);
        self.notifier = notifier;
        Ok(())
    }

    /// The request of the next signal, `None` if no signal is pending.
    pub(crate) fn next_signal(&mut self, now: Moment, log: &mut Log) -> io::Result<Option<Turning>> {
        loop {
            let Some(request) = self.signals.as_ref().map_or(Ok(None), Signals::next)? else { return Ok(None) };
            match request {
                Request::Reload => {
                    if let Some(limits) = self.reload(log) {
                        return Ok(Some(Turning::Limits(Box::new(limits))));
                    }
                }
                Request::Stop if self.phase == Phase::Serving => {
                    self.notifier.stopping();
                    self.phase = Phase::Draining(now.after_ms(self.config.limits.drain_ms));
                    if let Some(site) = &mut self.site {
                        site.leave();
                    }
                    return Ok(Some(Turning::Drain));
                }
                Request::Stop => return Ok(Some(self.end())),
            }
        }
    }

    /// The end, when `stop` was readable or the drain is over.
    pub(crate) fn end(&mut self) -> Turning {
        self.phase = Phase::Stopped;
        Turning::Stop
    }

    /// Whether the drain is over: nothing is left to finish, or its time is up.
    pub(crate) fn is_over(&self, now: Moment, is_drained: impl FnOnce() -> bool) -> bool {
        matches!(self.phase, Phase::Draining(until) if now >= until || is_drained())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// The latest moment at which [`Life::is_over`] becomes true.
    pub(crate) fn drained_by(&self) -> Option<Moment> {
        match self.phase {
            Phase::Draining(until) => Some(until),
            Phase::Serving | Phase::Stopped => None,
        }
    }

    /// The sandbox for this life. `answers_datagrams` says whether there is a datagram socket.
    pub(crate) fn sandbox(&self, answers_datagrams: bool) -> Sandbox {
        let directory = self.site.as_ref().map(|site| directory_of(site.path()));
        Sandbox { directory, config: self.config.file.clone(), answers_datagrams }
    }

    /// When [`Life::look`] or [`Life::feed_watchdog`] has something to do.
    pub(crate) fn next_chore(&self) -> Option<Moment> {
        Moment::first(self.site.as_ref().map(Site::next_look), self.notifier.next_feed())
    }

    /// Tells the watchdog that the loop turns, when it is time.
    pub(crate) fn feed_watchdog(&mut self, now: Moment) {
        self.notifier.feed(now);
    }

    /// Checks the files of the sockets when it is time.
    pub(crate) fn look(&mut self, now: Moment) -> Look {
        match &mut self.site {
            Some(site) if site.next_look() <= now => site.look(now),
            _ => Look::Unchanged,
        }
    }

    /// New limits, or `None` and a line that says why the old ones stay.
    fn reload(&mut self, log: &mut Log) -> Option<Limits> {
        match self.config.reload() {
            Ok(limits) => {
                log.line(format_args!("event=reloaded"));
                let fitted = self.memory.fit(self.descriptors.fit(limits.clone()));
                let connections = connections_lowered(limits.connections, fitted.connections);
                let bytes = bytes_lowered(limits.bytes_total, fitted.bytes_total);
                connections.into_iter().chain(bytes).for_each(|line| log.line(format_args!("{line}")));
                self.config.limits = limits;
                Some(fitted)
            }
            Err(error) => {
                log.line(format_args!("event=reload_failed kept=old reason={:?}", error.to_string()));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_protocol::transport::{Address, Rights};
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[test]
    fn the_first_term_drains_and_the_second_one_ends() {
        let config = Config::new(Address::Abstract(b"life".to_vec()));
        let (poller, mut log) = (Poller::new().unwrap(), Log::new(false));
        let mut life = Life::new(config, None, Descriptors::count(Rights::Refused), Memory::count());
        life.stop_on(Signals::block().unwrap(), Notifier::default(), &poller).unwrap();

        raise(Signal::SIGTERM).unwrap();
        assert!(matches!(life.next_signal(Moment(0), &mut log).unwrap(), Some(Turning::Drain)));
        let until = life.drained_by().unwrap();
        assert!(!life.is_over(Moment(0), || false) && !life.has_ended());
        assert!(life.is_over(until, || false), "its time is up");
        assert!(life.is_over(Moment(0), || true), "nothing is left to finish");

        raise(Signal::SIGTERM).unwrap();
        assert!(matches!(life.next_signal(Moment(0), &mut log).unwrap(), Some(Turning::Stop)));
        assert!(life.has_ended() && life.drained_by().is_none());
    }
}
