//! Crates depend on each other in one direction only.

use std::path::Path;

use crate::workspace;

/// The crates of the service, the lowest level first: a crate depends only on lower levels.
const LEVELS: &[&[&str]] = &[
    &["sluice-core"],
    &["sluice-llm", "sluice-slo", "sluice-store"],
    &["sluice-stats"],
    &["sluice"],
    &["sluice-config", "sluice-http"],
    &["sluice-gateway", "sluice-rls"],
    &["sluice-server"],
];

/// The packages beside those levels, and all that each depends on.
const BESIDE: &[(&str, &[&str])] = &[
    (TELEMETRY, &[]),
    ("sluice-dashboards", &[]),
    (TESTKIT, &["sluice-core"]),
    ("sluice-tests", &[TESTKIT]),
    ("xtask", &[]),
];

/// Every level may depend on it but those in [`WITHOUT_TELEMETRY`].
const TELEMETRY: &str = "sluice-telemetry";

/// They return facts; the callers record them.
const WITHOUT_TELEMETRY: &[&str] = &["sluice-core", "sluice-store"];

/// A dev-dependency of any package, and a dependency only of the end-to-end tests.
const TESTKIT: &str = "sluice-testkit";

/// What no package uses, not even in its tests: `tests/` runs the server as a process.
const TOP: &[&str] = &["sluice-server", "sluice-tests", "xtask"];

/// What matters of a `Cargo.toml`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Manifest {
    name: String,
    dependencies: Vec<String>,
    dev_dependencies: Vec<String>,
}

/// Returns one finding for each dependency that points upwards.
///
/// # Errors
/// When a `Cargo.toml` cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let manifests: Vec<_> = workspace::packages(root)?
        .iter()
        .map(|package| Manifest::parse(&package.manifest))
        .collect();
    Ok(findings(&manifests))
}

fn findings(manifests: &[Manifest]) -> Vec<String> {
    let is_ours = |name: &&String| manifests.iter().any(|manifest| manifest.name == **name);
    let mut findings = Vec::new();
    for manifest in manifests {
        let name = &manifest.name;
        if !is_in_the_table(name) {
            findings.push(format!(
                "{name} is not in the table of xtask/src/lint/crate_order.rs: add it there"
            ));
            continue;
        }
        for dependency in manifest.dependencies.iter().filter(is_ours) {
            if !may_depend(name, dependency) {
                findings.push(format!("{name} must not depend on {dependency}"));
            }
        }
        for dependency in manifest.dev_dependencies.iter().filter(is_ours) {
            if TOP.contains(&dependency.as_str()) {
                findings.push(format!("{name} must not use {dependency}, not even in its tests"));
            }
        }
    }
    findings
}

fn is_in_the_table(package: &str) -> bool {
    level(package).is_some() || BESIDE.iter().any(|(name, _)| *name == package)
}

fn may_depend(package: &str, dependency: &str) -> bool {
    if let Some((_, dependencies)) = BESIDE.iter().find(|(name, _)| *name == package) {
        return dependencies.contains(&dependency);
    }
    if dependency == TELEMETRY {
        return !WITHOUT_TELEMETRY.contains(&package);
    }
    // `None`, for what stands beside the levels, is not below anything.
    level(dependency).is_some_and(|lower| Some(lower) < level(package))
}

fn level(package: &str) -> Option<usize> {
    LEVELS.iter().position(|crates| crates.contains(&package))
}

// === impl Manifest ===

impl Manifest {
    /// Reads the package's name and the names in its tables of dependencies, also in those for one
    /// target; a build dependency counts as a dependency.
    fn parse(text: &str) -> Self {
        let (mut manifest, mut table) = (Self::default(), String::new());
        for line in text.lines().map(str::trim) {
            if let Some(header) = line.strip_prefix('[') {
                table = header.trim_end_matches(']').to_owned();
                // `[dependencies.name]`
                if let Some((of, name)) = table.rsplit_once("dependencies.") {
                    let of = format!("{of}dependencies");
                    manifest.add(&of, name);
                }
            } else if let Some((key, value)) = line.split_once('=')
                && !line.starts_with('#')
            {
                let key = key.trim();
                if (table.as_str(), key) == ("package", "name") {
                    manifest.name = value.trim().trim_matches('"').to_owned();
                }
                let name = renamed(value).unwrap_or(key.split('.').next().unwrap_or(key));
                manifest.add(&table, name);
            }
        }
        manifest
    }

    fn add(&mut self, table: &str, name: &str) {
        // `target.'cfg(unix)'.dependencies` too.
        match table.rsplit('.').next() {
            Some("dependencies" | "build-dependencies") => self.dependencies.push(name.to_owned()),
            Some("dev-dependencies") => self.dev_dependencies.push(name.to_owned()),
            _ => {}
        }
    }
}

/// The package's own name in `alias = { package = "name", ... }`.
fn renamed(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str], dev_dependencies: &[&str]) -> Manifest {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Manifest {
            name: name.to_owned(),
            dependencies: owned(dependencies),
            dev_dependencies: owned(dev_dependencies),
        }
    }

    /// The findings about `package`, in a workspace that has every package of the table.
    fn findings_about(package: Manifest) -> Vec<String> {
        let names = LEVELS.iter().copied().flatten().chain(BESIDE.iter().map(|(name, _)| name));
        let others = names.filter(|name| **name != package.name);
        let mut manifests: Vec<_> = others.map(|name| self::package(name, &[], &[])).collect();
        manifests.push(package);
        findings(&manifests)
    }

    #[test]
    fn dependencies_point_downwards() {
        let down = package("sluice-rls", &["sluice-config", "sluice", "sluice-core"], &[]);
        assert!(findings_about(down).is_empty());
        for (package_name, dependency) in [
            ("sluice-core", "sluice-store"),
            ("sluice-store", "sluice-stats"),
            ("sluice-gateway", "sluice-rls"),
            ("sluice-http", "sluice-server"),
            ("sluice", "sluice-dashboards"),
            ("sluice-telemetry", "sluice-core"),
        ] {
            assert_eq!(
                findings_about(package(package_name, &[dependency], &[])),
                [format!("{package_name} must not depend on {dependency}")]
            );
        }
    }

    #[test]
    fn core_and_store_do_not_depend_on_telemetry() {
        for name in ["sluice-stats", "sluice", "sluice-server"] {
            assert!(findings_about(package(name, &[TELEMETRY], &[])).is_empty(), "{name}");
        }
        for name in WITHOUT_TELEMETRY {
            assert_eq!(findings_about(package(name, &[TELEMETRY], &[])).len(), 1, "{name}");
        }
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        assert!(findings_about(package("sluice-core", &[], &[TESTKIT])).is_empty());
        assert_eq!(
            findings_about(package("sluice-core", &[TESTKIT], &[])),
            ["sluice-core must not depend on sluice-testkit"]
        );
    }

    #[test]
    fn dev_dependencies_point_anywhere_below_the_server() {
        assert!(findings_about(package("sluice-core", &[], &["sluice-gateway"])).is_empty());
        assert_eq!(
            findings_about(package("sluice-http", &[], &["sluice-server"])),
            ["sluice-http must not use sluice-server, not even in its tests"]
        );
    }

    #[test]
    fn a_new_crate_needs_a_place_in_the_table() {
        assert_eq!(
            findings_about(package("sluice-new", &[], &[])),
            ["sluice-new is not in the table of xtask/src/lint/crate_order.rs: add it there"]
        );
    }

    #[test]
    fn every_form_of_a_dependency_is_read() {
        let manifest = Manifest::parse(
            r#"
            [package]
            name = "sluice"
            [features]
            redis = ["dep:sluice-store"]
            [dependencies]
            # sluice-server = "1"
            sluice-core.workspace = true
            store = { path = "../store", package = "sluice-store" }
            [dependencies.sluice-stats]
            workspace = true
            [target.'cfg(target_os = "linux")'.dependencies]
            procfs = { workspace = true }
            [dev-dependencies]
            sluice-testkit = { workspace = true }
            "#,
        );
        assert_eq!(
            manifest,
            package(
                "sluice",
                &["sluice-core", "sluice-store", "sluice-stats", "procfs"],
                &["sluice-testkit"]
            )
        );
    }
}
