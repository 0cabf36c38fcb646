//! `cargo xtask bench`.

mod instructions;

pub(crate) use instructions::Instructions;

use crate::report::Report;
use crate::shell::cargo;
use crate::tools::{Install, PEERS, TOOLS, Tool, VALGRIND, install};

/// One bench target of the workspace.
#[derive(Debug, PartialEq, Eq)]
struct Bench {
    /// The name on the command line, and the target's name in its package.
    name: &'static str,
    package: &'static str,
    /// What it measures, and against what.
    about: &'static str,
}

/// The benchmark that runs other servers too.
const PEERS_BENCH: &str = "peers";

/// Every benchmark: a new one is a `[[bench]]` in its package and a line here.
const BENCHES: &[Bench] = &[
    Bench {
        name: "in_process",
        package: "sluice",
        about: "a decision in the process, metrics on, against governor; bytes a bucket in memory",
    },
    Bench {
        name: "redis",
        package: "sluice-store",
        about: "Redis' processor time a decision, against one pipelined script call per decision; \
                bytes a bucket in Redis",
    },
    Bench {
        name: "cluster",
        package: "sluice-store",
        about: "the processor time of a decision on a node of a cluster, against a single server",
    },
    Bench {
        name: "decisions",
        package: "sluice-server",
        about: "decisions over HTTP and gRPC, in memory, exact and leased, by kinds of traffic; \
                against constant servers and PING",
    },
    Bench {
        name: instructions::NAME,
        package: "sluice-server",
        about: "the instructions of a decision, in the process and in the server, against the last \
                release",
    },
    Bench {
        name: PEERS_BENCH,
        package: "sluice-server",
        about: "decisions beside envoyproxy/ratelimit, limitador, gubernator and throttlecrab, \
                which are built for it",
    },
    Bench {
        name: "http",
        package: "sluice-server",
        about: "POST /v1/check, against an axum handler that answers a constant",
    },
    Bench {
        name: "gateway",
        package: "sluice-server",
        about: "requests through the gateway, against the same upstream asked directly and nginx",
    },
    Bench {
        name: "models",
        package: "sluice-server",
        about: "a stream of a language model that the gateway meters, against one that it does not",
    },
    Bench {
        name: "observed",
        package: "sluice-server",
        about: "POST /v1/check with metrics on against off, and with traces",
    },
    Bench {
        name: "rls",
        package: "sluice-server",
        about: "Envoy's rate limit service, against tonic services that answer a constant",
    },
    Bench {
        name: "memory",
        package: "sluice-server",
        about: "what a million clients take of a replica's memory, and whether it is given back",
    },
    Bench {
        name: "instruments",
        package: "sluice-telemetry",
        about: "a count and a measurement, against the crate prometheus",
    },
    Bench {
        name: "footprint",
        package: "sluice-telemetry",
        about: "what the registry and a scrape cost",
    },
];

/// Runs all benchmarks, or the one of that name.
pub(crate) fn run(report: &mut Report, name: Option<&str>, instructions: &Instructions) {
    let chosen = match choose(BENCHES, name) {
        Ok(chosen) => chosen,
        Err(problem) => return report.fail("bench", problem),
    };
    let mut tools: Vec<&Tool> = TOOLS.iter().filter(|tool| tool.name == "redis-server").collect();
    if chosen.iter().any(|bench| bench.name == PEERS_BENCH) {
        tools.extend(PEERS);
    }
    install(report, &tools, Install::InOwnDirectory);
    for bench in chosen {
        println!("\n{}: {}", bench.name, bench.about);
        if bench.name == instructions::NAME {
            count(report, instructions);
            continue;
        }
        report.run(cargo(&["bench", "--package", bench.package, "--bench", bench.name]));
    }
}

/// Counts instructions, where valgrind and a C compiler are installed.
fn count(report: &mut Report, instructions: &Instructions) {
    let compiler = TOOLS.iter().filter(|tool| tool.name == "cc");
    let tools: Vec<_> = compiler.chain([&VALGRIND]).collect();
    if install(report, &tools, Install::InOwnDirectory).is_empty() {
        report.check(instructions::NAME, || instructions.run().map(|()| Vec::new()));
    }
}

/// The benchmarks to run: the one of that name, or all.
fn choose<'a>(benches: &'a [Bench], name: Option<&str>) -> Result<Vec<&'a Bench>, String> {
    let chosen: Vec<_> =
        benches.iter().filter(|bench| name.is_none_or(|name| bench.name == name)).collect();
    match (chosen.is_empty(), name) {
        (false, _) => Ok(chosen),
        (true, None) => Err("there are no benchmarks".to_owned()),
        (true, Some(name)) => {
            let names: Vec<_> = benches.iter().map(|bench| bench.name).collect();
            Err(format!("there is no benchmark `{name}`; there are: {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::root;

    const SOME: &[Bench] = &[
        Bench { name: "memory", package: "sluice-store", about: "decisions in process" },
        Bench { name: "redis", package: "sluice-store", about: "decisions through Redis" },
    ];

    #[test]
    fn without_a_name_all_are_chosen() {
        assert_eq!(choose(SOME, None).unwrap(), [&SOME[0], &SOME[1]]);
    }

    #[test]
    fn a_name_chooses_one() {
        assert_eq!(choose(SOME, Some("redis")).unwrap(), [&SOME[1]]);
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_ones() {
        assert_eq!(
            choose(SOME, Some("rdis")).unwrap_err(),
            "there is no benchmark `rdis`; there are: memory, redis"
        );
    }

    #[test]
    fn every_benchmark_of_the_table_is_a_target_of_some_crate() {
        let manifests: String = std::fs::read_dir(root().join("crates"))
            .unwrap()
            .map(|directory| {
                std::fs::read_to_string(directory.unwrap().path().join("Cargo.toml")).unwrap()
            })
            .collect();
        for Bench { name, package, .. } in BENCHES {
            assert!(manifests.contains(&format!("name = \"{package}\"\n")), "no package {package}");
            assert!(
                manifests.contains(&format!("[[bench]]\nname = \"{name}\"\n")),
                "no bench target {name}"
            );
        }
    }
}
