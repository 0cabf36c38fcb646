//! What a process of this program, which decides under callgrind, says to the one that counts.

use std::io;

/// What it prints when it has warmed up, and when it has finished.
pub(crate) const READY: &str = "ready";
pub(crate) const DONE: &str = "done";

/// Runs `work` when the other process says so, and waits until that has its counts.
pub(crate) fn when_told(work: impl FnOnce()) {
    println!("{READY}");
    wait();
    work();
    println!("{DONE}");
    wait();
}

fn wait() {
    io::stdin().read_line(&mut String::new()).unwrap();
}
