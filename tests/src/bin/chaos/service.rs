//! A service: it writes each call down before it runs it, and comes back whatever its broker says.

use std::{sync::Arc, time::Duration};

use ipc_client::{Context, ErrorCode, Failed, Incoming, Response, Service, Stopper};
use ipc_tests::eventually::within;

use crate::{
    ledger::Runs,
    stage::{Curtain, Place},
    work::{Act, Troupe, Work},
};

/// Serves until standard input ends.
pub(crate) fn perform(place: &Place) {
    std::panic::set_hook(Box::new(|_| ())); // panics of its methods are part of the show
    let stopper = Stopper::new().expect("a descriptor");
    let curtain = Curtain::watch(Some(stopper.clone()));
    let runs = Arc::new(Runs::create(place));
    while !curtain.is_down() {
        // A name that is still taken by the life before, or a broker that is gone or full: it tries again.
        let _ = service(place, &runs).address(&place.address()).stopped_by(&stopper).run();
        within(Duration::from_millis(4), || curtain.is_down());
    }
}

fn service(place: &Place, runs: &Arc<Runs>) -> Service {
    let troupe = Troupe::PROCESSES[usize::from(place.index)];
    let (service, runs) = (Service::new(troupe.name()), runs.clone());
    let bytes = {
        let runs = runs.clone();
        move |incoming: &Incoming, context: &Context| answer(incoming, context, &runs)
    };
    match troupe {
        Troupe::Quick => service.quick(move |work: Work, _: &Context| {
            act(&work, &runs).map(|()| work.id().0).map_err(|code| match code {
                ErrorCode::BUSY => Failed::busy("not now"),
                _ => Failed::from("no".to_owned()),
            })
        }),
        Troupe::Pool => service.threads(2).window(16).any(bytes),
        Troupe::Shared => service.shared().threads(2).any(bytes),
        Troupe::Slow => service.threads(2).any(bytes),
    }
}

fn answer(incoming: &Incoming, context: &Context, runs: &Runs) -> Result<Response, Failed> {
    let work = Work::from_json(&incoming.body).ok_or_else(|| Failed::new(ErrorCode::INVALID, "this is no work"))?;
    act(&work, runs).map_err(|code| Failed::new(code, "no"))?;
    let _ = context.cancel().wait(work.effort()); // a caller that has left wants no haste
    Ok(Response::new(Troupe::ENCODING, work.id().0.to_string()))
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
