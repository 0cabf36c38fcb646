//! What is wrong with a configuration: every mistake, each with who said it, where, and what would
//! be right.

use std::fmt;

use super::{origin::Origin, path::Path};

/// One mistake: who said it, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, environment variable or flag that holds it.
    pub origin: Origin,
    /// The place in the configuration.
    pub path: Path,
    /// What is wrong, and the remedy. Never shows a secret.
    pub message: String,
}

/// Every mistake of a configuration, at least one. Shown one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// All of `mistakes`; `None` when there are none.
    pub(crate) fn from_mistakes(mistakes: Vec<ConfigError>) -> Option<Self> {
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    /// The mistakes, at least one.
    #[must_use]
    pub fn mistakes(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        // A message may quote what was written; whatever that holds, a mistake stays on its line.
        self.message.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_debug()) } else { write!(f, "{c}") }
        })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            write!(f, "{line_break}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_names_its_origin_its_place_and_stays_on_one_line() {
        let mut mistake = ConfigError {
            origin: Origin::File("sluice.yaml".to_owned()),
            path: Path::root().key("limits").index(3).key("name"),
            message: "`a\nb` is already taken by limits[0]".to_owned(),
        };
        assert_eq!(
            mistake.to_string(),
            r"sluice.yaml: limits[3].name: `a\nb` is already taken by limits[0]"
        );
        mistake.path = Path::root();
        assert_eq!(mistake.to_string(), r"sluice.yaml: `a\nb` is already taken by limits[0]");
        assert_eq!(ConfigErrors(vec![mistake.clone(), mistake]).to_string().lines().count(), 2);
    }
}
