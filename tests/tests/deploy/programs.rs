//! The programs that check files, and functions to run them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use sluice_testkit::Program;

const REMEDY: &str = "cargo xtask tools";

pub(crate) const PROMTOOL: Program = Program {
    name: "promtool",
    variable: "SLUICE_PROMTOOL",
    remedy: "apt-get install --no-install-recommends prometheus",
};
pub(crate) const AMTOOL: Program = Program {
    name: "amtool",
    variable: "SLUICE_AMTOOL",
    remedy: "apt-get install --no-install-recommends prometheus-alertmanager",
};
pub(crate) const DOCKER_COMPOSE: Program =
    Program { name: "docker-compose-v2", variable: "SLUICE_DOCKER_COMPOSE", remedy: REMEDY };
pub(crate) const HADOLINT: Program =
    Program { name: "hadolint", variable: "SLUICE_HADOLINT", remedy: REMEDY };
pub(crate) const NGINX: Program =
    Program { name: "nginx-mainline", variable: "SLUICE_NGINX", remedy: REMEDY };
pub(crate) const GRAFANA_TSC: Program =
    Program { name: "grafana-tsc", variable: "SLUICE_GRAFANA_TSC", remedy: REMEDY };
const PYTHON: Program =
    Program { name: "deploy-python", variable: "SLUICE_DEPLOY_PYTHON", remedy: REMEDY };

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is directly in the workspace's root")
        .to_owned()
}

/// Reads a file. Its path is relative to the workspace's root.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the files of a directory in order. All paths are relative to the workspace's root.
#[track_caller]
pub(crate) fn files(directory: &str) -> Vec<String> {
    let entries =
        fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let names = entries.map(|entry| {
        entry
            .expect("the directory can be read")
            .file_name()
            .into_string()
            .expect("our names are UTF-8")
    });
    let mut files: Vec<_> = names
        .map(|name| format!("{directory}/{name}"))
        .filter(|path| root().join(path).is_file())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} is empty");
    files
}

/// Runs a program in the workspace's root, and returns its output.
#[track_caller]
pub(crate) fn run(program: &Program, args: &[impl AsRef<str>]) -> Output {
    run_with_input(program, args, "")
}

/// Runs a program that must succeed, and returns its standard output.
#[track_caller]
pub(crate) fn succeed(program: &Program, args: &[impl AsRef<str>]) -> String {
    output_of_success(program, &run(program, args))
}

/// Runs a script of `tests/py` with `input` as its standard input, and returns the JSON that it
/// prints.
#[track_caller]
pub(crate) fn python(script: &str, args: &[impl AsRef<str>], input: &Value) -> Value {
    let script = format!("tests/py/{script}.py");
    let args: Vec<&str> =
        std::iter::once(script.as_str()).chain(args.iter().map(AsRef::as_ref)).collect();
    let text = output_of_success(&PYTHON, &run_with_input(&PYTHON, &args, &input.to_string()));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{script} did not print JSON ({error}): {text}"))
}

/// Reads YAML files, and returns the documents of each.
#[track_caller]
pub(crate) fn yaml(paths: &[impl AsRef<str>]) -> Vec<Vec<Value>> {
    let files = python("yaml_json", paths, &Value::Null);
    serde_json::from_value(files).expect("the script prints a list of lists")
}

/// Reads a YAML file that has one document.
#[track_caller]
pub(crate) fn yaml_document(path: &str) -> Value {
    let mut documents = yaml(&[path]).remove(0);
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

#[track_caller]
fn run_with_input(program: &Program, args: &[impl AsRef<str>], input: &str) -> Output {
    let mut child = Command::new(program.path())
        .args(args.iter().map(AsRef::as_ref))
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.name));
    let mut stdin = child.stdin.take().expect("it is piped");
    // In a second thread: with full pipes, writing would wait for the program and the program for
    // us.
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().unwrap_or_else(|error| panic!("{}: {error}", program.name))
    })
}

#[track_caller]
fn output_of_success(program: &Program, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}: {}\n{}{}",
        program.name,
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
