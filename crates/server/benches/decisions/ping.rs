//! Redis' `PING`, the least that a question to Redis can cost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use sluice_testkit::RedisServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{redis_use::RedisUse, support::sender};

const PINGS: usize = 100_000;

/// Measures one `PING` at a time over each of so many connections, and prints a row for each
/// number.
pub(crate) fn measure(connections: &[usize]) {
    let redis = RedisServer::start();
    for &connections in connections {
        let before = RedisUse::of(&redis, &[]);
        let per_second = sender().block_on(ping(redis.port(), connections));
        let used = RedisUse::of(&redis, &[]).seconds - before.seconds;
        println!(
            "| | Redis' `PING` | | | {connections} | {:.1} | | | {:.2} | |",
            per_second / 1_000.0,
            used * 1e6 / PINGS as f64
        );
    }
}

async fn ping(port: u16, connections: usize) -> f64 {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let next = Arc::clone(&next);
        tasks.push(tokio::spawn(async move {
            let mut pong = [0; 7];
            while next.fetch_add(1, Ordering::Relaxed) < PINGS {
                stream.write_all(b"PING\r\n").await.unwrap();
                stream.read_exact(&mut pong).await.unwrap();
                assert_eq!(&pong, b"+PONG\r\n");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    PINGS as f64 / started.elapsed().as_secs_f64()
}
