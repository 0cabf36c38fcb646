//! Files as people write them: those in `good` are read, and those in `bad`, named after their
//! error, are refused with exactly the messages that they begin with. Those in `warned` are read
//! with exactly the warnings that they begin with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sluice_config::Loader;

/// The files in the folder `kind`.
pub(crate) fn files(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The messages that a fixture begins with: `# refused: LINE: PATH: MESSAGE`, or without the line
/// if they are about the whole file.
pub(crate) fn expected(name: &str, text: &str, word: &str) -> Vec<String> {
    let prefix = format!("# {word}: ");
    let messages = text.lines().map_while(|line| line.strip_prefix(&prefix));
    let space =
        |message: &str| if message.starts_with(|c: char| c.is_ascii_digit()) { "" } else { " " };
    messages.map(|message| format!("{name}:{}{message}", space(message))).collect()
}

/// The errors in `file`, without the name of its folder.
fn errors(file: &Path) -> Vec<String> {
    let folder = format!("{}/", file.parent().unwrap().display());
    match Loader::new().file(file).load() {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(|line| line.replace(&folder, "")).collect(),
    }
}

#[test]
fn every_good_file_is_read() {
    for file in files("good") {
        assert_eq!(errors(&file), Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn every_bad_file_is_refused_with_the_messages_it_begins_with() {
    for file in files("bad") {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let expected = expected(&name, &text, "refused");
        assert!(
            !expected.is_empty(),
            "{name} does not begin with `# refused: ` and what is wrong with it"
        );
        assert_eq!(errors(&file), expected, "{name}");
    }
}

#[test]
fn every_warned_file_is_read_with_the_warnings_it_begins_with() {
    for file in files("warned") {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = format!("{}/", file.parent().unwrap().display());
        let text = fs::read_to_string(&file).unwrap();
        let expected = expected(&name, &text, "warned");
        assert!(!expected.is_empty(), "{name} does not begin with `# warned: `");
        let settings = Loader::new().file(&file).load().unwrap_or_else(|errors| panic!("{errors}"));
        let warnings: Vec<String> = settings
            .warnings
            .iter()
            .map(|warning| warning.to_string().replace(&folder, ""))
            .collect();
        assert_eq!(warnings, expected, "{name}");
    }
}

#[test]
fn every_example_in_the_documents_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("ratelimit")).unwrap();
    let rules = "domain: edge\ndescriptors:\n\
                 - { key: path, rate_limit: { unit: minute, requests_per_unit: 5 } }\n";
    fs::write(folder.path().join("ratelimit/edge.yaml"), rules).unwrap();
    for (document, at_least) in
        [("README.md", 1), ("docs/configuration.md", 8), ("docs/algorithms.md", 5)]
    {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let examples: Vec<&str> =
            text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(examples.len() >= at_least, "{document}: {}", examples.len());
        for example in examples {
            let file = folder.path().join("example.yaml");
            fs::write(&file, example).unwrap();
            fs::write(folder.path().join("pro.keys"), "a key\n").unwrap();
            let read = Loader::new().file(&file).without_secrets().load();
            assert!(read.is_ok(), "{document}: {}\n{example}", read.unwrap_err());
        }
    }
}
