//! The errors of a configuration, and their collection: all of them are reported at once.

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Display},
};

use crate::{origin::Origin, path::Path};

/// How many errors are kept. A generated file may hold half a million, more than anyone reads.
const MAX_ERRORS: usize = 100;
/// How long a message may be, in characters: it may quote what was written.
const MAX_MESSAGE: usize = 1_000;

/// One error, or one warning: which value it is about, what is wrong, and the remedy.
///
/// ```text
/// sluice.yaml:12: limits[3].name: `org-writes` is already taken by limits[0]: choose another name
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The file and line, the environment variable or the flag that holds the value.
    pub origin: Origin,
    /// The value's path in the configuration; the root for a whole file.
    pub path: Path,
    /// What is wrong, and the remedy. Never shows a secret.
    pub message: String,
}

/// All errors of a configuration. Displayed, each error is on a line of its own; of very many
/// errors, the last line says how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    first: Vec<ConfigError>,
    more: usize,
}

/// A proof that an error was recorded: only [`ErrorLog::refuse`] makes one. A reader that returns
/// `Err(Refused)` has reported why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(());

/// Collects errors, or warnings, while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct ErrorLog {
    first: RefCell<Vec<ConfigError>>,
    more: Cell<usize>,
}

impl ConfigErrors {
    /// The errors that are kept: at most a hundred.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.first
    }

    /// How many errors there are, with those that are not kept.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.first.len() + self.more
    }

    /// These, as warnings: the last one says how many more there are.
    pub(crate) fn into_warnings(mut self) -> Vec<ConfigError> {
        if let (Some(last), true) = (self.first.last(), self.more > 0) {
            let (origin, message) = (last.origin.clone(), format!("and {} more", self.more));
            self.first.push(ConfigError { origin, path: Path::root(), message });
        }
        self.first
    }

    /// The lines of the report.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.first.iter().map(ToString::to_string).chain(more)
    }
}

impl ErrorLog {
    /// Records an error. For one that is only counted, none of the closures is called.
    pub(crate) fn refuse(
        &self,
        origin: impl FnOnce() -> Origin,
        path: impl FnOnce() -> Path,
        message: impl FnOnce() -> String,
    ) -> Refused {
        if self.first.borrow().len() < MAX_ERRORS {
            let (origin, path, message) = (origin(), path(), shortened(message()));
            let error = ConfigError { origin, path, message };
            self.first.borrow_mut().push(error);
        } else {
            self.more.set(self.more.get() + 1);
        }
        Refused(())
    }

    /// Returns what was read, unless an error was recorded.
    pub(crate) fn finish<T>(self, read: Result<T, Refused>) -> Result<T, ConfigErrors> {
        match read {
            Ok(value) if self.first.borrow().is_empty() => Ok(value),
            // `Refused` proves that there is an error here.
            Ok(_) | Err(Refused(())) => Err(self.into_errors()),
        }
    }

    /// What was recorded.
    pub(crate) fn into_errors(self) -> ConfigErrors {
        ConfigErrors { first: self.first.into_inner(), more: self.more.get() }
    }
}

fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        // A message may quote line breaks, but an error is one line.
        self.message.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_debug()) } else { write!(f, "{c}") }
        })
    }
}

impl Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.lines().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            write!(f, "{line_break}{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(log: &ErrorLog, message: &str) -> Refused {
        let origin = || Origin::file("sluice.yaml").at_line(12);
        let path = || Path::root().key("limits").index(3).key("name");
        log.refuse(origin, path, || message.to_owned())
    }

    #[test]
    fn an_error_is_one_line_with_its_file_line_and_path() {
        let log = ErrorLog::default();
        refuse(&log, "`a\nb` is already taken by limits[0]");
        assert_eq!(
            log.finish(Ok(())).unwrap_err().to_string(),
            r"sluice.yaml:12: limits[3].name: `a\nb` is already taken by limits[0]"
        );
        let error = ConfigError {
            origin: Origin::file("sluice.yaml"),
            path: Path::root(),
            message: "the file is empty".to_owned(),
        };
        assert_eq!(error.to_string(), "sluice.yaml: the file is empty");
    }

    #[test]
    fn many_errors_are_counted_and_long_messages_are_cut() {
        let log = ErrorLog::default();
        refuse(&log, &"ä".repeat(10_000));
        for _ in 1..500_000 {
            refuse(&log, "unknown key");
        }
        let errors = log.into_errors();
        assert_eq!((errors.count(), errors.errors().len()), (500_000, 100));
        let text = errors.to_string();
        assert!(text.len() < 20_000 && text.ends_with("\nand 499900 more"), "{text}");
    }

    #[test]
    fn nothing_is_read_once_something_was_refused() {
        assert_eq!(ErrorLog::default().finish(Ok(1)), Ok(1));
        let log = ErrorLog::default();
        let refused = refuse(&log, "unknown key");
        assert_eq!(log.finish(Err::<i32, _>(refused)).unwrap_err().count(), 1);
    }
}
