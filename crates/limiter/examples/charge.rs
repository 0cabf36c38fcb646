//! A cost that is known only afterwards, as with the tokens of a language model:
//! `cargo run -p sluice --example charge`.
//!
//! Each client may make 20 requests a minute and use 1000 model tokens a minute. A request is let
//! through while there are tokens left, and charged when it is done.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::error::Error;

use sluice::{Cost, Limiter, Policy, Rate, Rule, RuleCost};

/// Simulates a language model, and returns how many tokens it has used.
async fn generate(prompt: &str) -> u64 {
    tokio::task::yield_now().await;
    prompt.len() as u64 * 50
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let requests: Rate = "20/minute, burst 20".parse()?;
    let tokens: Rate = "1000/minute, burst 1000".parse()?;
    let policy = Policy::builder()
        // Counts requests, whatever they cost.
        .limit(Rule::new("requests", requests).cost(RuleCost::Fixed(Cost::ONE)))
        .limit(Rule::new("model-tokens", tokens))
        .build()?;
    let limiter = Limiter::builder(policy).build();

    for prompt in ["hello", "tell me a story", "and another one"] {
        // Every request takes one token in advance.
        let checked = limiter.check_key("alice").await?;
        if checked.is_denied() {
            let seconds = checked.decision.retry().after_seconds().unwrap_or_default();
            println!("{prompt:?}: denied, come back in {seconds} s");
            continue;
        }
        let used = generate(prompt).await;
        // The bucket may go below zero. The next request is then denied until it is refilled.
        let state = checked.charge(used - 1).await?;
        let left = state.binding().map_or(0, |verdict| verdict.remaining);
        println!("{prompt:?}: used {used} tokens, {left} left");
    }
    Ok(())
}
