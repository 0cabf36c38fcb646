//! At most two downloads of each client at the same time:
//! `cargo run -p sluice --example in_flight`.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, time::Duration};

use sluice::{
    Algorithm, Client, Concurrent, Limiter, Policy, Request, Rule, Terms, slots::HeldSlots,
};

/// Sends a file, which takes a while. The slots are given back when it is sent.
async fn send(file: &str, slots: HeldSlots) {
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(slots);
    println!("{file}: sent");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let two = Terms::new(Algorithm::Concurrent(Concurrent::new(2)?));
    let policy = Policy::builder().limit(Rule::new("downloads", two)).build()?;
    let limiter = Limiter::builder(policy).build();

    let mut sending = Vec::new();
    for file in ["/one", "/two", "/three"] {
        // The end of this request will be seen.
        let request = Request::new(Client::Key(b"alice"), "GET", file).followed();
        let checked = limiter.check(&request).await?;
        if checked.is_denied() {
            println!("{file}: denied, two downloads are on their way");
            continue;
        }
        let slots = checked.slots().clone();
        sending.push(tokio::spawn(async move { send(file, slots).await }));
    }
    for sent in sending {
        sent.await?;
    }
    // Before the process ends, all slots are given back.
    assert_eq!(limiter.finish_slots(Duration::from_secs(1)).await, 0);
    Ok(())
}
