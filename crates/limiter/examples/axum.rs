//! An API that limits its clients and shows its metrics: `cargo run -p sluice --example axum`.
//!
//! Buckets are in memory, or shared by all replicas that are given the same Redis:
//! `REDIS_URL=redis://127.0.0.1 LISTEN=127.0.0.1:3001 cargo run -p sluice --example axum`.

use std::{env, error::Error, future::ready, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, MatchedPath},
    routing::get,
};
use sluice::{
    Failover, Limiter, MemoryStore, MeteredRoundTrips, MetricsLayer, Policy, RateLimitLayer,
    Recorders, RedisSettings, RedisStore, Store, Telemetry,
};
use tokio::net::TcpListener;

fn store(recorders: &Recorders) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let Ok(url) = env::var("REDIS_URL") else { return Ok(Arc::new(MemoryStore::new())) };
    let redis = RedisStore::new(
        &RedisSettings::new(&url),
        MeteredRoundTrips::new(recorders.store.clone()),
    )?;
    Ok(Arc::new(Failover::over(redis, Duration::from_millis(25))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder().build()?;
    let recorders = telemetry.recorders();
    let policy = Policy::per_client("60/minute, burst 10".parse()?);
    let limiter = Limiter::new(policy, store(recorders)?, recorders);
    let limit = RateLimitLayer::new(limiter).with_peer(|extensions| {
        extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
    });
    let measure = MetricsLayer::new(&recorders.http)
        .with_endpoint(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str));

    let metrics = telemetry.prometheus().clone();
    let app = Router::new()
        .route("/orders/{id}", get(async || "an order\n"))
        .layer(limit)
        .layer(measure) // around the limiter, so that refusals are counted too
        .route("/metrics", get(move || ready(metrics.render().map_err(|error| error.to_string()))));

    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
