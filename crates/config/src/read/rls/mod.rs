//! `rls: { files: [ratelimit/*.yaml] }`: the files of Envoy's rate limit service, in the grammar of
//! envoyproxy/ratelimit.
//!
//! The files are read unchanged, and a file is good exactly if it is good there. Beside `files`
//! there are four keys:
//!
//! | key | default | |
//! |---|---|---|
//! | `merge_domains` | `false` | several files may add to one domain (`MERGE_DOMAIN_CONFIG`) |
//! | `response_headers` | `false`, as there | responses have fields about the client's limits |
//! | `overrun` | `auto` | what happens to usage that does not fit; for all, a domain or a rule |
//! | `precision` | `exact` | whether replicas may take tokens in blocks, for all rules |

mod file;
mod merge;
mod metadata;
mod overrun;
mod scalar;

use std::{collections::HashMap, path::PathBuf};

use sluice_core::Precision;

use self::file::{File, Taken, add_descriptors};
use super::numbers;
use crate::{
    error::{ErrorLog, Refused},
    files::Files,
    origin::Origin,
    path::Path,
    reader::{Field, Place},
    settings::rls::{Domain, RlsSettings},
};

/// Reads the section, and the files that it names.
pub(super) fn read(field: &Field<'_>, files: &Files) -> Result<RlsSettings, Refused> {
    field.table(|rls| {
        let merge_domains = rls.field("merge_domains").or(false, Field::bool);
        // Off as in envoyproxy/ratelimit: Envoy may add fields of its own, and both together
        // contradict each other.
        let response_headers = rls.field("response_headers").or(false, Field::bool);
        let precision = rls.field("precision").or(Precision::default(), numbers::precision);
        let overruns = rls.field("overrun").optional(overrun::read);
        let patterns = rls.field("files").required("name the files, as in `[ratelimit/*.yaml]`")?;
        let names = names(&patterns, files)?;
        let mut domains = domains(&names, merge_domains?, &patterns, files)?;
        overruns?.unwrap_or_default().apply(&mut domains)?;
        Ok(RlsSettings { domains, response_headers: response_headers?, precision: precision? })
    })
}

/// Reads `text`, the content of the rules file `origin`, alone.
pub(crate) fn read_file(
    text: &str,
    origin: &Origin,
    errors: &ErrorLog,
    warnings: &ErrorLog,
) -> Result<Domain, Refused> {
    file::read(text, origin, errors, warnings).map(|file| file.domain)
}

/// The files that fit the patterns, each once, in the order of the patterns and then of their
/// names.
fn names(patterns: &Field<'_>, files: &Files) -> Result<Vec<PathBuf>, Refused> {
    let mut names: Vec<PathBuf> = Vec::new();
    patterns.one_or_more(|pattern| {
        let text = pattern.text()?;
        let found = files.list(pattern.origin().folder(), text).map_err(|error| {
            pattern.refuse(format_args!("`{text}` is not a pattern for files: {error}"))
        })?;
        if found.is_empty() {
            return Err(pattern.refuse(format_args!(
                "`{text}` names no file: correct it, or put the files there"
            )));
        }
        let new: Vec<PathBuf> = found.into_iter().filter(|name| !names.contains(name)).collect();
        names.extend(new);
        Ok(())
    })?;
    Ok(names)
}

/// Reads the files, and joins the domains of the same name if `merge_domains`.
fn domains(
    names: &[PathBuf],
    merge_domains: bool,
    patterns: &Field<'_>,
    files: &Files,
) -> Result<Vec<Domain>, Refused> {
    let (errors, warnings) = patterns.logs();
    let mut domains: Vec<Domain> = Vec::new();
    // By their names: the index of each domain, its first file, and what is taken in it.
    let mut known: HashMap<String, (usize, Place, Taken)> = HashMap::new();
    let mut refused = None;
    for name in names {
        let origin = Origin::file(name.to_string_lossy());
        let file = files
            .read_text(name)
            .map_err(|error| {
                let message = || format!("the file cannot be read: {error}");
                errors.refuse(|| origin.clone(), Path::root, message)
            })
            .and_then(|text| file::read(&text, &origin, errors, warnings));
        let file = match file {
            Ok(file) => file,
            Err(why) => {
                refused = Some(why);
                continue;
            }
        };
        match known.get_mut(&file.domain.name) {
            None => {
                let File { domain, place, taken } = file;
                known.insert(domain.name.clone(), (domains.len(), place, taken));
                domains.push(domain);
            }
            Some((index, _, taken)) if merge_domains => {
                let added = add_descriptors(file, &mut domains[*index], taken, errors);
                refused = added.err().or(refused);
            }
            Some((_, first, _)) => {
                refused = Some(patterns.refuse_at(
                    &file.place,
                    format_args!(
                        "`{}` is already taken by {}: join the files, or set `merge_domains: true`",
                        file.domain.name, first.origin
                    ),
                ));
            }
        }
    }
    refused.map_or(Ok(domains), Err)
}
