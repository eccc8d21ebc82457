//! The broker's life: new limits on HUP, a drain on TERM, the end.

use std::{io, time::Duration};

use super::{
    broker::{Phase, Server},
    notify::notify_stopping,
    signals::{Request, Signals},
};
use crate::core::Moment;

impl Server {
    pub(super) fn take_signals(&mut self, now: Moment) -> io::Result<()> {
        while let Some(request) = self.signals.as_ref().map_or(Ok(None), Signals::next)? {
            match request {
                Request::Reload => self.reload(now),
                Request::Stop if self.phase == Phase::Serving => self.drain(now),
                Request::Stop => self.stop(now),
            }
        }
        Ok(())
    }

    /// New limits, or the old ones and a line that says why.
    pub(super) fn reload(&mut self, now: Moment) {
        match self.config.reload() {
            Ok(limits) => {
                self.router.set_limits(now, self.descriptors.fit(limits), &mut self.out);
                self.apply(now);
                self.log.line(format_args!("event=reloaded"));
            }
            Err(error) => self.log.line(format_args!("event=reload_failed kept=old reason={:?}", error.to_string())),
        }
    }

    pub(super) fn drain(&mut self, now: Moment) {
        let patience = Duration::from_millis(self.router.limits().drain_ms);
        let _ = notify_stopping(); // a manager that doesn't read it does without
        self.phase = Phase::Draining(now.after(patience));
        if let Some(door) = self.door.take() {
            self.poller.remove(&door);
        }
        if let Some(site) = &mut self.site {
            site.leave();
        }
        self.router.drain(&mut self.out);
        self.apply(now);
    }

    pub(super) fn advance_phase(&mut self, now: Moment) {
        if let Phase::Draining(until) = self.phase
            && (now >= until || self.router.is_drained())
        {
            self.stop(now);
        }
    }

    pub(super) fn stop(&mut self, now: Moment) {
        self.router.stop(&mut self.out);
        self.apply(now);
        self.phase = Phase::Stopped;
    }
}
