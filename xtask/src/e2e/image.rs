//! Builds the image, and checks what it promises.

use std::path::Path;

use super::engine::{Engine, output};
use super::stand_ins;
use crate::report::Report;
use crate::shell::program;

const TAG: &str = "sluice";
const MIB: u64 = 1 << 20;
/// The stripped program.
const MAX_PROGRAM: u64 = 40 * MIB;
const NOTICES: &str = "/usr/share/doc/sluice";

/// Builds the image; returns whether there is one.
pub(super) fn build(report: &mut Report, engine: &Engine, root: &Path, stand_ins: bool) -> bool {
    let dockerfile = std::fs::read_to_string(root.join("deploy/Dockerfile")).unwrap_or_default();
    let base = |name: &str| {
        let line = dockerfile.lines().find_map(|line| line.strip_prefix(&format!("ARG {name}=")));
        line.unwrap_or_default().to_owned()
    };
    for (kind, image) in
        [(stand_ins::Kind::Builder, base("BUILDER")), (stand_ins::Kind::Base, base("BASE"))]
    {
        if !stand_ins::provide(report, engine, kind, &image, stand_ins) {
            report.leave_out("image", &format!("{image} cannot be had"));
            return false;
        }
    }
    let revision = output(program("git").args(["rev-parse", "--short=12", "HEAD"]));
    let mut build = engine.docker();
    build
        .args(["build", "--network", "host", "--file", "deploy/Dockerfile", "--tag", TAG])
        .arg("--build-arg")
        .arg(format!("SLUICE_REVISION={}", revision.unwrap_or_else(|_| "unknown".into())))
        .arg(".");
    report.run(build)
}

/// Checks the image's size, labels, user and files, and that it runs with a read-only root and
/// without capabilities.
pub(super) fn check(report: &mut Report, engine: &Engine) {
    report.check("the image is labelled, and runs as no root", || {
        let labels = output(engine.docker().args([
            "image",
            "inspect",
            "--format",
            "{{json .Config.Labels}} {{.Config.User}}",
            TAG,
        ]))?;
        let mut findings = Vec::new();
        for label in ["title", "version", "revision", "licenses", "base.name"] {
            if !labels.contains(&format!("\"org.opencontainers.image.{label}\":\"")) {
                findings.push(format!("no label {label}: {labels}"));
            }
        }
        if labels.contains("\"org.opencontainers.image.revision\":\"unknown\"") {
            findings.push("the revision is unknown".into());
        }
        if !labels.ends_with(" 65532:65532") {
            findings.push(format!("its user is not 65532: {labels}"));
        }
        Ok(findings)
    });
    report.check("the program is small, and its licences are beside it", || {
        let container = output(engine.docker().args(["create", TAG]))?;
        let listing = output(
            program("sh")
                .args(["-c", "docker export \"$0\" | tar --list --verbose"])
                .arg(&container)
                .envs(engine.docker().get_envs().filter_map(|(name, value)| Some((name, value?)))),
        );
        output(engine.docker().args(["rm", &container]))?;
        Ok(findings_in(&listing?))
    });
    report.check("the image runs with a read-only root and no capabilities", || {
        let version = output(engine.docker().args([
            "run",
            "--rm",
            "--read-only",
            "--network=none",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            TAG,
            "config",
            "show",
        ]))?;
        let is_default = version.contains("memory://");
        Ok(if is_default { Vec::new() } else { vec![format!("unexpected: {version}")] })
    });
}

/// Looks for the program and its licences in a listing by `tar`.
fn findings_in(listing: &str) -> Vec<String> {
    let size = |path: &str| {
        let line = listing.lines().find(|line| line.ends_with(&format!(" {}", &path[1..])))?;
        line.split_whitespace().nth(2)?.parse::<u64>().ok()
    };
    let mut findings = Vec::new();
    match size("/usr/local/bin/sluice") {
        None => findings.push("there is no /usr/local/bin/sluice".into()),
        Some(bytes) => {
            println!("the program has {} MiB", bytes / MIB);
            if bytes > MAX_PROGRAM {
                findings.push(format!("the program has {bytes} bytes, more than {MAX_PROGRAM}"));
            }
        }
    }
    for name in ["THIRD-PARTY-LICENSES.txt", "sbom.cdx.json", "LICENSE-APACHE", "LICENSE-MIT"] {
        if size(&format!("{NOTICES}/{name}")).is_none_or(|bytes| bytes < 100) {
            findings.push(format!("{NOTICES}/{name} is missing or empty"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_program_and_missing_licences_are_found() {
        let line =
            |size: u64, path: &str| format!("-rwxr-xr-x 0/0 {size} 2025-01-01 00:00 {path}\n");
        let notices =
            ["THIRD-PARTY-LICENSES.txt", "sbom.cdx.json", "LICENSE-APACHE", "LICENSE-MIT"]
                .map(|name| line(1_000, &format!("usr/share/doc/sluice/{name}")))
                .concat();
        let good = line(30 * MIB, "usr/local/bin/sluice") + &notices;
        assert_eq!(findings_in(&good), [""; 0]);
        let large = line(50 * MIB, "usr/local/bin/sluice") + &notices;
        assert_eq!(findings_in(&large).len(), 1);
        assert_eq!(findings_in("").len(), 5);
    }
}
