//! `deploy/Dockerfile` and `.dockerignore`.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{HADOLINT, read, root, run, yaml_document};

const DOCKERFILE: &str = "deploy/Dockerfile";

/// Returns the instructions of each stage: the first word, and the rest. Continued lines are
/// joined.
fn stages() -> Vec<Vec<(String, String)>> {
    let text = read(DOCKERFILE).replace("\\\n", " ");
    let mut stages: Vec<Vec<(String, String)>> = Vec::new();
    for line in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (word, rest) =
            line.split_once(' ').unwrap_or_else(|| panic!("`{line}` has no arguments"));
        if word == "FROM" {
            stages.push(Vec::new());
        } else if stages.is_empty() {
            // The arguments before the first stage name the base images.
            continue;
        }
        stages
            .last_mut()
            .unwrap_or_else(|| panic!("`{line}` is before FROM"))
            .push((word.to_owned(), rest.to_owned()));
    }
    stages
}

/// Returns the default of an argument that names a base image.
fn argument(name: &str) -> String {
    let text = read(DOCKERFILE);
    let default = text.lines().find_map(|line| line.strip_prefix(&format!("ARG {name}=")));
    default.unwrap_or_else(|| panic!("there is no ARG {name}")).to_owned()
}

fn all(stage: &[(String, String)], word: &str) -> Vec<String> {
    stage.iter().filter(|(known, _)| known == word).map(|(_, rest)| rest.clone()).collect()
}

#[test]
fn hadolint_accepts_the_dockerfile() {
    let output = run(&HADOLINT, &["--no-color", "--failure-threshold", "style", DOCKERFILE]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn hadolint_rejects_a_bad_dockerfile() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("Dockerfile");
    fs::write(&path, read(DOCKERFILE).replace("FROM ${BUILDER} AS chef", "FROM rust AS chef"))
        .unwrap();
    let output =
        run(&HADOLINT, &["--no-color", "--failure-threshold", "style", path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("DL3006"), "{output:?}");
}

#[test]
fn the_image_has_neither_a_shell_nor_root() {
    let stages = stages();
    let last = stages.last().unwrap();
    assert_eq!(all(last, "FROM"), ["${BASE}"]);
    assert_eq!(argument("BASE"), "gcr.io/distroless/cc-debian13:nonroot");
    assert_eq!(all(last, "USER"), ["65532:65532"]);
    assert_eq!(all(last, "RUN"), [""; 0]);
    // Only the program and its licences are copied, from the stage that made them.
    assert_eq!(
        all(last, "COPY"),
        [
            "--from=build /build/notices /usr/share/doc/sluice",
            "--from=build /build/target/release/sluice /usr/local/bin/sluice",
        ]
    );
    assert_eq!(all(last, "ENTRYPOINT"), ["[\"/usr/local/bin/sluice\"]"]);
    assert!(all(last, "HEALTHCHECK")[0].ends_with("CMD [\"/usr/local/bin/sluice\", \"health\"]"));
}

#[test]
fn the_image_is_labelled_with_its_version_revision_and_base() {
    let stages = stages();
    let last = stages.last().unwrap();
    let labels = all(last, "LABEL").remove(0);
    let label = |name: &str| {
        let start = format!("org.opencontainers.image.{name}=\"");
        let rest = labels.split_once(&start).unwrap_or_else(|| panic!("no label {name}")).1;
        rest.split('"').next().unwrap().to_owned()
    };
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("revision"), "${SLUICE_REVISION}");
    assert_eq!(label("base.name"), argument("BASE"));
    assert_eq!(label("licenses"), "MIT OR Apache-2.0");
    assert!(all(last, "ARG").contains(&"SLUICE_REVISION=unknown".to_owned()));
    // A frontend would be downloaded for each build, and nothing here needs one.
    assert!(!read(DOCKERFILE).contains("# syntax="));
    for image in [argument("BUILDER"), argument("BASE")] {
        assert!(image.contains(':') && !image.ends_with(":latest"), "{image} is not pinned");
    }
}

#[test]
fn the_program_in_the_image_has_no_symbols() {
    let stages = stages();
    let chef = all(&stages[0], "ENV").remove(0);
    assert!(chef.contains("CARGO_PROFILE_RELEASE_STRIP=symbols"), "{chef}");
    // The same profile builds the dependencies and our own code, in stages based on this one.
    assert!(stages.iter().filter(|stage| stage[0].1.starts_with("chef AS ")).count() == 2);
}

#[test]
fn dependencies_are_built_before_our_own_code_is_copied() {
    let stages = stages();
    let build = stages.iter().find(|stage| stage[0].1.ends_with(" AS build")).unwrap();
    let place = |found: &dyn Fn(&str, &str) -> bool| {
        build.iter().position(|(word, rest)| found(word, rest)).unwrap()
    };
    let cook = place(&|word, rest| {
        word == "RUN" && rest.starts_with("cargo chef cook --release --locked ")
    });
    let copy = place(&|word, rest| word == "COPY" && rest == ". .");
    let ours =
        place(&|word, rest| word == "RUN" && rest.starts_with("cargo build --release --locked "));
    assert!(cook < copy && copy < ours);
    // With other packages or features the dependencies would be built a second time.
    let flags = |place: usize, command: &str| {
        build[place].1.trim_start_matches(command).replace(" --recipe-path recipe.json", "")
    };
    assert_eq!(flags(cook, "cargo chef cook"), flags(ours, "cargo build"));
}

#[test]
fn the_revision_is_an_argument_only_of_the_build_of_our_own_code() {
    let stages = stages();
    let build = stages.iter().find(|stage| stage[0].1.ends_with(" AS build")).unwrap();
    let argument = build
        .iter()
        .position(|(word, rest)| {
            (word.as_str(), rest.as_str()) == ("ARG", "SLUICE_REVISION=unknown")
        })
        .unwrap();
    assert!(
        build[argument + 1].1.starts_with("cargo build "),
        "earlier instructions stay in the cache when the revision changes"
    );
    assert!(read("crates/server/build.rs").contains("env::var(\"SLUICE_REVISION\")"));
}

#[test]
fn the_image_exposes_the_ports_that_are_listened_on() {
    let stages = stages();
    let defaults = yaml_document("crates/config/src/defaults.yaml");
    let port = |address: &str| {
        defaults["listen"][address].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned()
    };
    assert_eq!(
        all(stages.last().unwrap(), "EXPOSE"),
        [format!("{} {}", port("http"), port("grpc"))]
    );
}

#[test]
fn the_images_compiler_is_new_enough() {
    let manifest = read("Cargo.toml");
    let minor =
        |text: &str| text.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap();
    let needed = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .map(|line| minor(line.trim_end_matches('"')))
        .unwrap();
    let image = argument("BUILDER");
    let version =
        image.strip_prefix("rust:").and_then(|rest| rest.split('-').next()).unwrap().to_owned();
    assert!(minor(&version) >= needed, "{image}");
}

/// Returns the files that git knows and `.dockerignore` allows. Our `.dockerignore` excludes
/// everything and lists exceptions.
fn context() -> Vec<String> {
    let ignore = read(".dockerignore");
    let patterns: Vec<&str> =
        ignore.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(patterns[0], "*");
    let allowed: Vec<&str> =
        patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).collect();
    assert!(allowed.iter().all(|name| root().join(name).exists()), "{allowed:?}");
    let files = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(files.status.success(), "{files:?}");
    let files = String::from_utf8(files.stdout).expect("our names are UTF-8");
    files
        .split('\0')
        .filter(|path| allowed.contains(&path.split_once('/').map_or(*path, |(first, _)| first)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_build_context_is_a_complete_workspace() {
    let directory = TempDir::new().unwrap();
    for path in context() {
        let target = directory.path().join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        // A file that was deleted without a commit is missing here.
        if root().join(&path).is_file() {
            fs::copy(root().join(&path), target).unwrap();
        }
    }
    assert!(
        !directory.path().join("rust-toolchain.toml").exists(),
        "the build uses the compiler of the image"
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let targets = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package["name"] == "sluice-server")
        .flat_map(|package| package["targets"].as_array().unwrap());
    assert!(
        targets.clone().any(|target| target["name"] == "sluice" && target["kind"][0] == "bin"),
        "{:?}",
        targets.collect::<Vec<_>>()
    );
}

#[test]
fn included_files_are_in_the_build_context() {
    let context = context();
    let mut seen = 0;
    for path in context.iter().filter(|path| {
        path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs")
    }) {
        for included in read(path).split("include_str!(\"").skip(1) {
            let name = included.split('"').next().unwrap();
            let file = fs::canonicalize(root().join(path).parent().unwrap().join(name))
                .unwrap_or_else(|error| panic!("{path}: {name}: {error}"));
            let file = file
                .strip_prefix(fs::canonicalize(root()).unwrap())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            assert!(
                context.contains(&file),
                "{path} includes {file}, which .dockerignore excludes"
            );
            seen += 1;
        }
    }
    assert!(seen > 0);
}
