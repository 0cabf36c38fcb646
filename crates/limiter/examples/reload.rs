//! Limits that change while the program runs: `cargo run -p sluice --example reload`.
//!
//! Buckets keep what they hold: neither does a raised limit hand out a full bucket, nor does a
//! lowered one forget what was used.
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

async fn spend(limiter: &Limiter) -> Result<(), Box<dyn Error>> {
    let mut allowed = 0;
    while limiter.check_key("alice").await?.is_allowed() {
        allowed += 1;
    }
    println!("alice: {allowed} requests allowed");
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

    spend(&limiter).await?;
    for text in ["600/minute, burst 20", "as much as you like"] {
        fs::write(&file, text)?;
        sleep(Duration::from_millis(500)).await;
        spend(&limiter).await?;
    }
    watching.abort();
    fs::remove_file(&file)?;
    Ok(())
}
