//! The normal form of a path, in which all spellings that servers take for the same path are equal.

use std::borrow::Cow;

use crate::request::RequestError;

/// The normal form of `path`: without query and fragment, escapes decoded, `.` and `..` resolved,
/// slashes merged, no slash at the end. A path that is normal already is borrowed.
///
/// Only `%25`, `%3F` and `%23` stay escaped, in capitals: decoded they would be escapes or a query
/// when read once more.
///
/// # Errors
/// When servers would disagree about the path, or it is none.
pub(super) fn normal(path: &str) -> Result<Cow<'_, str>, RequestError> {
    match normal_length(path.as_bytes()) {
        Some(length) => Ok(Cow::Borrowed(&path[..length])),
        None => rewritten(path).map(Cow::Owned),
    }
}

/// What a byte means to the normal form.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Byte {
    Plain = 0,
    /// The one bit that [`is_plain`] lets pass.
    Slash = 1,
    Dot,
    Percent,
    /// What begins a query or a fragment.
    Cut,
    Refused,
}

/// A look into a table is what makes [`normal_length`] fast.
const BYTES: [Byte; 256] = {
    let mut bytes = [Byte::Plain; 256];
    let mut control = 0;
    while control < 0x20 {
        bytes[control] = Byte::Refused;
        control += 1;
    }
    bytes[0x7f] = Byte::Refused;
    bytes[b'\\' as usize] = Byte::Refused;
    bytes[b'/' as usize] = Byte::Slash;
    bytes[b'.' as usize] = Byte::Dot;
    bytes[b'%' as usize] = Byte::Percent;
    bytes[b'?' as usize] = Byte::Cut;
    bytes[b'#' as usize] = Byte::Cut;
    bytes
};

/// How much of `path` is its normal form, when nothing has to be rewritten.
fn normal_length(path: &[u8]) -> Option<usize> {
    if path.first() != Some(&b'/') {
        return None;
    }
    if is_plain(path) {
        let slash_at_end = path.len() > 1 && path.ends_with(b"/");
        return Some(path.len() - usize::from(slash_at_end));
    }
    let (mut segment, mut at) = (1, 1);
    while let Some(&byte) = path.get(at) {
        match BYTES[usize::from(byte)] {
            Byte::Plain => {}
            Byte::Slash if at > segment => segment = at + 1,
            Byte::Dot if at > segment || !starts_with_dots(&path[at..]) => {}
            Byte::Percent if matches!(path.get(at + 1..at + 3), Some(b"25" | b"3F" | b"23")) => {}
            Byte::Cut => break,
            Byte::Slash | Byte::Dot | Byte::Percent | Byte::Refused => return None,
        }
        at += 1;
    }
    let slash_at_end = at == segment && at > 1;
    Some(if slash_at_end { at - 1 } else { at })
}

/// Whether `path` holds nothing but single slashes and bytes that mean nothing, as nearly all do.
/// Without a branch for each byte.
fn is_plain(path: &[u8]) -> bool {
    let (mut seen, mut before) = (0, 0);
    for &byte in path {
        let meaning = BYTES[usize::from(byte)] as u8;
        let slash = u8::from(byte == b'/');
        seen |= (meaning & !slash) | (slash & before) << 7;
        before = slash;
    }
    seen == 0
}

/// Whether the first segment is `.` or `..`.
fn starts_with_dots(path: &[u8]) -> bool {
    is_dots(path.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default())
}

fn rewritten(path: &str) -> Result<String, RequestError> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(RequestError::PathNotAbsolute);
    }
    resolve(&decode(path)?)
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

fn decode(path: &str) -> Result<String, RequestError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        let byte =
            if escaped { escaped_byte(&mut bytes).ok_or(RequestError::PathEscape)? } else { byte };
        match byte {
            b'\\' => return Err(RequestError::PathSeparator),
            b'/' if escaped => return Err(RequestError::PathSeparator),
            b'%' => decoded.extend(b"%25"),
            b'?' => decoded.extend(b"%3F"),
            b'#' => decoded.extend(b"%23"),
            _ if byte.is_ascii_control() => return Err(RequestError::PathControl),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| RequestError::PathEncoding)
}

fn escaped_byte(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(bytes.next()?).to_digit(16);
    let byte = digit()? * 16 + digit()?;
    u8::try_from(byte).ok()
}

/// Resolves dots as RFC 3986 does, with empty segments in their place, and merges slashes
/// afterwards.
fn resolve(path: &str) -> Result<String, RequestError> {
    let mut segments: Vec<&str> = Vec::new();
    // Counted as they come and go: a path is as long as its sender likes.
    let mut named = 0_usize;
    for segment in path[1..].split('/') {
        match segment {
            "." => {}
            ".." => match segments.pop() {
                Some("") if named > 0 => return Err(RequestError::PathAmbiguous),
                Some("") | None => {}
                Some(_) => named -= 1,
            },
            _ => {
                segments.push(segment);
                named += usize::from(!segment.is_empty());
            }
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in segments.into_iter().filter(|segment| !segment.is_empty()) {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if resolved.is_empty() {
        resolved.push('/');
    }
    Ok(resolved)
}

/// A path in normal form as it can stand in a header field or a label: with escapes for what is no
/// printable ASCII, and for quotes.
pub(super) fn printable(path: &str) -> String {
    use std::fmt::Write as _;
    path.bytes().fold(String::with_capacity(path.len()), |mut text, byte| {
        if byte.is_ascii_graphic() && byte != b'"' {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02X}").expect("writing to a string does not fail");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_path_have_one_normal_form() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/?a=/b", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b"),
            ("/a/b//", "/a/b"),
            ("//a///b", "/a/b"),
            ("/a/b?q=/../..", "/a/b"),
            ("/a/b#f", "/a/b"),
            ("/a/b/?q", "/a/b"),
            ("/%61/%62", "/a/b"),
            ("/a/./b/.", "/a/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a/x/../b", "/a/b"),
            ("/a/x/%2E%2e/b", "/a/b"),
            ("/a/x/.%2e/b/y/..", "/a/b"),
            ("/../../a/b", "/a/b"),
            ("/..", "/"),
            ("//../a", "/a"),
            ("/a/...", "/a/..."),
            ("/a/.b", "/a/.b"),
            ("/a/..b", "/a/..b"),
            ("/a/b..", "/a/b.."),
            ("/a%3Ab", "/a:b"),
            ("/a%20b", "/a b"),
            ("/caf%C3%A9", "/café"),
            ("/café", "/café"),
            ("/a%3fb", "/a%3Fb"),
            ("/a%23b", "/a%23b"),
            ("/a%25b", "/a%25b"),
            ("/a%252Fb", "/a%252Fb"),
            ("/a%2541", "/a%2541"),
            ("/a*b", "/a*b"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_servers_disagree_about_is_refused() {
        for (path, expected) in [
            ("", RequestError::PathNotAbsolute),
            ("a/b", RequestError::PathNotAbsolute),
            ("?/a", RequestError::PathNotAbsolute),
            ("http://host/a", RequestError::PathNotAbsolute),
            ("*", RequestError::PathNotAbsolute),
            ("%2Fa", RequestError::PathNotAbsolute),
            ("/a%2Fb", RequestError::PathSeparator),
            ("/a%2fb", RequestError::PathSeparator),
            ("/a%5Cb", RequestError::PathSeparator),
            ("/a%5cb", RequestError::PathSeparator),
            ("/a\\b", RequestError::PathSeparator),
            ("/a%", RequestError::PathEscape),
            ("/a%6", RequestError::PathEscape),
            ("/a%6g", RequestError::PathEscape),
            ("/a%+1", RequestError::PathEscape),
            ("/a%u0061", RequestError::PathEscape),
            ("/a%00", RequestError::PathControl),
            ("/a%0A", RequestError::PathControl),
            ("/a\0b", RequestError::PathControl),
            ("/a\u{7f}", RequestError::PathControl),
            ("/a%FF", RequestError::PathEncoding),
            ("/a%C3", RequestError::PathEncoding),
            // An overlong slash.
            ("/a%C0%AFb", RequestError::PathEncoding),
            ("/a//../b", RequestError::PathAmbiguous),
            ("/a//./../b", RequestError::PathAmbiguous),
            ("/a//b/../../c", RequestError::PathAmbiguous),
        ] {
            assert_eq!(normal(path), Err(expected), "{path}");
        }
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for path in ["/", "/a", "/a/b.c/..d", "/café/a%25b", "/a/b/", "/a/b?c=%zz", "/.a"] {
            assert!(matches!(normal(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn what_is_printable_can_stand_in_a_header() {
        assert_eq!(printable("/a b/café\"/%25"), "/a%20b/caf%C3%A9%22/%25");
    }

    /// A segment in normal form.
    fn segment() -> impl Strategy<Value = String> {
        "([a-zA-Z0-9_~:@!*é.-]|%25|%3F|%23){1,8}"
            .prop_filter("dots are resolved", |segment| !is_dots(segment.as_bytes()))
    }

    /// Ways to write a segment so that it is still the same.
    fn disguise(segment: &str, escape: &[bool]) -> String {
        let plain = segment.replace("%3F", "?").replace("%23", "#").replace("%25", "%");
        let mut escape = escape.iter().copied().cycle();
        plain.bytes().fold(String::new(), |mut text, byte| {
            let needed = !byte.is_ascii() || matches!(byte, b'%' | b'?' | b'#');
            match (escape.next().unwrap_or(false), needed) {
                (false, false) => text.push(byte.into()),
                (true, false) => text.push_str(&format!("%{byte:02x}")),
                (_, true) => text.push_str(&format!("%{byte:02X}")),
            }
            text
        })
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in "/([a-c/.%?#é\\\\]|%2[eEfF5]|%61|%C3%A9|%3[fF]){0,24}") {
            if let Ok(once) = normal(&path) {
                let twice = normal(&once);
                prop_assert!(matches!(twice, Ok(Cow::Borrowed(_))), "{path}: {once} {twice:?}");
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }

        #[test]
        fn what_is_read_quickly_is_read_alike(path in "(/|[ab/.%?#é\\\\\\x01]|%2F|%25|%3F){0,12}") {
            prop_assert_eq!(normal(&path).map(Cow::into_owned), rewritten(&path));
        }

        #[test]
        fn no_disguise_changes_a_path(
            segments in prop::collection::vec((segment(), prop::collection::vec(any::<bool>(), 1..8), 0_u8..5), 1..6),
            end in prop::sample::select(vec!["", "/", "/.", "/x/..", "?", "?a=b/../c", "#/x", "/?x"]),
        ) {
            let plain: String = segments.iter().map(|(segment, ..)| format!("/{segment}")).collect();
            let disguised: String = segments.iter().map(|(segment, escape, trick)| {
                let before = ["/", "/./", "/%2e/", "/y/../", "/y/z/%2E./.%2e/"][usize::from(*trick)];
                format!("{before}{}", disguise(segment, escape))
            }).collect();
            for written in [format!("{disguised}{end}"), plain.replace('/', "//")] {
                prop_assert_eq!(normal(&written), Ok(Cow::Borrowed(&*plain)));
            }
        }

        #[test]
        fn servers_that_merge_slashes_first_read_the_same_path_as_those_that_resolve_dots_first(path in "/([ab]|/|/|\\.|\\.\\./){0,24}") {
            let resolved = |path: &str| {
                let mut segments = Vec::new();
                for segment in path[1..].split('/') {
                    match segment {
                        "." => {}
                        ".." => drop(segments.pop()),
                        _ => segments.push(segment),
                    }
                }
                format!("/{}", segments.join("/"))
            };
            let merged = |path: &str| {
                let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
                format!("/{}", segments.join("/"))
            };
            if let Ok(normal) = normal(&path) {
                prop_assert_eq!(&*normal, merged(&resolved(&merged(&path))));
                prop_assert_eq!(&*normal, merged(&resolved(&path)));
            }
        }

        #[test]
        fn a_normal_path_holds_nothing_to_resolve(path in "\\PC{0,40}") {
            if let Ok(path) = normal(&format!("/{path}")) {
                prop_assert!(path.starts_with('/') && !path.contains("//"));
                prop_assert!(path == "/" || path[1..].split('/').all(|segment| !segment.is_empty() && !is_dots(segment.as_bytes())));
                prop_assert!(!path.contains(['?', '#', '\\']) && !path.bytes().any(|byte| byte.is_ascii_control()));
            }
        }
    }
}
