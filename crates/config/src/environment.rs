//! Settings from environment variables: `SLUICE__STORE__URL=redis://cache` means `store: { url:
//! "redis://cache" }`.
//!
//! - Names are read without regard to case, and `__` separates keys. A key that begins with `/` is
//!   an endpoint and keeps its case.
//! - A list is written with commas: `SLUICE__CLIENTS__TRUSTED_PROXIES=10.0.0.0/8,192.168.0.0/16`.
//! - A value in `[...]` or `{...}` is YAML: `SLUICE__ENDPOINTS={/api/v1.2/Chat: 20}`.
//! - An empty value counts as not set, since that is how Compose files pass variables on.

use std::ffi::OsString;

use config::{Map, Value, ValueKind};

use crate::{
    document::{parse_yaml, version_1_2},
    error::{ErrorLog, Refused},
    keys::Keys,
    layers::{self, SparseLayer},
    origin::Origin,
    path::Path,
};

/// What our variables begin with.
const PREFIX: &str = "SLUICE__";
const SEPARATOR: &str = "__";
const TWO_UNDERSCORES: &str = "with two underscores between keys";

/// The settings that are lists, whose values are split at their commas; `*` is any key.
const LISTS: [&[&str]; 10] = [
    &["access", "tokens"],
    &["clients", "identify"],
    &["clients", "trusted_proxies"],
    &["exempt"],
    &["gateway", "cors"],
    &["gateway", "upgrades"],
    &["gateway", "upstream"],
    &["metrics", "endpoints"],
    &["rls", "files"],
    &["tiers", "*", "clients"],
];

/// Reads the settings among `variables`. `keys` are all that there are.
pub(crate) fn read(
    variables: &[(OsString, OsString)],
    keys: &Keys,
    errors: &ErrorLog,
) -> Map<String, Value> {
    let mut ours: Vec<(String, &OsString)> = variables
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, value)| {
            name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
                && !value.is_empty()
        })
        .collect();
    // An environment has no order; errors should come in the same order each time.
    ours.sort();
    let mut layer = SparseLayer::default();
    for (name, value) in ours {
        let segments: Vec<String> = name[PREFIX.len()..].split(SEPARATOR).map(key).collect();
        let origin = Origin::Variable(name);
        let path = segments.iter().fold(Path::root(), |path, segment| path.key(segment));
        let refuse = |path: &Path, message: &str| {
            errors.refuse(|| origin.clone(), || path.clone(), || message.to_owned());
        };
        if segments.iter().any(String::is_empty) {
            let remedy = "a key is missing: write `SLUICE__STORE__URL`";
            refuse(&Path::root(), &format!("{remedy}, {TWO_UNDERSCORES}"));
            continue;
        }
        if let Some(meant) = keys.meant_by(&segments) {
            refuse(&Path::root(), &format!("is not read: write `{meant}`, {TWO_UNDERSCORES}"));
            continue;
        }
        let Some(text) = value.to_str() else {
            refuse(&path, "the value is not UTF-8: write it in UTF-8");
            continue;
        };
        if let Ok(value) = read_value(&origin, &segments, text, errors) {
            layer.put(&segments, &origin, value, errors);
        }
    }
    layer.finish()
}

fn key(segment: &str) -> String {
    if segment.starts_with('/') { segment.to_owned() } else { segment.to_lowercase() }
}

/// Reads `text` as the value at `segments`: YAML in brackets or braces, a list, or the text itself.
pub(crate) fn read_value(
    origin: &Origin,
    segments: &[String],
    text: &str,
    errors: &ErrorLog,
) -> Result<Value, Refused> {
    let text = text.trim();
    let enclosed = |open, close| text.starts_with(open) && text.ends_with(close);
    if enclosed('[', ']') || enclosed('{', '}') {
        let document = parse_yaml(text, version_1_2)
            .map_err(|error| errors.refuse(|| origin.clone(), Path::root, || error.message))?;
        return Ok(layers::values(&document.root, origin, errors));
    }
    let value = |kind: ValueKind| Value::new(Some(&origin.to_tag()), kind);
    if is_list(segments) {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        return Ok(value(ValueKind::Array(words.map(|word| value(word.into())).collect())));
    }
    Ok(value(text.into()))
}

fn is_list(segments: &[String]) -> bool {
    let fits = |(key, segment): (&&str, &String)| *key == "*" || key == segment;
    LISTS.iter().any(|list| list.len() == segments.len() && list.iter().zip(segments).all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(variables: &[(&str, &str)]) -> (Map<String, Value>, Vec<String>) {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let errors = ErrorLog::default();
        let keys = Keys::new(["store.url".to_owned(), "store.on_failure".to_owned()]);
        let values = read(&variables, &keys, &errors);
        (values, errors.into_errors().lines().collect())
    }

    fn shown(variables: &[(&str, &str)]) -> String {
        let (values, errors) = read_all(variables);
        assert_eq!(errors, Vec::<String>::new());
        Value::new(None, values).to_string()
    }

    #[test]
    fn names_are_read_without_regard_to_case_but_endpoints_keep_theirs() {
        assert_eq!(
            shown(&[("SLUICE__STORE__URL", "redis://Cache")]),
            "{ store => { url => redis://Cache,  },  }"
        );
        assert_eq!(
            shown(&[("sluice__store__on_failure", "deny")]),
            "{ store => { on_failure => deny,  },  }"
        );
        assert_eq!(
            shown(&[("SLUICE__ENDPOINTS__/api/v1.2/Chat", "20")]),
            "{ endpoints => { /api/v1.2/Chat => 20,  },  }"
        );
    }

    #[test]
    fn other_variables_and_empty_values_set_nothing() {
        assert_eq!(
            shown(&[
                ("SLUICE_PORT", "tcp://10.0.0.1:8000"),
                ("SLUICE__STORE__URL", ""),
                ("PATH", "/bin")
            ]),
            "{  }"
        );
    }

    #[test]
    fn values_in_brackets_and_braces_are_yaml_and_an_ipv6_address_is_not() {
        assert_eq!(
            shown(&[("SLUICE__EXEMPT", "[/a, /B]")]),
            shown(&[("SLUICE__EXEMPT", "['/a', '/B']")])
        );
        assert_eq!(
            shown(&[("SLUICE__ENDPOINTS", "{/Api: 20}")]),
            "{ endpoints => { /Api => 20,  },  }"
        );
        assert_eq!(
            shown(&[("SLUICE__LISTEN__HTTP", "[::]:8000")]),
            "{ listen => { http => [::]:8000,  },  }"
        );
        let (_, errors) = read_all(&[("SLUICE__LIMITS", "[{name: a, name: b}]")]);
        assert_eq!(errors.len(), 1, "{errors:?}");
    }

    #[test]
    fn lists_are_split_at_their_commas_and_other_texts_are_not() {
        let (values, _) = read_all(&[
            ("SLUICE__CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8, ::1,"),
            ("SLUICE__LOG__LEVEL", "info,sluice=debug"),
        ]);
        let ValueKind::Table(clients) = &values["clients"].kind else { panic!("a table") };
        let ValueKind::Array(proxies) = &clients["trusted_proxies"].kind else { panic!("a list") };
        assert_eq!(
            proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "::1"]
        );
        assert_eq!(values["log"].to_string(), "{ level => info,sluice=debug,  }");
        assert!(is_list(&["tiers".to_owned(), "pro".to_owned(), "clients".to_owned()]));
        assert!(is_list(&["rls".to_owned(), "files".to_owned()]));
    }

    #[test]
    fn a_name_that_lacks_a_key_or_sets_a_path_twice_is_refused() {
        let (_, errors) = read_all(&[
            ("SLUICE__", "x"),
            ("SLUICE__STORE____URL", "x"),
            ("SLUICE__A", "x"),
            ("sluice__a", "y"),
        ]);
        assert_eq!(errors.len(), 3, "{errors:?}");
        let missing = "SLUICE__: a key is missing: write `SLUICE__STORE__URL`, with two \
                       underscores between keys";
        assert_eq!(errors[0], missing);
        assert_eq!(errors[2], "sluice__a: a: already set by SLUICE__A: keep one of them");
    }

    #[test]
    fn a_key_with_too_few_or_too_many_underscores_is_refused_with_the_right_name() {
        let (values, errors) = read_all(&[
            ("SLUICE__STORE_URL", "redis://:hunter2@cache"),
            ("sluice__store__on__failure", "deny"),
            ("SLUICE__STORE__ON_FAILURE", "deny"),
        ]);
        let expected = [
            "SLUICE__STORE_URL: is not read: write `SLUICE__STORE__URL`, with two underscores \
             between keys",
            "sluice__store__on__failure: is not read: write `SLUICE__STORE__ON_FAILURE`, with two \
             underscores between keys",
        ];
        assert_eq!(errors, expected);
        assert_eq!(Value::new(None, values).to_string(), "{ store => { on_failure => deny,  },  }");
    }
}
