//! The servers that are compared, and how each is started.

use std::{
    fmt, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use sluice_testkit::{Program, RedisServer, ReservedPort, eventually};
use tempfile::TempDir;

use crate::{
    http_caller::Dialect,
    question::{self, Limit, Question},
    subject::{Door, Mode, Subject, rules},
    support::Server,
    traffic::{CLIENTS, Outcome},
};

/// A server, and where it keeps its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Sluice(Mode),
    /// envoyproxy/ratelimit, which needs Redis; its local cache remembers denials.
    Ratelimit {
        local_cache: bool,
    },
    Limitador(Storage),
    Gubernator,
    Throttlecrab,
}

/// Where limitador keeps its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Memory,
    Redis,
    /// Counters in memory, which are added to those in Redis once a second.
    CachedRedis,
}

/// How many counters a server has room for, where it has a limit: more than there are clients.
const ROOM: usize = 2 * CLIENTS;

impl Peer {
    /// Returns the servers that speak gRPC, or those that speak HTTP.
    pub(crate) const fn at(door: Door) -> &'static [Self] {
        match door {
            Door::Envoy => &[
                Self::Sluice(Mode::Memory),
                Self::Limitador(Storage::Memory),
                Self::Gubernator,
                Self::Throttlecrab,
                Self::Sluice(Mode::Exact),
                Self::Sluice(Mode::Leased),
                Self::Ratelimit { local_cache: false },
                Self::Ratelimit { local_cache: true },
                Self::Limitador(Storage::Redis),
                Self::Limitador(Storage::CachedRedis),
            ],
            Door::Http => &[
                Self::Sluice(Mode::Memory),
                Self::Limitador(Storage::Memory),
                Self::Throttlecrab,
                Self::Sluice(Mode::Exact),
                Self::Sluice(Mode::Leased),
                Self::Limitador(Storage::Redis),
                Self::Limitador(Storage::CachedRedis),
            ],
        }
    }

    /// Returns the program of a peer; `None` for Sluice itself, which Cargo has built.
    pub(crate) const fn program(self) -> Option<Program> {
        let (name, variable) = match self {
            Self::Sluice(_) => return None,
            Self::Ratelimit { .. } => ("ratelimit", "SLUICE_PEER_RATELIMIT"),
            Self::Limitador(_) => ("limitador-server", "SLUICE_PEER_LIMITADOR"),
            Self::Gubernator => ("gubernator", "SLUICE_PEER_GUBERNATOR"),
            Self::Throttlecrab => ("throttlecrab-server", "SLUICE_PEER_THROTTLECRAB"),
        };
        Some(Program { name, variable, remedy: "cargo xtask bench peers" })
    }

    /// Returns the protocol by its name.
    pub(crate) const fn protocol(self, door: Door) -> &'static str {
        match (door, self) {
            (Door::Http, _) => "HTTP",
            (Door::Envoy, Self::Gubernator | Self::Throttlecrab) => "gRPC of its own",
            (Door::Envoy, _) => "RLS",
        }
    }

    /// Returns how it is asked.
    pub(crate) const fn question(self, door: Door, outcome: Outcome) -> Question {
        match (door, self) {
            (Door::Envoy, Self::Gubernator) => Question::Gubernator(Limit::of(outcome)),
            (Door::Envoy, Self::Throttlecrab) => Question::Throttlecrab(Limit::of(outcome)),
            (Door::Envoy, _) => Question::Envoy,
            (Door::Http, Self::Throttlecrab) => Question::Http(question::throttlecrab(outcome)),
            (Door::Http, Self::Limitador(_)) => Question::Http(question::LIMITADOR),
            (Door::Http, _) => Question::Http(Dialect::CHECK),
        }
    }

    /// Returns the commands that it sends to Redis for decisions.
    pub(crate) const fn sends(self) -> &'static [&'static str] {
        match self {
            Self::Sluice(_) => Mode::SENDS,
            Self::Ratelimit { .. } => &["expire", "incrby"],
            Self::Limitador(_) => &["evalsha", "mget"],
            Self::Gubernator | Self::Throttlecrab => &[],
        }
    }

    /// Starts it with one limit for each client.
    pub(crate) fn start(self, door: Door, outcome: Outcome, redis: &RedisServer) -> Subject {
        let start = Start { folder: tempfile::tempdir().unwrap(), door, outcome, redis };
        match self {
            Self::Sluice(mode) => Subject::start(door, mode, outcome, redis),
            Self::Ratelimit { local_cache } => start.ratelimit(local_cache),
            Self::Limitador(storage) => start.limitador(storage),
            Self::Gubernator => start.gubernator(),
            Self::Throttlecrab => start.throttlecrab(),
        }
    }

    fn server(self, configure: impl Fn(&mut Command, SocketAddr) -> &mut Command) -> Server {
        let program = self.program().expect("Sluice is started in another way").path();
        Server::start(&program, |command, address| {
            // What Go programs read, beside the variable that Rust programs do.
            command.env("GOMAXPROCS", "1");
            configure(command, address.parse().unwrap())
        })
    }
}

/// What the start of a peer needs.
struct Start<'a> {
    folder: TempDir,
    door: Door,
    outcome: Outcome,
    redis: &'a RedisServer,
}

impl Start<'_> {
    fn ratelimit(self, local_cache: bool) -> Subject {
        fs::create_dir(self.folder.path().join("config")).unwrap();
        fs::write(self.folder.path().join("config/edge.yaml"), rules(self.outcome)).unwrap();
        let ports = [ReservedPort::new(), ReservedPort::new(), ReservedPort::new()];
        let [http, debug, metrics] = ports.each_ref().map(|port| port.number().to_string());
        let cache = if local_cache { (64 << 20).to_string() } else { "0".to_owned() };
        let redis = format!("127.0.0.1:{}", self.redis.port());
        let server = Peer::Ratelimit { local_cache }.server(|command, address| {
            command
                .env("RUNTIME_ROOT", self.folder.path())
                .env("RUNTIME_SUBDIRECTORY", "")
                .env("RUNTIME_APPDIRECTORY", "config")
                .env("RUNTIME_WATCH_ROOT", "false");
            command
                .env("REDIS_SOCKET_TYPE", "tcp")
                .env("REDIS_URL", &redis)
                .env("LOCAL_CACHE_SIZE_IN_BYTES", &cache)
                // Without a sink for its metrics, it would write each one into its log.
                .env("USE_STATSD", "false")
                .env("USE_PROMETHEUS", "true")
                .env("PROMETHEUS_ADDR", format!("127.0.0.1:{metrics}"))
                .env("LOG_LEVEL", "error");
            let hosts = ["HOST", "GRPC_HOST", "DEBUG_HOST"].map(|name| (name, "127.0.0.1"));
            command
                .envs(hosts)
                .env("GRPC_PORT", address.port().to_string())
                .env("PORT", &http)
                .env("DEBUG_PORT", &debug)
        });
        Subject::new(server, self.folder, ports.into())
    }

    fn limitador(self, storage: Storage) -> Subject {
        let Limit { requests, seconds } = Limit::of(self.outcome);
        let file = self.folder.path().join("limits.yaml");
        let limits = format!(
            "[{{ namespace: edge, max_value: {requests}, seconds: {seconds}, conditions: [], \
             variables: ['descriptors[0].api_key'] }}]"
        );
        fs::write(&file, limits).unwrap();
        let other = ReservedPort::new();
        let room = ROOM.to_string();
        let server = Peer::Limitador(storage).server(|command, address| {
            let (rls, http) = match self.door {
                Door::Envoy => (address.port(), other.number()),
                Door::Http => (other.number(), address.port()),
            };
            command
                .args(["--rls-ip", "127.0.0.1", "--rls-port", &rls.to_string()])
                .args(["--http-ip", "127.0.0.1", "--http-port", &http.to_string()])
                .arg(&file);
            match storage {
                Storage::Memory => command.args(["memory", "--cache", &room]),
                Storage::Redis => command.args(["redis", &self.redis.url()]),
                Storage::CachedRedis => {
                    command.args(["redis_cached", &self.redis.url(), "--max-cached", &room])
                }
            }
        });
        Subject::new(server, self.folder, vec![other])
    }

    fn gubernator(self) -> Subject {
        let ports = [ReservedPort::new(), ReservedPort::new()];
        let [http, gossip] =
            ports.each_ref().map(|port| SocketAddr::from(([127, 0, 0, 1], port.number())));
        let server = Peer::Gubernator.server(|command, address| {
            // It is the only member of its cluster.
            let members = ["ADDRESS", "BIND_ADDRESS", "KNOWN_NODES"]
                .map(|name| (format!("GUBER_MEMBERLIST_{name}"), gossip.to_string()));
            command
                .envs(members)
                .env("GUBER_GRPC_ADDRESS", address.to_string())
                .env("GUBER_ADVERTISE_ADDRESS", address.to_string())
                .env("GUBER_HTTP_ADDRESS", http.to_string());
            command
                .env("GUBER_CACHE_SIZE", ROOM.to_string())
                .env("GUBER_LOG_LEVEL", "error")
                .env("OTEL_TRACES_EXPORTER", "none")
        });
        eventually("gubernator has joined its cluster", || is_in_its_cluster(http));
        Subject::new(server, self.folder, ports.into())
    }

    fn throttlecrab(self) -> Subject {
        let server = Peer::Throttlecrab.server(|command, address| {
            let port = address.port().to_string();
            match self.door {
                Door::Envoy => {
                    command.args(["--grpc", "--grpc-host", "127.0.0.1", "--grpc-port", &port])
                }
                Door::Http => {
                    command.args(["--http", "--http-host", "127.0.0.1", "--http-port", &port])
                }
            };
            command.args(["--log-level", "error", "--store-capacity", &ROOM.to_string()])
        });
        Subject::new(server, self.folder, Vec::new())
    }
}

/// Whether gubernator says that it is healthy, with one member.
fn is_in_its_cluster(http: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(http)?;
        stream.write_all(b"GET /v1/HealthCheck HTTP/1.0\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response).map(|_| response)
    };
    ask().is_ok_and(|response: String| {
        let response = response.replace(' ', "");
        response.contains(r#""status":"healthy""#) && response.contains(r#""peer_count":1"#)
    })
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sluice(mode) => write!(f, "**Sluice**, {mode}"),
            Self::Ratelimit { local_cache: false } => f.write_str("ratelimit, Redis"),
            Self::Ratelimit { local_cache: true } => f.write_str("ratelimit, Redis, local cache"),
            Self::Limitador(Storage::Memory) => f.write_str("limitador, memory"),
            Self::Limitador(Storage::Redis) => f.write_str("limitador, Redis"),
            Self::Limitador(Storage::CachedRedis) => f.write_str("limitador, cached Redis"),
            Self::Gubernator => f.write_str("gubernator, memory"),
            Self::Throttlecrab => f.write_str("throttlecrab, memory"),
        }
    }
}
