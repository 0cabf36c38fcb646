//! An axum API that limits its clients and shows its metrics: `cargo run -p sluice --example axum`.
//!
//! Buckets are in memory, or shared by all replicas with the same Redis:
//! `REDIS_URL=redis://127.0.0.1 LISTEN=127.0.0.1:3001 cargo run -p sluice --example axum`.
#![allow(clippy::print_stdout, reason = "an example says how to try it")]

use std::{env, error::Error, future::ready, net::SocketAddr};

use axum::{Router, extract::MatchedPath, routing::get};
use sluice::{Limiter, MetricsLayer, Policy, RateLimitLayer, RedisSettings, Telemetry};
use tokio::{net::TcpListener, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder().build()?;
    let recorders = telemetry.recorders();
    let policy = Policy::per_client("60/minute, burst 10".parse()?);
    let builder = Limiter::builder(policy).recorders(recorders);
    let limiter = match env::var("REDIS_URL") {
        Ok(url) => builder.redis(RedisSettings::new(url)).build()?,
        Err(_) => builder.build(),
    };
    // While Redis is unavailable, each replica decides alone, with its share of the limits.
    let membership = limiter.join("axum-example");

    let measure = MetricsLayer::new(&recorders.http)
        .endpoint(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str));
    let metrics = telemetry.prometheus().clone();
    let app = Router::new()
        .route("/orders/{id}", get(async || "an order\n"))
        .layer(RateLimitLayer::new(limiter))
        .layer(measure) // around the limiter, so that denials are counted too
        .route("/metrics", get(move || ready(metrics.render().map_err(|error| error.to_string()))));

    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("try: curl -i http://{address}/orders/7   (the eleventh request at once is denied)");
    println!("and: curl http://{address}/metrics");
    println!("Ctrl-C ends the program.");
    // The limiter needs the address of the client.
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async {
            let _ = signal::ctrl_c().await;
        })
        .await?;
    if let Err(error) = membership.leave().await {
        println!("the other replicas notice only in a while that this one is gone: {error}");
    }
    Ok(())
}
