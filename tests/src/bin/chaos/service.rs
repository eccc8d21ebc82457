//! A service: it writes each call down before it runs it, and comes back whatever its broker says.

use std::{sync::Arc, time::Duration};

use ipc_client::{Context, ErrorCode, Failed, Incoming, Response, Service, Stopper};
use ipc_tests::eventually::within;

use crate::{
    ledger::Runs,
    place::{Halt, Place},
    work::{Act, Kind, Work},
};

/// Serves until standard input ends.
pub(crate) fn run(place: &Place) {
    std::panic::set_hook(Box::new(|_| ())); // its methods panic on purpose
    let stopper = Stopper::new().expect("a descriptor");
    let halt = Halt::watch(Some(stopper.clone()));
    let runs = Arc::new(Runs::create(place));
    while !halt.is_asked() {
        // A name that is still taken by the life before, or a broker that is gone or full: it tries again.
        let _ = service(place, &runs).address(&place.address()).stopped_by(&stopper).run();
        within(Duration::from_millis(4), || halt.is_asked());
    }
}

fn service(place: &Place, runs: &Arc<Runs>) -> Service {
    let kind = Kind::PROCESSES[usize::from(place.index)];
    let (service, runs) = (Service::new(kind.name()), runs.clone());
    let bytes = {
        let runs = runs.clone();
        move |incoming: &Incoming, context: &Context| answer(incoming, context, &runs)
    };
    match kind {
        Kind::Quick => service.quick(move |work: Work, _: &Context| {
            act(&work, &runs).map(|()| work.id().0).map_err(|code| match code {
                ErrorCode::BUSY => Failed::busy("not now"),
                _ => Failed::from("no".to_owned()),
            })
        }),
        Kind::Pool => service.threads(2).window(16).any(bytes),
        Kind::Shared => service.shared().threads(2).any(bytes),
        Kind::Slow => service.threads(2).any(bytes),
    }
}

fn answer(incoming: &Incoming, context: &Context, runs: &Runs) -> Result<Response, Failed> {
    let work = Work::from_json(&incoming.body).ok_or_else(|| Failed::new(ErrorCode::INVALID, "this is no work"))?;
    act(&work, runs).map_err(|code| Failed::new(code, "no"))?;
    let _ = context.cancel().wait(work.effort()); // no answer is wanted after a cancel
    Ok(Response::new(Kind::ENCODING, work.id().0.to_string()))
}

fn act(work: &Work, runs: &Runs) -> Result<(), ErrorCode> {
    if work.act() == Act::Decline {
        return Err(ErrorCode::BUSY);
    }
    runs.ran(work.id());
    match work.act() {
        Act::Fail => Err(ErrorCode::APP_ERROR),
        Act::Panic => panic!("as it was told"),
        Act::Answer | Act::Decline => Ok(()),
    }
}
