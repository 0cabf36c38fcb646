//! The users of Redis that the project's document describes.

use std::fs;

/// Read when a test runs, since the image is built without documents.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
const COMMAND: &str = "ACL SETUSER ";

/// Returns the words of the command in `docs/redis.md` that makes the user `name`, with `password`
/// as its password: `ACL`, `SETUSER`, `name`, and what the user may do.
///
/// A test that runs as this user shows that the document does not forget a permission.
///
/// # Panics
/// When the document cannot be read, or has no such command.
#[must_use]
#[track_caller]
pub fn documented_user(name: &str, password: &str) -> Vec<String> {
    let document = fs::read_to_string(DOCUMENT)
        .unwrap_or_else(|error| panic!("could not read {DOCUMENT}: {error}"));
    let command = format!("{COMMAND}{name} ");
    let Some(start) = document.find(&command) else {
        panic!("docs/redis.md contains no `{command}`")
    };
    // A line that ends with a backslash goes on.
    let lines = document[start..].lines();
    let mut is_complete = false;
    let lines =
        lines.take_while(|line| !std::mem::replace(&mut is_complete, !line.ends_with('\\')));
    let words = lines.flat_map(|line| line.trim_end_matches('\\').split_whitespace());
    words.map(|word| word.trim_matches('\'').replace("PASSWORD", password)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_several_lines_is_read_to_its_end() {
        let words = documented_user("sluice", "secret");
        assert_eq!(words[..5], ["ACL", "SETUSER", "sluice", "reset", "on"]);
        assert!(words.contains(&">secret".to_owned()), "{words:?}");
        assert!(words.contains(&"+script|load".to_owned()), "{words:?}");
        assert_eq!(words.last().unwrap(), "+client|setname");
    }
}
