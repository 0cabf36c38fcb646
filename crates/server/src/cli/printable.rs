//! Output that a terminal shows and does not obey.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

/// Returns `text` with control characters as `\u001b`, as JSON has them: a terminal would obey
/// them, and a line break would begin a line that says something else.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, char::is_control)
}

/// Writes text with control characters as `\u001b`, but for line breaks and tabs. Names in a
/// configuration, in a response and on the command line may have some. JSON and YAML with them mean
/// the same as before.
///
/// It keeps the first error, which commands only return.
pub(super) struct Printable<W> {
    inner: W,
    failed: Option<io::Error>,
}

impl<W: Write> Printable<W> {
    pub(super) const fn new(inner: W) -> Self {
        Self { inner, failed: None }
    }

    /// Returns why something could not be written; `None` if it could, or if the reader has gone,
    /// as `head` does.
    pub(super) fn failure(self) -> Option<io::Error> {
        self.failed.filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }

    fn keep_error<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && self.failed.is_none()
        {
            // An error cannot be copied whole.
            self.failed = Some(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            });
        }
        result
    }

    fn write_escaped(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        for chunk in bytes.utf8_chunks() {
            self.inner.write_all(escape(chunk.valid(), is_obeyed).as_bytes())?;
            if !chunk.invalid().is_empty() {
                self.inner.write_all("\u{fffd}".as_bytes())?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write_escaped(bytes);
        self.keep_error(written).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.keep_error(flushed)
    }
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_escaped(character) {
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("ä /a?b=c"), "ä /a?b=c");
        let text = "a\u{1b}[2J\nb\tc\u{7f}\u{9b}31m";
        assert_eq!(printable(text), r"a\u001b[2J\u000ab\u0009c\u007f\u009b31m");
        let mut out = Vec::new();
        write!(Printable::new(&mut out), "{text} ä").unwrap();
        Printable::new(&mut out).write_all(b"\xff\r").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a\\u001b[2J\nb\tc\\u007f\\u009b31m ä\u{fffd}\\u000d"
        );
    }

    #[test]
    fn an_output_that_cannot_be_written_is_a_failure_unless_its_reader_has_gone() {
        struct Failing(io::ErrorKind);
        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, failure) in [
            (io::ErrorKind::BrokenPipe, None),
            (io::ErrorKind::StorageFull, Some(io::ErrorKind::StorageFull)),
        ] {
            let mut out = Printable::new(Failing(kind));
            assert_eq!(writeln!(out, "a").unwrap_err().kind(), kind);
            assert_eq!(out.failure().map(|error| error.kind()), failure);
        }
    }
}
