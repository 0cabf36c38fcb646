//! The path and query of the forwarded request.

use std::borrow::Cow;

use http::uri::PathAndQuery;

/// Returns the target to forward for one that was checked: unchanged, but with dot segments
/// resolved and repeated slashes merged.
///
/// The policy reads `/health/../api` as `/api`, but an upstream that does not resolve dot segments
/// would read a path below `/health`; some servers take what follows a double slash for a host. So
/// nothing that servers interpret differently is left. Escapes and a trailing slash are kept: the
/// policy has accepted their meaning.
pub(crate) fn of(target: &PathAndQuery) -> Cow<'_, str> {
    let (path, query) = target.as_str().split_at(target.path().len());
    if !needs_work(path) {
        return Cow::Borrowed(target.as_str());
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut slash_at_end = false;
    for segment in path.split('/').skip(1) {
        slash_at_end = true;
        match dots(segment) {
            1 => {}
            2 => drop(segments.pop()),
            _ if segment.is_empty() => {}
            _ => {
                segments.push(segment);
                slash_at_end = false;
            }
        }
    }
    let mut resolved = String::with_capacity(target.as_str().len());
    for segment in segments {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if slash_at_end || resolved.is_empty() {
        resolved.push('/');
    }
    resolved.push_str(query);
    Cow::Owned(resolved)
}

fn needs_work(path: &str) -> bool {
    path.contains("//") || path.split('/').any(|segment| dots(segment) > 0)
}

/// Returns the number of dots if `segment` is one or two dots, escaped or not, and nothing else.
/// Returns 0 otherwise.
fn dots(segment: &str) -> usize {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        match rest
            .strip_prefix('.')
            .or_else(|| rest.strip_prefix("%2e"))
            .or_else(|| rest.strip_prefix("%2E"))
        {
            Some(after) if count < 2 => (rest, count) = (after, count + 1),
            _ => return 0,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_core::{Client, NormalPath, Request};

    use super::*;
    use sluice_testkit::{
        paths::{Reading, spellings},
        policies,
    };

    fn handed_on(target: &str) -> String {
        of(&target.parse().unwrap()).into_owned()
    }

    #[test]
    fn an_ordinary_target_is_forwarded_unchanged() {
        for target in [
            "/",
            "/a/b",
            "/a/b/",
            "/a?b=/../c//d",
            "/a%20b/%41?x",
            "/a/.b/..c/...",
            "/a?",
            "/caf%C3%A9",
        ] {
            assert_eq!(handed_on(target), target);
            assert!(matches!(of(&target.parse().unwrap()), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn dot_segments_are_resolved_and_slashes_merged() {
        for (target, expected) in [
            ("/health/../api", "/api"),
            ("/a/./b?x=//", "/a/b?x=//"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b/", "/b/"),
            ("//host/a", "/host/a"),
            ("/a//b///", "/a/b/"),
            ("/../..", "/"),
            ("//", "/"),
        ] {
            assert_eq!(handed_on(target), expected, "{target}");
        }
    }

    fn read(path: &str) -> Option<NormalPath<'_>> {
        NormalPath::parse(path).ok()
    }

    #[test]
    fn a_hostile_spelling_is_forwarded_as_the_path_that_was_decided_about() {
        for (path, reading) in spellings("login") {
            let Some(decided) = read(&path) else {
                assert_eq!(reading, Reading::Refused, "{path}");
                continue;
            };
            let Ok(target) = path.parse::<PathAndQuery>() else { panic!("{path} is no target") };
            let forwarded = of(&target).into_owned();
            assert_eq!(read(&forwarded).as_ref(), Some(&decided), "{path}: {forwarded}");
            assert!(!needs_work(forwarded.split('?').next().unwrap()), "{path}: {forwarded}");
        }
    }

    /// Returns what the policy reads: the endpoint that covers the path, and whether it is exempt.
    /// Returns `None` when the path is rejected.
    fn read_as(path: &str) -> Option<(usize, bool)> {
        let policy = policies::document();
        let request = Request::new(Client::Key(b"a"), "GET", path);
        policy
            .check(sluice_core::Action::Peek, &request)
            .ok()
            .map(|matched| (matched.endpoint, matched.is_exempt()))
    }

    proptest! {
        #[test]
        fn the_forwarded_target_has_the_normal_form_that_was_decided_about(
            path in "/([ab/.;?#]|//|\\.\\./|%2[eE]|%3[bBfF]|%61|%2[35]|%C3%A9){0,16}",
        ) {
            if let (Some(decided), Ok(target)) = (read(&path), path.parse::<PathAndQuery>()) {
                let forwarded = of(&target).into_owned();
                prop_assert_eq!(read(&forwarded), Some(decided), "{}", forwarded);
                let path = forwarded.split('?').next().unwrap();
                prop_assert!(!needs_work(path) && path.starts_with('/'), "{}", forwarded);
            }
        }

        #[test]
        fn the_policy_reads_the_forwarded_target_as_it_read_the_original(
            segments in prop::collection::vec(prop_oneof![
                Just(""), Just("."), Just(".."), Just("%2e%2E"), Just("api"), Just("%61pi"),
                Just("v1"), Just("tools"), Just("execute"),
                Just("blueprints"), Just("health"), Just("a%2fb"), Just("%2e"),
            ], 0..9),
        ) {
            let path = format!("/{}", segments.join("/"));
            if let Some(endpoint) = read_as(&path) {
                let handed_on = handed_on(&path);
                prop_assert_eq!(read_as(&handed_on), Some(endpoint));
                prop_assert!(!needs_work(&handed_on), "{}", handed_on);
            }
        }
    }
}
