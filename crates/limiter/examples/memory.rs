//! A limiter in the memory of one process: `cargo run -p sluice --example memory`.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::error::Error;

use sluice::Limiter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // 60 requests a minute for each client, in bursts of up to 3.
    let limiter = Limiter::in_memory("60/minute, burst 3".parse()?);

    for client in ["alice", "alice", "alice", "alice", "bob"] {
        let checked = limiter.check_key(client).await?;
        if checked.is_allowed() {
            println!("{client}: allowed");
        } else {
            let seconds = checked.decision.retry().after_seconds().unwrap_or_default();
            println!("{client}: denied, come back in {seconds} s");
        }
    }
    Ok(())
}
