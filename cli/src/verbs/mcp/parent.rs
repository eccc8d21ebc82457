//! The process that started this one: without it there is no purpose. Agents that are killed leave pipes that never end, for their other
//! children hold them, too.

use std::{io, thread};

use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::getppid,
};

use crate::{
    child::{Interest, ready},
    exit::Exit,
    signals::Signals,
};

/// Ends this process with its parent. To be called before any thread is made: they inherit what is held back.
///
/// The kernel sends the signal when the thread ends that started us (`PR_SET_PDEATHSIG`), which may do so long before its process: only a new
/// parent means that the old one is gone.
pub(super) fn end_with_it() -> io::Result<()> {
    let parent = getppid();
    let signals = Signals::hold(&[SIGNAL])?;
    set_pdeathsig(SIGNAL)?;
    if getppid() != parent {
        Exit::SUCCESS.leave();
    }
    thread::Builder::new().spawn(move || {
        while ready([(Some(&signals as _), Interest::Read)], None).is_ok() {
            while signals.take().is_some() {}
            if getppid() != parent {
                Exit::SUCCESS.leave();
            }
        }
    })?;
    Ok(())
}

/// One that means nothing else here.
const SIGNAL: Signal = Signal::SIGUSR1;
