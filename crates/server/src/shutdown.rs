//! Signals to stop, and the settings of a graceful shutdown.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The settings of a graceful shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long the replica continues to accept connections while it reports that it is not ready,
    /// so that load balancers can stop sending requests.
    pub delay: Duration,
    /// How long requests in flight can take to finish after that.
    pub grace: Duration,
}

/// Whether the replica is about to stop. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Sets the flag. It cannot be reset.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Receives the signals that stop the process: SIGTERM, and SIGINT from a terminal.
#[derive(Debug)]
pub struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Starts to receive the signals, which no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if the system rejects the signal handlers.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
