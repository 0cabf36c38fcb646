//! Path patterns: `/a/*/b` for an endpoint and everything below it, `/a/**` in a condition.

use crate::{policy::path, request::RequestError};

/// The reason why a text is not a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text cannot be the path of a request either.
    #[error("`{pattern}` matches no path: {source}")]
    Path {
        /// The text.
        pattern: String,
        /// Why it is not a path.
        source: RequestError,
    },
    /// The text contains a query or a fragment, which limits ignore.
    #[error("`{pattern}` contains a query or a fragment: only paths are matched")]
    Query {
        /// The text.
        pattern: String,
    },
    /// A `*` is only a part of a segment.
    #[error(
        "`{pattern}` has a `*` inside a segment: `*` stands for one whole segment, as in `/a/*/b`"
    )]
    Star {
        /// The text.
        pattern: String,
    },
    /// The text contains `**`, although the pattern covers everything below it already.
    #[error(
        "`{pattern}` contains `**`, which is not needed here: `/a` covers `/a` and everything \
         below it"
    )]
    Below {
        /// The text.
        pattern: String,
    },
}

/// What a segment of a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// `*`: any segment, once.
    One,
    /// `**`: any number of segments, or none.
    Any,
}

/// A pattern of whole paths, in which `*` stands for one segment and `**` for any number of
/// segments, or none.
#[derive(Clone, Debug)]
pub(super) struct PathPattern {
    segments: Box<[Segment]>,
}

impl PathPattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, PatternError> {
        let normal = normal(pattern)?;
        let segments = segments(&normal).map(|segment| match segment {
            "**" => Ok(Segment::Any),
            "*" => Ok(Segment::One),
            _ if segment.contains('*') => Err(PatternError::Star { pattern: pattern.to_owned() }),
            _ => Ok(Segment::Literal(segment.into())),
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()? })
    }

    /// Returns whether the pattern matches the whole of `path`, which is in normal form.
    pub(super) fn matches(&self, path: &str) -> bool {
        let (mut at, mut rest) = (0, segments(path));
        // Where to continue when the segments after the last `**` do not match: after it in the
        // pattern, and one segment later in the path.
        let mut again = None;
        loop {
            let here = rest.clone();
            match (self.segments.get(at), rest.next()) {
                (Some(Segment::Any), _) => {
                    at += 1;
                    again = Some((at, here.clone()));
                    rest = here;
                    continue;
                }
                (Some(Segment::One), Some(_)) => at += 1,
                (Some(Segment::Literal(literal)), Some(segment)) if **literal == *segment => {
                    at += 1;
                }
                (None, None) => return true,
                _ => {
                    let Some((behind, mut from)) = again.take() else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (at, rest) = (behind, from.clone());
                    again = Some((behind, from));
                }
            }
        }
    }
}

/// Returns the normal form of an endpoint's pattern.
pub(super) fn endpoint(pattern: &str) -> Result<String, PatternError> {
    let normal = normal(pattern)?;
    for segment in segments(&normal) {
        match segment {
            "*" => {}
            "**" => return Err(PatternError::Below { pattern: pattern.to_owned() }),
            _ if segment.contains('*') => {
                return Err(PatternError::Star { pattern: pattern.to_owned() });
            }
            _ => {}
        }
    }
    Ok(normal)
}

fn normal(pattern: &str) -> Result<String, PatternError> {
    if pattern.contains(['?', '#']) {
        return Err(PatternError::Query { pattern: pattern.to_owned() });
    }
    path::normal(pattern)
        .map(Into::into)
        .map_err(|source| PatternError::Path { pattern: pattern.to_owned(), source })
}

/// Splits a path in normal form into its segments; `/` has none.
pub(super) const fn segments(path: &str) -> Segments<'_> {
    Segments { rest: path }
}

/// The segments of a path in normal form. Written by hand, because `str::split` is several times
/// slower for segments this short.
#[derive(Clone, Debug)]
pub(super) struct Segments<'p> {
    /// The rest of the path, from the slash before the next segment.
    rest: &'p str,
}

impl<'p> Iterator for Segments<'p> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        let rest = self.rest.get(1..).filter(|rest| !rest.is_empty())?;
        let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        let (segment, rest) = rest.split_at(end);
        self.rest = rest;
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn stars_stand_for_whole_segments() {
        for (pattern, path, expected) in [
            ("/a", "/a", true),
            ("/a/", "/a", true),
            ("/a", "/a/b", false),
            ("/a", "/ab", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a", false),
            ("/a/*", "/a/b/c", false),
            ("/*/b", "/a/b", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/b", true),
            ("/a/**", "/a/b/c/d", true),
            ("/a/**", "/ab", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/**/b", "/b", true),
            ("/**/b", "/a/b/c/b", true),
            ("/**/b", "/a/b/c", false),
            ("/a/**/b/*/c", "/a/b/x/b/y/c", true),
            ("/a/**/b/*/c", "/a/b/c", false),
            ("/caf%C3%A9", "/café", true),
            ("/A", "/a", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_what_would_be() {
        for (pattern, expected) in [
            ("a", "`a` matches no path: a path starts with `/`"),
            (
                "/a%2Fb",
                "`/a%2Fb` matches no path: a path must not contain backslashes or encoded slashes \
                 (`%2F`, `%5C`): separate segments with `/`",
            ),
            ("/a?b=c", "`/a?b=c` contains a query or a fragment: only paths are matched"),
            (
                "/a/b*",
                "`/a/b*` has a `*` inside a segment: `*` stands for one whole segment, as in \
                 `/a/*/b`",
            ),
            (
                "/a/***",
                "`/a/***` has a `*` inside a segment: `*` stands for one whole segment, as in \
                 `/a/*/b`",
            ),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap_err().to_string(), expected);
            assert_eq!(endpoint(pattern).unwrap_err().to_string(), expected);
        }
        let error = endpoint("/a/**").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/a/**` contains `**`, which is not needed here: `/a` covers `/a` and everything \
             below it"
        );
    }

    /// Returns whether the path matches, by the definition of a pattern.
    fn oracle(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], rest) => rest.is_empty(),
            (["**", pattern @ ..], _) => {
                (0..=path.len()).any(|skipped| oracle(pattern, &path[skipped..]))
            }
            ([first, pattern @ ..], [segment, path @ ..]) => {
                (*first == "*" || first == segment) && oracle(pattern, path)
            }
            ([_, ..], []) => false,
        }
    }

    fn joined(segments: &[&str]) -> String {
        format!("/{}", segments.join("/"))
    }

    proptest! {
        #[test]
        fn patterns_match_by_definition(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 0..6),
            path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..8),
        ) {
            prop_assert_eq!(matches(&joined(&pattern), &joined(&path)), oracle(&pattern, &path));
        }
    }
}
