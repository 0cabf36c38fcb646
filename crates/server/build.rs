//! Sets `SLUICE_REVISION` for the program: the environment variable of that name, else the commit
//! that git reports, else `unknown`.

use std::{env, fs, path::Path, process::Command};

/// The digits of a commit's hash that are kept: enough for any repository of this size.
const DIGITS: &str = "12";

fn main() {
    println!("cargo::rerun-if-env-changed=SLUICE_REVISION");
    let revision = env::var("SLUICE_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision = revision.or_else(commit).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SLUICE_REVISION={revision}");
}

/// Returns the commit that is checked out, if git knows it.
fn commit() -> Option<String> {
    let root =
        fs::canonicalize(Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("../..")).ok()?;
    // If this project lies inside of another repository, that repository's commit means nothing.
    if fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()? != root {
        return None;
    }
    // This file changes with every commit and checkout.
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", &format!("--short={DIGITS}"), "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
