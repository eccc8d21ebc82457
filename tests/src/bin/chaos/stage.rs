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

/// The place of one process in the show.
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
    /// The seed of the show.
    pub(crate) seed: u64,
    /// Calls per second.
    pub(crate) rate: u64,
}

/// The end of the performance: standard input ends.
#[derive(Clone, Debug)]
pub(crate) struct Curtain(Arc<AtomicBool>);

impl Place {
    pub(crate) fn address(&self) -> Address {
        Address::Path(self.socket.clone())
    }

    /// The choices of one of its threads.
    pub(crate) fn dice(&self, thread: u64) -> Dice {
        Dice::new(self.seed, u64::from(self.life) << 32 | u64::from(self.index) << 16 | thread)
    }
}

impl Curtain {
    /// Watches standard input, and stops the service when it ends.
    pub(crate) fn watch(stopper: Option<Stopper>) -> Self {
        let curtain = Self(Arc::default());
        let falls = curtain.clone();
        thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new()); // an error ends it as well
            falls.0.store(true, Ordering::SeqCst);
            stopper.iter().for_each(Stopper::stop);
        });
        curtain
    }

    pub(crate) fn is_down(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
