//! `deploy/compose/nginx.conf`: nginx checks it, and runs it in front of real replicas.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use sluice_testkit::{RedisServer, ReservedPort, Sluice, SluiceOptions, built_sluice, eventually};
use tempfile::TempDir;

use crate::programs::{NGINX, read, root, run};

const CONFIG: &str = "deploy/compose/nginx.conf";

/// nginx with the load balancer's configuration in front of some replicas; stopped on drop.
struct LoadBalancer {
    child: Child,
    http: ReservedPort,
    _grpc: ReservedPort,
    _directory: TempDir,
}

// === impl LoadBalancer ===

impl LoadBalancer {
    /// Starts nginx with the file of the compose setup. Only ports, paths and the names that Docker
    /// would resolve are changed.
    fn start(replicas: &[Sluice]) -> Self {
        let (directory, http, grpc) = (
            TempDir::new().expect("a directory can be created"),
            ReservedPort::new(),
            ReservedPort::new(),
        );
        let servers = replicas
            .iter()
            .map(|replica| format!("server {} fail_timeout=2s;", replica.http_addr()))
            .collect::<String>();
        let changes = [
            ("server sluice:8000 resolve fail_timeout=2s;", servers),
            ("server sluice:8081 resolve fail_timeout=2s;", "server 127.0.0.1:1;".to_owned()),
            ("listen 8000;", format!("listen 127.0.0.1:{};", http.number())),
            ("listen 8081;", format!("listen 127.0.0.1:{};", grpc.number())),
            ("/tmp/", format!("{}/", directory.path().display())),
            ("worker_processes auto;", "worker_processes 1; daemon off;".to_owned()),
        ];
        let mut text = read(CONFIG);
        for (from, to) in changes {
            assert!(text.contains(from), "{CONFIG} does not contain `{from}`");
            text = text.replace(from, &to);
        }
        let config = directory.path().join("nginx.conf");
        fs::write(&config, text).expect("a file can be written");
        let log = File::create(directory.path().join("log")).expect("a file can be created");
        let child = Command::new(NGINX.path())
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nginx starts");
        let balancer = Self { child, http, _grpc: grpc, _directory: directory };
        eventually("nginx passes requests on", || {
            balancer.get("/health", "").is_ok_and(|(status, _)| status == 200)
        });
        balancer
    }

    fn get(&self, path: &str, headers: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http.number()))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n{headers}\r\n")
                .as_bytes(),
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let status = response.get(9..12).and_then(|status| status.parse().ok());
        let (Some(status), Some((_, body))) = (status, response.split_once("\r\n\r\n")) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, response));
        };
        Ok((status, body.to_owned()))
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        // The master process stops its workers on SIGTERM, and leaves them running when it is
        // killed.
        let stopped = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        if stopped.is_ok() {
            let _ = self.child.wait();
        }
    }
}

fn fleet(redis: &RedisServer) -> Vec<Sluice> {
    let replica = || {
        SluiceOptions::new(built_sluice())
            .identify_by_key()
            .env("SLUICE__STORE__URL", redis.url())
            .env("SLUICE__CLIENTS__TRUSTED_PROXIES", "127.0.0.0/8")
            .config("defaults: { requests_per_minute: 1, burst_size: 1 }")
            .start()
    };
    (0..3).map(|_| replica()).collect()
}

fn replica_of(body: &str) -> String {
    // The body is chunked, so the JSON is between chunk sizes.
    let json = body
        .find('{')
        .and_then(|start| body.rfind('}').map(|end| &body[start..=end]))
        .unwrap_or_default();
    let ready: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {body}"));
    ready["replica"]["id"].as_str().unwrap_or_else(|| panic!("{ready}")).to_owned()
}

#[test]
fn nginx_accepts_its_configuration() {
    let directory = TempDir::new().unwrap();
    let output = run(
        &NGINX,
        &[
            "-t",
            "-p",
            directory.path().to_str().unwrap(),
            "-c",
            root().join(CONFIG).to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn requests_are_spread_over_the_replicas_and_succeed_when_one_is_killed() {
    let redis = RedisServer::start();
    let replicas = fleet(&redis);
    let balancer = LoadBalancer::start(&replicas);

    let replicas_of = |times: usize| -> BTreeSet<String> {
        let responses = (0..times).map(|_| balancer.get("/ready", "").expect("nginx responds"));
        responses
            .map(|(status, body)| (assert_eq!(status, 200, "{body}"), replica_of(&body)).1)
            .collect()
    };
    eventually("all three get requests", || replicas_of(3).len() == 3);

    replicas[0].sigkill();
    // Every one of these requests must succeed.
    assert_eq!(replicas_of(12).len(), 2);
}

#[test]
fn a_client_cannot_choose_its_address() {
    let redis = RedisServer::start();
    let replicas = fleet(&redis);
    let balancer = LoadBalancer::start(&replicas);

    let status = |headers: &str| balancer.get("/api/other", headers).expect("nginx responds").0;
    assert_eq!(status("x-forwarded-for: 203.0.113.1\r\n"), 200);
    assert_eq!(status("x-forwarded-for: 203.0.113.2\r\n"), 429);
    // A client with a key has its own bucket, which the replicas share.
    assert_eq!(status("x-api-key: alice\r\n"), 200);
    assert_eq!(status("x-api-key: alice\r\n"), 429);
}
