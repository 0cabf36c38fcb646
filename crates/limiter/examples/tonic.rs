//! A gRPC service that limits its clients: `cargo run -p sluice --example tonic`.
//!
//! The service is tonic's health service, so that the example needs no generated code.
#![allow(clippy::print_stdout, reason = "an example says how to try it")]

use std::{error::Error, net::SocketAddr};

use sluice::{Limiter, RateLimitLayer};
use tokio::signal;
use tonic::transport::{Server, server::TcpConnectInfo};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let limiter = Limiter::in_memory("60/minute, burst 3".parse()?);
    let limit = RateLimitLayer::new(limiter)
        // A client is the key in its metadata, or its address, which tonic leaves here.
        .peer(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()));
    let (_, health) = tonic_health::server::health_reporter();

    let address: SocketAddr = "127.0.0.1:50051".parse()?;
    println!("try: grpcurl -plaintext {address} grpc.health.v1.Health/Check");
    println!("     (the fourth call at once is RESOURCE_EXHAUSTED)");
    println!("Ctrl-C ends the program.");
    Server::builder()
        .layer(limit)
        .add_service(health)
        .serve_with_shutdown(address, async {
            let _ = signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
