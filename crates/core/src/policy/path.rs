//! The normal form of a path, in which all spellings that servers take for the same path are equal.

use std::borrow::Cow;

use crate::request::RequestError;

/// The normal form of `path`: without query and fragment, escapes decoded, `.` and `..` resolved, slashes merged, no slash at the end.
/// A path that is normal already is borrowed.
///
/// Only `%25`, `%3F` and `%23` stay escaped, in capitals: decoded they would be escapes or a query when read once more.
///
/// # Errors
/// When servers would disagree about the path, or it is none.
pub(super) fn normal(path: &str) -> Result<Cow<'_, str>, RequestError> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(RequestError::PathNotAbsolute);
    }
    let path = match path.strip_suffix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => path,
    };
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    resolve(&decoded).map(Cow::Owned)
}

/// Whether `path`, which starts with a slash, is its own normal form.
fn is_normal(path: &[u8]) -> bool {
    if path == b"/" {
        return true;
    }
    let mut previous = 0;
    for (at, &byte) in path.iter().enumerate() {
        let plain = match byte {
            b'%' => matches!(path.get(at + 1..at + 3), Some(b"25" | b"3F" | b"23")),
            b'/' => previous != b'/',
            b'.' => previous != b'/' || !is_dots(path[at..].split(|&b| b == b'/').next().unwrap_or_default()),
            b'\\' => false,
            _ => !byte.is_ascii_control(),
        };
        if !plain {
            return false;
        }
        previous = byte;
    }
    previous != b'/'
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

fn decode(path: &str) -> Result<String, RequestError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        let byte = if escaped { escaped_byte(&mut bytes).ok_or(RequestError::PathEscape)? } else { byte };
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

/// Resolves dots as RFC 3986 does, with empty segments in their place, and merges slashes afterwards.
fn resolve(path: &str) -> Result<String, RequestError> {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path[1..].split('/') {
        match segment {
            "." => {}
            ".." => {
                if segments.pop() == Some("") && segments.iter().any(|below| !below.is_empty()) {
                    return Err(RequestError::PathAmbiguous);
                }
            }
            _ => segments.push(segment),
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

/// A path in normal form as it can stand in a header field or a label: with escapes for what is no printable ASCII, and for quotes.
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
