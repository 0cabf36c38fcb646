//! The normal form of paths: all spellings of a path that servers treat alike have the same one.

use std::borrow::Cow;

use crate::request::RequestError;

/// A path in its normal form. All spellings of a path that servers treat alike have the same one.
///
/// The normal form has no query and no fragment, its escapes are decoded, `.` and `..` are
/// resolved, slashes are merged, and there is no slash at the end. The normal form of a normal form
/// is itself.
///
/// Whatever compares paths compares this type, so that a request which one part of a program takes
/// for `/metrics` is not something else to another part.
///
/// ```
/// use sluice_core::NormalPath;
///
/// let path = NormalPath::parse("//x/../%6detrics/?page=2")?;
/// assert_eq!(path.as_str(), "/metrics");
/// assert!(NormalPath::parse("/free/..;/login").is_err());
/// # Ok::<_, sluice_core::RequestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NormalPath<'p>(Cow<'p, str>);

impl<'p> NormalPath<'p> {
    /// Parses a path as it was received, with or without a query. One that is already in normal
    /// form is borrowed.
    ///
    /// # Errors
    /// Returns an error when servers disagree about what the path means, or if it is not a path.
    pub fn parse(path: &'p str) -> Result<Self, RequestError> {
        normal(path).map(Self)
    }

    /// Returns the normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this is `root`, which is in normal form, or a path below it.
    #[must_use]
    pub fn is_at_or_below(&self, root: &str) -> bool {
        let below = self.0.strip_prefix(root.strip_suffix('/').unwrap_or(root));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// Returns the path with everything but printable ASCII escaped, and quotes too.
    #[must_use]
    pub fn to_printable(&self) -> String {
        printable(&self.0)
    }
}

/// Returns the normal form of `path`, as [`NormalPath`] describes it. A path in normal form is
/// borrowed.
///
/// Only `%25`, `%3F` and `%23` stay escaped, in capitals. Decoded, they would be read as an escape,
/// a query or a fragment the next time.
///
/// # Errors
/// When servers disagree about what the path means, or it is not a path.
pub(super) fn normal(path: &str) -> Result<Cow<'_, str>, RequestError> {
    match normal_length(path.as_bytes()) {
        Some(length) => Ok(Cow::Borrowed(&path[..length])),
        None => rewritten(path).map(Cow::Owned),
    }
}

/// What a byte means for the normal form.
#[derive(Clone, Copy)]
enum Byte {
    Plain,
    Slash,
    Dot,
    Percent,
    /// The start of a query or a fragment.
    Cut,
    Refused,
}

/// The meaning of every byte. The table makes [`normal_length`] fast.
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

/// Returns how many bytes of `path` are its normal form; `None` when it has to be rewritten.
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

/// How many bytes [`is_plain`] looks at together.
const BLOCK: usize = 16;

/// Returns whether `path` consists of plain bytes and single slashes, as nearly every path does.
fn is_plain(path: &[u8]) -> bool {
    let (blocks, rest) = path.as_chunks::<BLOCK>();
    let mut last = [b'a'; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let mut before = 0;
    blocks.iter().chain([&last]).all(|block| {
        let is_plain = is_plain_after(before, block);
        before = block[BLOCK - 1];
        is_plain
    })
}

/// Returns whether `block`, which follows the byte `before`, consists of plain bytes and single
/// slashes. Without a branch for each byte, compilers make a few vector instructions of the loop.
fn is_plain_after(mut before: u8, block: &[u8; BLOCK]) -> bool {
    let mut other = false;
    for &byte in block {
        other |= (byte < 0x20) | (byte == 0x7f) | (byte == b'\\') | (byte == b'.');
        other |= (byte == b'%') | (byte == b'?') | (byte == b'#');
        other |= (byte == b'/') & (before == b'/');
        before = byte;
    }
    !other
}

/// Returns whether the first segment is `.` or `..`, with or without parameters.
fn starts_with_dots(path: &[u8]) -> bool {
    is_dots(path.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b';')).next().unwrap_or_default())
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

/// Returns whether servers that drop path parameters (`;` and what follows) read a dot segment.
fn is_dots_with_parameters(segment: &str) -> bool {
    segment.split_once(';').is_some_and(|(name, _)| is_dots(name.as_bytes()))
}

/// Resolves dots as RFC 3986 does, which keeps empty segments, and merges slashes afterwards.
fn resolve(path: &str) -> Result<String, RequestError> {
    let mut segments: Vec<&str> = Vec::new();
    // How many segments are not empty, and how many of those have a name before their parameters.
    // Counted on the way, because a sender can make a path long.
    let (mut filled, mut named) = (0_usize, 0_usize);
    for segment in path[1..].split('/') {
        match segment {
            "." => {}
            ".." => match segments.pop() {
                Some("") if filled > 0 => return Err(RequestError::PathAmbiguous),
                Some("") | None => {}
                Some(nameless) if nameless.starts_with(';') => {
                    if named > 0 {
                        return Err(RequestError::PathAmbiguous);
                    }
                    filled -= 1;
                }
                Some(_) => (filled, named) = (filled - 1, named - 1),
            },
            _ if is_dots_with_parameters(segment) => return Err(RequestError::PathParameter),
            _ => {
                segments.push(segment);
                filled += usize::from(!segment.is_empty());
                named += usize::from(!segment.is_empty() && !segment.starts_with(';'));
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

/// Writes a path in normal form so that it can be a header field or a label: quotes and everything
/// but printable ASCII are escaped.
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
    use sluice_testkit::paths::{Reading, spellings};

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
            ("/a;b=1/c", "/a;b=1/c"),
            ("/a;b=..;/c", "/a;b=..;/c"),
            ("/a%3Bb", "/a;b"),
            ("/...;/a", "/...;/a"),
            ("/a..;/b", "/a..;/b"),
            ("/;x/a", "/;x/a"),
            ("/;/../a", "/a"),
            ("/a?b=/..;/c", "/a"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
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
            ("/a/;/../b", RequestError::PathAmbiguous),
            // A server that merges slashes first reads `/b`.
            ("/;//../b", RequestError::PathAmbiguous),
            ("/%3B//../b", RequestError::PathAmbiguous),
            ("/a/;x=1/b/../../c", RequestError::PathAmbiguous),
            ("/a/%3B/../b", RequestError::PathAmbiguous),
            ("/free/..;/login", RequestError::PathParameter),
            ("/free/..;", RequestError::PathParameter),
            ("/free/..;a=b/login", RequestError::PathParameter),
            ("/free/..;?x", RequestError::PathParameter),
            ("/.;/login", RequestError::PathParameter),
            ("/..;", RequestError::PathParameter),
            ("/free/%2e%2e;/login", RequestError::PathParameter),
            ("/free/.%2E;/login", RequestError::PathParameter),
            ("/free/..%3b/login", RequestError::PathParameter),
            ("/free/%2E%2e%3B/login", RequestError::PathParameter),
        ] {
            assert_eq!(normal(path), Err(expected), "{path}");
        }
    }

    #[test]
    fn hostile_spellings_of_a_path_are_read_as_it_or_refused() {
        for (path, reading) in spellings("login") {
            let read = match normal(&path).as_deref() {
                Ok("/login") => Reading::Same,
                Ok(_) => Reading::Other,
                Err(_) => Reading::Refused,
            };
            assert_eq!(read, reading, "{path}");
        }
    }

    #[test]
    fn a_path_in_normal_form_is_borrowed() {
        for path in ["/", "/a", "/a/b.c/..d", "/café/a%25b", "/a/b/", "/a/b?c=%zz", "/.a"] {
            assert!(matches!(normal(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn a_plain_path_has_plain_bytes_and_single_slashes_in_every_block() {
        for at in 1..3 * BLOCK {
            let mut path = [b'a'; 3 * BLOCK];
            path[0] = b'/';
            for byte in 0..=u8::MAX {
                path[at] = byte;
                let single_slash = byte == b'/' && at > 1;
                let plain = matches!(BYTES[usize::from(byte)], Byte::Plain) || single_slash;
                assert_eq!(is_plain(&path), plain, "{byte} at {at}");
                assert_eq!(is_plain(&path[..=at]), plain, "{byte} at the end, at {at}");
            }
            path[at] = b'/';
            path[at - 1] = b'/';
            assert!(!is_plain(&path), "two slashes at {at}");
        }
    }

    #[test]
    fn a_path_is_below_a_root_only_at_a_slash() {
        let is_below = |path, root| NormalPath::parse(path).unwrap().is_at_or_below(root);
        for (path, root) in [("/a/b", "/a"), ("/a", "/a"), ("//a/", "/a"), ("/a", "/"), ("/", "/")]
        {
            assert!(is_below(path, root), "{path} {root}");
        }
        for (path, root) in [("/ab", "/a"), ("/", "/a"), ("/A", "/a"), ("/a;x", "/a")] {
            assert!(!is_below(path, root), "{path} {root}");
        }
    }

    #[test]
    fn printable_paths_escape_quotes_spaces_and_non_ascii() {
        assert_eq!(printable("/a b/café\"/%25"), "/a%20b/caf%C3%A9%22/%25");
    }

    /// A segment in normal form.
    fn segment() -> impl Strategy<Value = String> {
        "([a-zA-Z0-9_~:@!*é.-]|%25|%3F|%23){1,8}"
            .prop_filter("dots are resolved", |segment| !is_dots(segment.as_bytes()))
    }

    /// Writes a segment differently, so that it still has the same normal form.
    fn respell(segment: &str, escape: &[bool]) -> String {
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

    /// What can be before a segment without changing the normal form.
    const BEFORE_SEGMENT: [&str; 5] = ["/", "/./", "/%2e/", "/y/../", "/y/z/%2E./.%2e/"];

    /// A segment, which of its bytes to escape, and what to write before it.
    fn respelled_segment() -> impl Strategy<Value = (String, Vec<bool>, u8)> {
        (segment(), prop::collection::vec(any::<bool>(), 1..8), 0_u8..5)
    }

    proptest! {
        #[test]
        fn the_normal_form_of_a_normal_form_is_itself(
            path in "/([a-c/.;%?#é\\\\]|%2[eEfF5]|%61|%C3%A9|%3[fFbB]){0,24}",
        ) {
            if let Ok(once) = normal(&path) {
                let twice = normal(&once);
                prop_assert!(matches!(twice, Ok(Cow::Borrowed(_))), "{path}: {once} {twice:?}");
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }

        #[test]
        fn the_fast_path_and_the_slow_path_agree(
            path in "(/|[ab/.;%?#é\\\\\\x01]|%2F|%25|%3F|%3b){0,12}",
        ) {
            prop_assert_eq!(normal(&path).map(Cow::into_owned), rewritten(&path));
        }

        #[test]
        fn all_spellings_of_a_path_have_its_normal_form(
            segments in prop::collection::vec(respelled_segment(), 1..6),
            end in prop::sample::select(
                vec!["", "/", "/.", "/x/..", "?", "?a=b/../c", "#/x", "/?x"]
            ),
        ) {
            let plain: String =
                segments.iter().map(|(segment, ..)| format!("/{segment}")).collect();
            let respelled: String = segments.iter().map(|(segment, escape, before)| {
                let before = BEFORE_SEGMENT[usize::from(*before)];
                format!("{before}{}", respell(segment, escape))
            }).collect();
            for written in [format!("{respelled}{end}"), plain.replace('/', "//")] {
                prop_assert_eq!(normal(&written), Ok(Cow::Borrowed(&*plain)));
            }
        }

        #[test]
        fn merging_slashes_first_and_resolving_dots_first_give_the_same_path(
            path in "/([ab]|/|/|;|\\.|\\.\\./){0,24}",
        ) {
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
                let segments = path.split('/').filter(|segment| !segment.is_empty());
                format!("/{}", segments.collect::<Vec<_>>().join("/"))
            };
            if let Ok(normal) = normal(&path) {
                prop_assert_eq!(&*normal, merged(&resolved(&merged(&path))));
                prop_assert_eq!(&*normal, merged(&resolved(&path)));
            }
        }

        #[test]
        fn servers_that_drop_path_parameters_first_read_the_same_path(
            path in "/([ab]|/|/|;|\\.|\\.\\./|%2e){0,24}",
        ) {
            let stripped = |path: &str| {
                let names = path.split('/').map(|segment| segment.split(';').next().unwrap());
                names.collect::<Vec<_>>().join("/")
            };
            if let Ok(path_read_here) = normal(&path) {
                let (here, there) = (stripped(&path_read_here), stripped(&path));
                prop_assert!(normal(&there).is_ok(), "{}", there);
                prop_assert_eq!(normal(&here), normal(&there));
            }
        }

        #[test]
        fn a_normal_form_contains_nothing_to_resolve(path in "\\PC{0,40}") {
            if let Ok(path) = normal(&format!("/{path}")) {
                prop_assert!(path.starts_with('/') && !path.contains("//"));
                let is_named = |segment: &str| !segment.is_empty() && !is_dots(segment.as_bytes());
                prop_assert!(path == "/" || path[1..].split('/').all(is_named));
                prop_assert!(!path.contains(['?', '#', '\\']));
                prop_assert!(!path.bytes().any(|byte| byte.is_ascii_control()));
            }
        }
    }
}
