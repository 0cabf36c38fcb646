//! A child process that gets signals and is always ended.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

const POLL: Duration = Duration::from_millis(5);

/// A child that is killed and reaped on drop.
///
/// Only this value reaps the process, so the system cannot give its id to another process before.
#[derive(Debug)]
pub(crate) struct OwnedChild {
    child: Child,
    exit: Option<ExitStatus>,
    is_paused: bool,
}

impl OwnedChild {
    /// # Panics
    /// When the program cannot be started.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("could not start {}: {error}", command.get_program().display())
        });
        Self { child, exit: None, is_paused: false }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self
                .child
                .try_wait()
                .expect("a child of ours that was not reaped elsewhere can be waited for");
        }
        self.exit
    }

    /// Whether the process has neither ended nor been paused.
    pub(crate) fn is_running(&mut self) -> bool {
        !self.is_paused && self.exited().is_none()
    }

    /// Waits for the process to end by itself; `None` if it still runs after `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.exited() {
                None if Instant::now() < deadline => std::thread::sleep(POLL),
                exit => return exit,
            }
        }
    }

    /// Sends a signal; does nothing when the process has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill_process(Pid::from_child(&self.child), signal)
                .expect("an unreaped child of ours can be signalled");
        }
    }

    /// Pauses the process, and waits until all of its threads are paused: a signal takes some time.
    pub(crate) fn pause(&mut self) {
        if self.is_paused {
            return;
        }
        self.signal(Signal::STOP);
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        while self.exited().is_none() {
            let status = waitid(WaitId::Pid(Pid::from_child(&self.child)), stopped)
                .expect("an unreaped child of ours can be waited for");
            if status.is_some() {
                self.is_paused = true;
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Resumes a paused process.
    pub(crate) fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.is_paused = false;
    }

    /// Kills the process in any state, and reaps it.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        *self.exit.get_or_insert_with(|| {
            self.child
                .wait()
                .expect("a child of ours that was not reaped elsewhere can be waited for")
        })
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> OwnedChild {
        OwnedChild::spawn(Command::new("sleep").arg("600"))
    }

    #[test]
    fn a_running_child_has_no_exit_status() {
        assert_eq!(sleeper().wait(Duration::ZERO), None);
    }

    #[test]
    fn every_pause_stops_the_child() {
        let mut child = OwnedChild::spawn(Command::new("sh").args(["-c", "while :; do :; done"]));
        let stat = format!("/proc/{}/stat", child.id());
        let state =
            || std::fs::read_to_string(&stat).unwrap().rsplit(") ").next().unwrap().chars().next();
        for _ in 0..20 {
            child.pause();
            assert_eq!(state(), Some('T'));
            child.pause();
            child.resume();
            assert_ne!(state(), Some('T'));
        }
        child.kill();
        child.pause();
    }

    #[test]
    fn a_stopped_child_can_still_be_killed() {
        use std::os::unix::process::ExitStatusExt;
        let mut child = sleeper();
        child.pause();
        assert_eq!(child.kill().signal(), Some(Signal::KILL.as_raw()));
        assert_eq!(child.exited(), Some(child.kill()), "killing twice is harmless");
    }

    #[test]
    fn dropping_ends_the_process() {
        let child = sleeper();
        let pid = Pid::from_child(&child.child);
        drop(child);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
