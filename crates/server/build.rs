//! Tells the program what it is built from: the variable `SLUICE_REVISION`, else what git says,
//! else `unknown`.

use std::{env, fs, path::Path, process::Command};

/// Digits of a commit's name: enough for any repository of this size.
const DIGITS: &str = "12";

fn main() {
    println!("cargo::rerun-if-env-changed=SLUICE_REVISION");
    let told = env::var("SLUICE_REVISION").ok().filter(|told| !told.is_empty());
    let revision = told.or_else(commit).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SLUICE_REVISION={revision}");
}

/// The commit that is checked out here, if git knows.
fn commit() -> Option<String> {
    let root =
        fs::canonicalize(Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("../..")).ok()?;
    // Another project's commit would say nothing, should this one lie inside of it.
    if fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()? != root {
        return None;
    }
    // Grows with every commit and checkout.
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
