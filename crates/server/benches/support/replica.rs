//! The measured server: a replica of Sluice, and the Redis behind it.

use std::{fmt, fs, path::Path, process::Command};

use sluice_testkit::{RedisServer, ReservedPort};
use tempfile::TempDir;

use crate::{support::Server, traffic::Outcome};

/// The protocol that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `POST /v1/check`.
    Http,
    /// Envoy's rate limit service.
    Envoy,
}

/// Where buckets are, and who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Memory,
    Exact,
    Leased,
}

/// A running Sluice, and its configuration.
pub(crate) struct Replica {
    server: Server,
    _folder: TempDir,
    _other_port: ReservedPort,
}

impl Mode {
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all need the list")]
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Exact, Self::Leased];
}

impl Replica {
    /// Starts Sluice with one limit for each client: alone on the first core, or as the argument of
    /// `wrapper`. A wrapper may make it so slow that no call to Redis has a short timeout.
    pub(crate) fn start(
        door: Door,
        mode: Mode,
        outcome: Outcome,
        redis: &RedisServer,
        wrapper: Option<Command>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let precision = if mode == Mode::Leased { ", precision: leased" } else { "" };
        let timeout = if wrapper.is_some() { ", timeout: 60s" } else { "" };
        let store = if mode == Mode::Memory { "memory://".to_owned() } else { redis.url() };
        let (per_second, rules) = match outcome {
            Outcome::Admitted => {
                ("1000000/second, burst: 1000000", "unit: second, requests_per_unit: 1000000")
            }
            Outcome::Denied => ("1/day, burst: 1", "unit: day, requests_per_unit: 1"),
        };
        let rules_file = folder.path().join("edge.yaml");
        let rules = format!(
            "{{ domain: edge, descriptors: [{{ key: api_key, rate_limit: {{ {rules} }} }}] }}"
        );
        fs::write(&rules_file, rules).unwrap();
        let file = folder.path().join("sluice.yaml");
        let rls = rules_file.display();
        let text = format!(
            "defaults: {{ rate: {per_second}{precision} }}\nendpoints: {{}}\n\
             rls: {{ files: ['{rls}']{precision} }}\n\
             store: {{ url: '{store}'{timeout} }}\nlog: {{ level: error }}\n"
        );
        fs::write(&file, text).unwrap();
        let other_port = ReservedPort::new();
        let other = format!("127.0.0.1:{}", other_port.number());
        let program = Path::new(env!("CARGO_BIN_EXE_sluice"));
        let server = Server::start_under(wrapper, program, |command, address| {
            let (http, grpc) = match door {
                Door::Http => (address, other.clone()),
                Door::Envoy => (other.clone(), address),
            };
            command.env("SLUICE__LISTEN__HTTP", http).env("SLUICE__LISTEN__GRPC", grpc);
            command.arg("--config").arg(&file)
        });
        Self { server, _folder: folder, _other_port: other_port }
    }

    pub(crate) const fn server(&self) -> &Server {
        &self.server
    }
}

/// What Redis has done since it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedisUse {
    /// Seconds of processor time.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all use this")]
    pub(crate) seconds: f64,
    /// Calls of scripts.
    pub(crate) calls: f64,
}

impl RedisUse {
    pub(crate) fn of(redis: &RedisServer) -> Self {
        let seconds = |field| redis.info(field).parse::<f64>().unwrap();
        let statistics = redis.command(&["INFO", "commandstats"]).text();
        let calls = statistics
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_evalsha:calls="))
            .find_map(|rest| rest.split(',').next()?.parse().ok());
        Self {
            seconds: seconds("used_cpu_user") + seconds("used_cpu_sys"),
            calls: calls.unwrap_or(0.0),
        }
    }
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
