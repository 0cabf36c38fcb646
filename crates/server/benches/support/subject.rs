//! Measured servers, and Sluice as one.

use std::{fmt, fs, net::SocketAddr, process::Command};

use sluice_testkit::{RedisServer, ReservedPort};
use tempfile::TempDir;

use crate::{
    envoy::Caller,
    http_caller::{Dialect, HttpCaller},
    protocol::{Ask, Protocol},
    support::{Answer, Server},
    traffic::Outcome,
};

/// The protocol that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `POST /v1/check`.
    Http,
    /// Envoy's rate limit service.
    Envoy,
}

/// A caller at a door.
pub(crate) enum Asker {
    Http(HttpCaller),
    Envoy(Caller),
}

/// Where buckets are, and who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Memory,
    Exact,
    Leased,
}

/// A running server, and what it needs as long as it runs.
pub(crate) struct Subject {
    server: Server,
    _folder: TempDir,
    _other_ports: Vec<ReservedPort>,
}

impl Protocol for Door {
    type Asker = Asker;

    async fn connect(self, server: SocketAddr, askers: usize) -> Vec<Asker> {
        match self {
            Self::Http => {
                let callers = HttpCaller::connect_many(server, Dialect::CHECK, askers).await;
                callers.into_iter().map(Asker::Http).collect()
            }
            Self::Envoy => {
                let callers = Caller::connect_many(server, askers).await;
                callers.into_iter().map(Asker::Envoy).collect()
            }
        }
    }
}

impl Ask for Asker {
    async fn ask(&mut self, client: usize) -> Answer {
        match self {
            Self::Http(caller) => caller.ask(client).await,
            Self::Envoy(caller) => caller.ask(client).await,
        }
    }
}

impl Mode {
    /// The commands of Redis that Sluice sends for decisions.
    pub(crate) const SENDS: &[&str] = &["evalsha"];
}

impl Subject {
    /// Starts Sluice with one limit for each client, alone on the first core.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all use this")]
    pub(crate) fn start(door: Door, mode: Mode, outcome: Outcome, redis: &RedisServer) -> Self {
        Self::start_under(None, door, mode, outcome, redis)
    }

    /// Starts Sluice in the same way, but as the argument of `wrapper`, which may make it slow.
    pub(crate) fn start_under(
        wrapper: Option<Command>,
        door: Door,
        mode: Mode,
        outcome: Outcome,
        redis: &RedisServer,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let precision = if mode == Mode::Leased { ", precision: leased" } else { "" };
        let store = if mode == Mode::Memory { "memory://".to_owned() } else { redis.url() };
        let per_second = match outcome {
            Outcome::Admitted => "1000000/second, burst: 1000000",
            Outcome::Denied => "1/day, burst: 1",
        };
        let rules_file = folder.path().join("edge.yaml");
        fs::write(&rules_file, rules(outcome)).unwrap();
        let file = folder.path().join("sluice.yaml");
        let rls = rules_file.display();
        // A decision without Redis would be cheaper, so it is an error, which ends the run.
        let text = format!(
            "defaults: {{ rate: {per_second}{precision} }}\nendpoints: {{}}\n\
             rls: {{ files: ['{rls}']{precision} }}\n\
             store: {{ url: '{store}', timeout: 60s, on_failure: error }}\n\
             log: {{ level: error }}\n"
        );
        fs::write(&file, text).unwrap();
        let other_port = ReservedPort::new();
        let other = format!("127.0.0.1:{}", other_port.number());
        let program = env!("CARGO_BIN_EXE_sluice").as_ref();
        let server = Server::start_under(wrapper, program, |command, address| {
            let (http, grpc) = match door {
                Door::Http => (address, other.clone()),
                Door::Envoy => (other.clone(), address),
            };
            command.env("SLUICE__LISTEN__HTTP", http).env("SLUICE__LISTEN__GRPC", grpc);
            command.arg("--config").arg(&file)
        });
        Self::new(server, folder, vec![other_port])
    }

    /// Keeps a server together with its files, and the ports that it has beside the measured one.
    pub(crate) const fn new(
        server: Server,
        folder: TempDir,
        other_ports: Vec<ReservedPort>,
    ) -> Self {
        Self { server, _folder: folder, _other_ports: other_ports }
    }

    pub(crate) const fn server(&self) -> &Server {
        &self.server
    }
}

/// Returns the limit for each client as a file of rules of Envoy's rate limit service.
pub(crate) fn rules(outcome: Outcome) -> String {
    let limit = match outcome {
        Outcome::Admitted => "unit: second, requests_per_unit: 1000000",
        Outcome::Denied => "unit: day, requests_per_unit: 1",
    };
    format!("{{ domain: edge, descriptors: [{{ key: api_key, rate_limit: {{ {limit} }} }}] }}")
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Envoy => "RLS",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Exact => "Redis, exact",
            Self::Leased => "Redis, leased",
        })
    }
}
