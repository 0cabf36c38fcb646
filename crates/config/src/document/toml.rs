//! TOML. Its parser refuses keys that stand twice.

use config::{FileFormat, Format as _, Value};

use super::Mistakes;
use crate::{error::ConfigError, origin::Origin, path::Path};

/// Reads `text`; `None` for what is no TOML.
pub(super) fn parse(origin: &Origin, text: &str) -> (Option<Value>, Vec<ConfigError>) {
    let mut mistakes = Mistakes::of(origin);
    let root = match FileFormat::Toml.parse(Some(&origin.to_tag()), text) {
        Ok(values) => Some(Value::new(Some(&origin.to_tag()), values)),
        Err(error) => {
            mistakes.add(Path::root(), without_the_excerpt(&error.to_string()));
            None
        }
    };
    (root, mistakes.found)
}

/// The parser shows the line of the file between the place and the reason. That line may hold a
/// password.
fn without_the_excerpt(error: &str) -> String {
    let is_excerpt = |line: &&str| {
        line.split_once('|').is_some_and(|(number, _)| {
            number.trim().parse::<u32>().is_ok() || number.trim().is_empty()
        })
    };
    let said: Vec<&str> = error.lines().filter(|line| !is_excerpt(line)).collect();
    said.join(": ").replacen("TOML parse error at ", "", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        parse(&Origin::File("f.toml".to_owned()), text).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_mistake_names_its_line_and_shows_nothing_of_it() {
        let found = mistakes("[store]\nurl = \"redis://u:hunter2@host\" x\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("f.toml: line 2, column "), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let found = mistakes("[endpoints]\n\"/a\" = 1\n\"/a\" = 2\n");
        assert_eq!(found, ["f.toml: line 3, column 1: duplicate key"]);
    }

    #[test]
    fn keys_keep_their_case_dots_and_slashes() {
        let (root, mistakes) =
            parse(&Origin::File("f.toml".to_owned()), "[endpoints]\n\"/api/v1.2/Chat\" = 20\n");
        assert_eq!(mistakes, []);
        assert_eq!(root.unwrap().to_string(), "{ endpoints => { /api/v1.2/Chat => 20,  },  }");
    }
}
