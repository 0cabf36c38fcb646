//! `rls: { files: [ratelimit/*.yaml] }`: the files of Envoy's rate limit service, in the grammar of
//! envoyproxy/ratelimit.
//!
//! The files are read unchanged, and a file is good exactly when it is good there; what is wrong is
//! said with its file, its place and what would be right. Beside `files` there are two keys:
//!
//! | key | default | |
//! |---|---|---|
//! | `merge_domains` | `false` | whether files may add to one domain, which is `MERGE_DOMAIN_CONFIG` there |
//! | `response_headers` | `true` | whether answers carry the header fields that tell a client where it stands |

mod file;
mod metadata;
mod scalar;
mod yaml;

use std::path::PathBuf;

use self::file::{File, Taken};
use crate::{
    error::ConfigError,
    files::Files,
    loader::base_of,
    origin::Origin,
    path::Path,
    reader::{Field, Place},
    settings::rls::{Domain, RlsSettings},
};

/// Reads the section; `Some(None)` when there is none.
pub(super) fn read(field: &Field<'_>, files: &Files) -> Option<Option<RlsSettings>> {
    if !field.is_said() {
        return Some(None);
    }
    let settings = field.table(|rls| {
        let merge_domains = rls.field("merge_domains");
        let merge_domains =
            if merge_domains.is_said() { merge_domains.truth() } else { Some(false) };
        let response_headers = rls.field("response_headers");
        let response_headers =
            if response_headers.is_said() { response_headers.truth() } else { Some(true) };
        let patterns = rls.field("files").required("name the files, as in `[ratelimit/*.yaml]`")?;
        let names = names(&patterns, files)?;
        let domains = Domains::read(&names, merge_domains?, &patterns, files)?;
        Some(RlsSettings { domains, response_headers: response_headers? })
    })?;
    Some(Some(settings))
}

/// The files that the patterns name, each once, in the order of the patterns and then of their
/// names.
fn names(patterns: &Field<'_>, files: &Files) -> Option<Vec<PathBuf>> {
    let mut names: Vec<PathBuf> = Vec::new();
    patterns.one_or_more(|pattern| {
        let text = pattern.text()?;
        let found = match files.list(base_of(&pattern.origin()), text) {
            Ok(found) => found,
            Err(error) => {
                return pattern
                    .refuse(format_args!("`{text}` is not a pattern for files: {error}"));
            }
        };
        if found.is_empty() {
            return pattern.refuse(format_args!(
                "`{text}` names no file: correct it, or put the files there"
            ));
        }
        let new: Vec<PathBuf> = found.into_iter().filter(|name| !names.contains(name)).collect();
        names.extend(new);
        Some(())
    })?;
    Some(names)
}

/// What was read so far.
#[derive(Default)]
struct Domains {
    domains: Vec<Domain>,
    /// For each, which file spoke of it first.
    origins: Vec<Origin>,
    /// For each, what stands at its top, in which file and where.
    taken: Vec<Vec<(Origin, Taken)>>,
}

impl Domains {
    fn read(
        names: &[PathBuf],
        merge: bool,
        patterns: &Field<'_>,
        files: &Files,
    ) -> Option<Vec<Domain>> {
        let (mut read, mut good) = (Self::default(), true);
        for name in names {
            let origin = Origin::File(name.to_string_lossy().into_owned());
            let text = match files.read_text(name) {
                Ok(text) => text,
                Err(error) => {
                    patterns.refuse_at(
                        &Place { path: Path::root(), origin },
                        format!("the file cannot be read: {error}"),
                    );
                    good = false;
                    continue;
                }
            };
            let File { domain, taken, findings } = file::read(&text);
            let as_mistake =
                |(path, message)| ConfigError { origin: origin.clone(), path, message };
            good &= findings.mistakes.is_empty();
            patterns.note(
                findings.mistakes.into_iter().map(as_mistake),
                findings.warnings.into_iter().map(as_mistake),
            );
            let clashes = read.add(domain, taken, &origin, merge);
            good &= clashes.is_empty();
            patterns.note(clashes.into_iter().map(as_mistake), []);
        }
        good.then_some(read.domains)
    }

    /// Adds what the file `origin` says; returns what clashes with files before it.
    fn add(
        &mut self,
        domain: Domain,
        taken: Taken,
        origin: &Origin,
        merge: bool,
    ) -> Vec<(Path, String)> {
        let Some(place) = self
            .domains
            .iter()
            .position(|known| known.name == domain.name && !domain.name.is_empty())
        else {
            self.domains.push(domain);
            self.origins.push(origin.clone());
            self.taken.push(vec![(origin.clone(), taken)]);
            return Vec::new();
        };
        if !merge {
            let (name, first) = (&domain.name, &self.origins[place]);
            let message = format!(
                "`{name}` is already taken by {first}: join the files, or set `merge_domains: true`"
            );
            return vec![(Path::root().key("domain"), message)];
        }
        let mut clashes = Vec::new();
        for descriptor in domain.descriptors {
            let text = file::unique_text(&descriptor);
            let first = self.taken[place].iter().find_map(|(origin, taken)| {
                taken.get(&text).map(|path| format!("{path} in {origin}"))
            });
            match (first, taken.get(&text)) {
                (Some(first), Some(path)) => {
                    clashes.push((path.clone(), file::already_taken(&descriptor, &first)));
                }
                _ => self.domains[place].descriptors.push(descriptor),
            }
        }
        self.taken[place].push((origin.clone(), taken));
        clashes
    }
}
