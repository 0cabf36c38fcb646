//! Makes replicas without a secret sign reservations with one key.

use std::{sync::Arc, time::Duration};

use sluice::Store;

use super::Seals;

/// The name of the key in the store.
const NAME: &str = "reservations";
/// How often the store is asked: it may have lost its memory, and another replica may have brought
/// another key.
const EVERY: Duration = Duration::from_secs(10);

/// Agrees on a key with all that share `store`, again and again, as long as no secret has one.
pub(crate) async fn agree(store: Arc<dyn Store>, seals: Arc<Seals>) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(key) = seals.own_key() else { continue };
        match store.agree(NAME, &key).await {
            Ok(agreed) => seals.replace_own(&agreed),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "no key for reservations could be agreed on: only this replica settles its own"
            ),
        }
    }
}
