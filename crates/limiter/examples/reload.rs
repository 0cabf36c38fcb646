//! Limits that change while the program runs: `cargo run -p sluice --example reload`.
//!
//! Buckets keep their tokens: a raised limit does not refill them, and a lowered one does not
//! forget what was used.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{error::Error, fs, path::Path, time::Duration};

use sluice::{Limiter, Policy};
use tokio::time::{interval, sleep};

/// Reads a policy from a file that holds one rate, such as `60/minute, burst 10`.
fn read(file: &Path) -> Result<Policy, Box<dyn Error>> {
    Ok(Policy::per_client(fs::read_to_string(file)?.trim().parse()?))
}

/// Replaces the limiter's policy whenever the file changes. A file that cannot be read changes
/// nothing.
async fn watch(file: &Path, mut known: Vec<u8>, limiter: Limiter) {
    let mut interval = interval(Duration::from_millis(50));
    loop {
        interval.tick().await;
        let now = fs::read(file).unwrap_or_default();
        if now == known {
            continue;
        }
        known = now;
        match read(file) {
            Ok(policy) => {
                println!("the policy is now {}", policy.limits()[0]);
                limiter.replace_policy(policy);
            }
            Err(error) => println!("the policy stays as it is: {error}"),
        }
    }
}

/// Sends three requests at once, and prints what is left.
async fn send_three(limiter: &Limiter) -> Result<(), Box<dyn Error>> {
    let (mut allowed, mut left) = (0, 0);
    for _ in 0..3 {
        let checked = limiter.check_key("alice").await?;
        allowed += u32::from(checked.is_allowed());
        left = checked.decision.binding().map_or(0, |verdict| verdict.remaining);
    }
    println!("alice: {allowed} of 3 requests allowed, {left} tokens left");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::temp_dir().join(format!("sluice-reload-{}", std::process::id()));
    fs::write(&file, "60/minute, burst 5")?;
    let limiter = Limiter::builder(read(&file)?).build();
    let watching = tokio::spawn({
        let (file, known, limiter) = (file.clone(), fs::read(&file)?, limiter.clone());
        async move { watch(&file, known, limiter).await }
    });

    send_three(&limiter).await?;
    for text in ["600/minute, burst 20", "as much as you like"] {
        fs::write(&file, text)?;
        sleep(Duration::from_millis(500)).await;
        send_three(&limiter).await?;
    }
    watching.abort();
    fs::remove_file(&file)?;
    Ok(())
}
