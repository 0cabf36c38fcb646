//! Path patterns: `/a/*/b`, `/a/{id}/b` or `/a/:id/b` for an endpoint and everything below it,
//! `/a/**` in a condition.

use std::fmt;

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
    /// A segment is no name in braces or after a colon, though it looks like one.
    #[error(
        "`{pattern}` has the segment `{segment}`: a name is a whole segment, `{{id}}` or `:id`, of \
         letters, digits, `-` and `_`, and stands for any one segment"
    )]
    Name {
        /// The text.
        pattern: String,
        /// The segment.
        segment: String,
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
    /// `*`, `{name}` or `:name`: any segment, once.
    One,
    /// `**`: any number of segments, or none.
    Any,
}

/// A pattern of whole paths, in which `*` stands for one segment and `**` for any number of
/// segments, or none.
#[derive(Clone, Debug)]
pub struct PathPattern {
    segments: Box<[Segment]>,
}

impl PathPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When the text is no pattern.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        let normal = normal(pattern)?;
        let segments = segments(&normal).map(|segment| Segment::parse(segment, pattern));
        Ok(Self { segments: segments.collect::<Result<_, _>>()? })
    }

    /// Returns the normal form, with `*` in place of names.
    pub(super) fn text(&self) -> String {
        if self.segments.is_empty() {
            return "/".to_owned();
        }
        self.segments.iter().flat_map(|segment| ["/", segment.text()]).collect()
    }

    /// Returns the pattern of the labels of metrics for the paths that this one matches. Labels
    /// have escapes in place of quotes and of everything but printable ASCII: `/b%C3%BCro`.
    #[must_use]
    pub fn of_labels(&self) -> Self {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(literal) => Segment::Literal(path::printable(literal).into()),
            other => other.clone(),
        });
        Self { segments: segments.collect() }
    }

    /// Returns whether there are paths that both patterns match.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        overlap(&self.segments, &other.segments)
    }

    /// Returns whether it is the path of requests: one without `*` and names.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// Returns whether the pattern matches the whole of `path`, which is in normal form.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
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

/// Writes the normal form, with `*` in place of names.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Segment {
    /// Parses a segment of `pattern`.
    fn parse(segment: &str, pattern: &str) -> Result<Self, PatternError> {
        let in_braces = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let name = in_braces.or_else(|| segment.strip_prefix(':'));
        let is_in_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        match name {
            _ if segment == "**" => Ok(Self::Any),
            _ if segment == "*" => Ok(Self::One),
            Some(name) if !name.is_empty() && name.chars().all(is_in_name) => Ok(Self::One),
            None if !segment.contains(['*', '{', '}']) => Ok(Self::Literal(segment.into())),
            None if !segment.contains(['{', '}']) => {
                Err(PatternError::Star { pattern: pattern.to_owned() })
            }
            _ => {
                Err(PatternError::Name { pattern: pattern.to_owned(), segment: segment.to_owned() })
            }
        }
    }

    /// Returns the segment with `*` in place of a name.
    fn text(&self) -> &str {
        match self {
            Self::Literal(literal) => literal,
            Self::One => "*",
            Self::Any => "**",
        }
    }
}

/// Returns whether there are segments that both of these match.
fn overlap(one: &[Segment], other: &[Segment]) -> bool {
    // Whether what is left of both overlaps, by how many segments are left of `other`: the row of
    // each segment of `one` follows from the row of the next one.
    let mut next = Vec::new();
    for left in (0..=one.len()).rev() {
        let mut row = vec![false; other.len() + 1];
        for right in (0..=other.len()).rev() {
            let without_other = || row.get(right + 1).copied().unwrap_or_default();
            let without_one = || next.get(right).copied().unwrap_or_default();
            let without_both = || next.get(right + 1).copied().unwrap_or_default();
            row[right] = match (one.get(left), other.get(right)) {
                (None, None) => true,
                (Some(Segment::Any), Some(_)) => without_one() || without_other(),
                (Some(_), Some(Segment::Any)) => without_other() || without_one(),
                (Some(Segment::Any), None) => without_one(),
                (None, Some(Segment::Any)) => without_other(),
                (Some(Segment::Literal(one)), Some(Segment::Literal(other))) => {
                    one == other && without_both()
                }
                (Some(_), Some(_)) => without_both(),
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
        next = row;
    }
    next.first().copied().unwrap_or_default()
}

/// The pattern of an endpoint.
#[derive(Debug)]
pub(super) struct EndpointPattern {
    /// The normal form, in which `*` stands for one segment: the same for all patterns that cover
    /// the same paths.
    pub(super) path: String,
    /// The normal form with the names that are written.
    pub(super) named: String,
}

/// Parses an endpoint's pattern.
pub(super) fn endpoint(pattern: &str) -> Result<EndpointPattern, PatternError> {
    let parsed = PathPattern::parse(pattern)?;
    if parsed.segments.contains(&Segment::Any) {
        return Err(PatternError::Below { pattern: pattern.to_owned() });
    }
    Ok(EndpointPattern { path: parsed.text(), named: normal(pattern)? })
}

/// Returns the normal form of a pattern, with `*` in place of names.
pub(super) fn meaning(pattern: &str) -> Option<String> {
    PathPattern::parse(pattern).ok().map(|parsed| parsed.text())
}

/// Returns whether `by`, an endpoint, covers every path that `pattern` matches. Both are in normal
/// form, with `*` in place of names.
pub(super) fn is_covered(pattern: &str, by: &str) -> bool {
    let mut pattern = segments(pattern);
    segments(by).all(|by| match pattern.next() {
        None | Some("**") => false,
        Some(segment) => by == "*" || by == segment,
    })
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
            ("/a/{id}", "/a/b", true),
            ("/a/{id}", "/a", false),
            ("/a/{id}", "/a/b/c", false),
            ("/a/:user_id/c", "/a/b/c", true),
            ("/{a}/:b/*/**", "/1/2/3", true),
            ("/a/b:c", "/a/b:c", true),
            ("/a/b:c", "/a/d", false),
            ("/caf%C3%A9", "/café", true),
            ("/A", "/a", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn patterns_overlap_if_one_path_matches_both() {
        for (one, other, expected) in [
            ("/a", "/a", true),
            ("/a", "/b", false),
            ("/a", "/a/b", false),
            ("/", "/**", true),
            ("/a/**", "/a", true),
            ("/a/**", "/b/**", false),
            ("/a/*", "/{id}/b", true),
            ("/a/*", "/*/*/c", false),
            ("/**/c", "/a/**", true),
            ("/**/c", "/a/b", false),
            ("/**/b/*", "/a/**/c/d", false),
            ("/**/b/*", "/a/**/d", true),
            ("/**/**", "/a", true),
        ] {
            let parsed = [one, other].map(|pattern| PathPattern::parse(pattern).unwrap());
            assert_eq!(parsed[0].overlaps(&parsed[1]), expected, "{one} {other}");
            assert_eq!(parsed[1].overlaps(&parsed[0]), expected, "{other} {one}");
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
        for segment in [
            "{",
            "}",
            "{}",
            ":",
            "{a}{b}",
            "x{a}",
            "{a}x",
            "{*rest}",
            "{a:[0-9]+}",
            "{a b}",
            ":a.b",
        ] {
            let pattern = format!("/users/{segment}");
            let error = endpoint(&pattern).unwrap_err().to_string();
            assert!(error.contains(&format!("segment `{segment}`")), "{error}");
            assert!(error.contains("`{id}` or `:id`"), "{error}");
            assert_eq!(PathPattern::parse(&pattern).unwrap_err().to_string(), error);
        }
        let error = endpoint("/a/**").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/a/**` contains `**`, which is not needed here: `/a` covers `/a` and everything \
             below it"
        );
    }

    #[test]
    fn a_named_segment_is_the_same_as_a_star_and_keeps_its_name() {
        for (pattern, path, named) in [
            ("/users/{id}/", "/users/*", "/users/{id}"),
            ("//users/:id", "/users/*", "/users/:id"),
            ("/users/*", "/users/*", "/users/*"),
            ("/", "/", "/"),
        ] {
            let parsed = endpoint(pattern).unwrap();
            assert_eq!((&*parsed.path, &*parsed.named), (path, named), "{pattern}");
        }
    }

    #[test]
    fn an_endpoint_covers_longer_patterns_that_are_no_wider() {
        for (pattern, by, expected) in [
            ("/a", "/a", true),
            ("/a/b", "/a", true),
            ("/a/*", "/a", true),
            ("/a/**", "/a", true),
            ("/a", "/", true),
            ("/**", "/", true),
            ("/a/b", "/a/*", true),
            ("/a/*", "/a/*", true),
            ("/a/*", "/a/b", false),
            ("/a", "/a/b", false),
            ("/**", "/a", false),
            ("/ab", "/a", false),
        ] {
            assert_eq!(is_covered(pattern, by), expected, "{pattern} {by}");
        }
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

        #[test]
        fn patterns_of_one_path_overlap(
            path in prop::collection::vec(prop::sample::select(vec!["a", "b"]), 0..5),
            one in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 0..5),
            other in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 0..5),
        ) {
            let both_match = oracle(&one, &path) && oracle(&other, &path);
            let parsed = [&one, &other].map(|one| PathPattern::parse(&joined(one)).unwrap());
            prop_assert!(!both_match || parsed[0].overlaps(&parsed[1]));
        }
    }
}
