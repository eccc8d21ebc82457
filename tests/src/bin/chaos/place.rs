//! What each process is told when it is started, and when it is to end.

use std::{
    io::Read,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use clap::Args;
use ipc_client::{Address, Stopper};

use crate::dice::Dice;

/// Which process it is, and where it works.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Which of the services or callers it is.
    pub(crate) index: u8,
    /// How often it has been started.
    pub(crate) life: u16,
    /// The path of the broker's socket.
    pub(crate) socket: PathBuf,
    /// The directory to write to.
    pub(crate) ledger: PathBuf,
    /// The seed of the run.
    pub(crate) seed: u64,
    /// Calls per second.
    pub(crate) rate: u64,
}

/// Asked for by the end of standard input.
#[derive(Clone, Debug)]
pub(crate) struct Halt(Arc<AtomicBool>);

impl Place {
    pub(crate) fn address(&self) -> Address {
        Address::Path(self.socket.clone())
    }

    /// The choices of one of its threads.
    pub(crate) fn dice(&self, thread: u64) -> Dice {
        Dice::new(self.seed, u64::from(self.life) << 32 | u64::from(self.index) << 16 | thread)
    }
}

impl Halt {
    /// Watches standard input, and stops the service when it ends.
    pub(crate) fn watch(stopper: Option<Stopper>) -> Self {
        let halt = Self(Arc::default());
        let asked = halt.clone();
        thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new()); // an error ends it as well
            asked.0.store(true, Ordering::SeqCst);
            stopper.iter().for_each(Stopper::stop);
        });
        halt
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
