//! `cargo xtask notices DIRECTORY`: what has to accompany a binary that contains other people's
//! crates. Writes the texts of their licences, and a bill of materials in `CycloneDX`.
//!
//! `cargo tree` knows the crates of the binary on this platform, and their sources are in Cargo's
//! registry, so the image needs no further program for it.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::report::Report;
use crate::shell::cargo;

const LICENCES: &str = "THIRD-PARTY-LICENSES.txt";
const MATERIALS: &str = "sbom.cdx.json";
const HEADING: &str = "\
This program contains the crates below, each under its own licence. A crate with a choice of
licences (`OR`) is used under any of them.
";

/// A crate in the binary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    /// An SPDX expression, or empty.
    licence: String,
    repository: String,
}

pub(crate) fn run(report: &mut Report, directory: &Path) {
    report.check("write the licences and the bill of materials", || {
        let crates = crates()?;
        let (texts, without) = licences(&crates, &registries())?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        write(LICENCES, &texts)?;
        write(MATERIALS, &materials(&crates, env!("CARGO_PKG_VERSION")))?;
        Ok(without)
    });
}

/// Returns the crates of others in the binary.
fn crates() -> Result<BTreeSet<Crate>, String> {
    let mut tree = cargo(&["tree", "--locked", "--package", "sluice-server", "--edges", "normal"]);
    let output = tree
        .args(["--prefix", "none", "--format", "{p}|{l}|{r}"])
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads the output of `cargo tree`. A crate of ours has its path after the version, and a crate
/// that was listed before is marked with `(*)`.
fn parse(tree: &str) -> BTreeSet<Crate> {
    let lines = tree.lines().filter_map(|line| {
        let mut parts = line.split('|');
        let mut package = parts.next()?.split(' ');
        let (name, version) = (package.next()?, package.next()?.strip_prefix('v')?);
        let licence = parts.next().unwrap_or_default();
        let repository = parts.next().unwrap_or_default().trim_end_matches(" (*)");
        let is_ours = package.any(|word| word.starts_with("(/"));
        (!is_ours).then(|| Crate {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.replace('/', " OR "),
            repository: repository.to_owned(),
        })
    });
    lines.collect()
}

/// Returns the directories with the sources of registries.
fn registries() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let entries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Returns the texts of all licences, and a finding for each crate whose source is missing. Equal
/// texts are written once, with all the crates that have them.
fn licences(
    crates: &BTreeSet<Crate>,
    registries: &[PathBuf],
) -> Result<(String, Vec<String>), String> {
    let mut texts: Vec<(String, Vec<String>)> = Vec::new();
    let mut without = Vec::new();
    for one in crates {
        let name = format!("{} {}", one.name, one.version);
        let folder = format!("{}-{}", one.name, one.version);
        let Some(source) =
            registries.iter().map(|registry| registry.join(&folder)).find(|path| path.is_dir())
        else {
            without.push(format!("{name}: its source is not in Cargo's registry"));
            continue;
        };
        let mut found = licence_files(&source)?;
        if found.is_empty() {
            // Its package has no text, so what it says of itself has to do.
            found.push(format!("Licensed under {}. See {}.", one.licence, one.repository));
        }
        for text in found {
            let label = format!("{name} ({})", one.licence);
            match texts.iter_mut().find(|(known, _)| *known == text) {
                Some((_, owners)) => owners.push(label),
                None => texts.push((text, vec![label])),
            }
        }
    }
    let mut page = HEADING.to_owned();
    for (text, owners) in texts {
        let line = "=".repeat(80);
        let _ = write!(page, "\n{line}\n{}\n{line}\n\n{text}\n", owners.join("\n"));
    }
    Ok((page, without))
}

/// Returns the licences in a crate's directory, in the order of their names.
fn licence_files(source: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(source).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let begins = ["license", "licence", "copying", "notice", "unlicense"]
            .iter()
            .any(|word| name.starts_with(word));
        begins && path.is_file()
    });
    paths.sort();
    let read = |path: &PathBuf| fs::read(path).map_err(|error| error.to_string());
    let texts: Result<Vec<Vec<u8>>, String> = paths.iter().map(read).collect();
    Ok(texts?.iter().map(|text| String::from_utf8_lossy(text).trim().to_owned()).collect())
}

/// Returns the bill of materials, in the format `CycloneDX` 1.5.
fn materials(crates: &BTreeSet<Crate>, version: &str) -> String {
    let component = |one: &Crate| {
        let (name, version) = (quoted(&one.name), quoted(&one.version));
        let url = quoted(&format!("pkg:cargo/{}@{}", one.name, one.version));
        let licences = if one.licence.is_empty() {
            String::new()
        } else {
            format!(r#", "licenses": [{{ "expression": {} }}]"#, quoted(&one.licence))
        };
        format!(
            "    {{ \"type\": \"library\", \"bom-ref\": {url}, \"name\": {name}, \
             \"version\": {version}, \"purl\": {url}{licences} }}"
        )
    };
    let components: Vec<String> = crates.iter().map(component).collect();
    format!(
        r#"{{
  "bomFormat": "CycloneDX",
  "specVersion": "1.5",
  "version": 1,
  "metadata": {{
    "component": {{ "type": "application", "name": "sluice", "version": {} }}
  }},
  "components": [
{}
  ]
}}
"#,
        quoted(version),
        components.join(",\n")
    )
}

/// Returns a JSON string.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_crate(name: &str, licence: &str) -> Crate {
        Crate {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.to_owned(),
            repository: "https://example.com".to_owned(),
        }
    }

    #[test]
    fn crates_of_others_are_listed_once() {
        let tree = "\
sluice-server v0.1.0 (/build/crates/server)|MIT OR Apache-2.0|
anyhow v1.0.0|MIT/Apache-2.0|https://example.com
ring v0.17.1 (proc-macro)|ISC|https://example.org
anyhow v1.0.0|MIT/Apache-2.0|https://example.com (*)
";
        let crates = parse(tree);
        let names: Vec<_> = crates.iter().map(|one| (&*one.name, &*one.licence)).collect();
        assert_eq!(names, [("anyhow", "MIT OR Apache-2.0"), ("ring", "ISC")]);
    }

    #[test]
    fn equal_texts_are_written_once_and_a_missing_source_is_reported() {
        let registry = env::temp_dir().join(format!("sluice-notices-{}", std::process::id()));
        for (name, text) in [("a", "Be kind."), ("b", "Be kind."), ("c", "")] {
            let folder = registry.join(format!("{name}-1.0.0"));
            fs::create_dir_all(&folder).unwrap();
            if !text.is_empty() {
                fs::write(folder.join("LICENSE-MIT"), text).unwrap();
            }
        }
        let crates = ["a", "b", "c", "gone"].map(|name| a_crate(name, "MIT")).into();
        let (page, without) = licences(&crates, std::slice::from_ref(&registry)).unwrap();
        fs::remove_dir_all(&registry).unwrap();
        assert_eq!(page.matches("Be kind.").count(), 1);
        assert!(page.contains("a 1.0.0 (MIT)\nb 1.0.0 (MIT)\n"), "{page}");
        assert!(page.contains("Licensed under MIT. See https://example.com."), "{page}");
        assert_eq!(without, ["gone 1.0.0: its source is not in Cargo's registry"]);
    }

    #[test]
    fn the_bill_of_materials_names_each_crate() {
        let text = materials(&[a_crate("a", "MIT"), a_crate("b", "")].into(), "0.1.0");
        assert!(
            text.contains(r#""purl": "pkg:cargo/a@1.0.0", "licenses": [{ "expression": "MIT" }]"#)
        );
        assert!(text.contains(r#""purl": "pkg:cargo/b@1.0.0" }"#), "{text}");
        assert_eq!(quoted("a\"b\\\n"), r#""a\"b\\\u000a""#);
    }
}
