//! `cargo xtask chart`: the files of the Helm chart that have their source elsewhere.
//!
//! They are copies and not links, because tools that package a chart by themselves drop links
//! without a word. Tests compare the copies with their sources.

use std::fs;
use std::path::Path;

use crate::report::Report;

/// Each directory in the chart's `files`, its source, and the extension of what is copied.
const COPIES: [(&str, &str, &str); 2] = [
    ("deploy/helm/sluice/files/dashboards", "deploy/grafana/dashboards", "json"),
    ("deploy/helm/sluice/files/rules", "deploy/prometheus/rules", "yml"),
];

pub(crate) fn run(report: &mut Report, root: &Path) {
    report.check("write the chart's copies", || {
        for (copy, source, extension) in COPIES {
            replace(&root.join(copy), &root.join(source), extension)
                .map_err(|error| format!("{copy}: {error}"))?;
        }
        Ok(Vec::new())
    });
}

/// Makes `copy` a directory with the files of `source` that have this extension, and no others.
fn replace(copy: &Path, source: &Path, extension: &str) -> std::io::Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        if let Some(name) = path.file_name()
            && path.extension().is_some_and(|found| found == extension)
        {
            fs::copy(&path, copy.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::root;

    #[test]
    fn the_copies_are_equal_to_their_sources() {
        for (copy, source, extension) in COPIES {
            let names = |directory: &str| {
                let entries = fs::read_dir(root().join(directory)).unwrap();
                let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
                names.retain(|path| path.extension().is_some_and(|found| found == extension));
                names.sort();
                names
            };
            let (copies, sources) = (names(copy), names(source));
            assert_eq!(copies.len(), sources.len(), "{copy}: run `cargo xtask chart`");
            for (copy, source) in copies.iter().zip(&sources) {
                let display = copy.display();
                assert_eq!(copy.file_name(), source.file_name());
                assert!(!copy.is_symlink(), "{display} must be a file");
                let is_equal = fs::read(copy).unwrap() == fs::read(source).unwrap();
                assert!(is_equal, "{display} is stale: run `cargo xtask chart`");
            }
        }
    }
}
