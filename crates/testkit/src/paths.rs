//! Spellings of one path, as hostile clients write them.

/// What a spelling of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The path itself.
    Same,
    /// Another path.
    Other,
    /// A path that servers read differently. It gets status 400.
    Refused,
}

/// Returns spellings of `/name`, each with what every part of Sluice has to read it as. `name` is
/// one segment of lower-case letters.
#[must_use]
pub fn spellings(name: &str) -> Vec<(String, Reading)> {
    use Reading::{Other, Refused, Same};
    let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (first, rest) = name.split_at(1);
    let half = format!("%{:02X}{rest}", first.as_bytes()[0]);
    let capitals = name.to_uppercase();
    [
        (format!("/{name}"), Same),
        (format!("//{name}"), Same),
        (format!("///{name}"), Same),
        (format!("/{name}/"), Same),
        (format!("/{name}//"), Same),
        (format!("/./{name}"), Same),
        (format!("/%2e/{name}"), Same),
        (format!("/{name}/."), Same),
        (format!("/x/../{name}"), Same),
        (format!("/../{name}"), Same),
        (format!("/%2e%2e/{name}"), Same),
        (format!("/x/%2E./{name}"), Same),
        (format!("/{name}/x/.."), Same),
        (format!("/{name}/x/%2e%2e/"), Same),
        (format!("/{half}"), Same),
        (format!("/{escaped}"), Same),
        (format!("/x/../{half}/"), Same),
        (format!("/{name}?"), Same),
        (format!("/{name}?a=/../b"), Same),
        (format!("/{name}#a"), Same),
        (format!("/;/../{name}"), Same),
        (format!("/{capitals}"), Other),
        (format!("/{name};x=1"), Other),
        (format!("/{name};"), Other),
        (format!("/{name}%3b"), Other),
        (format!("/;x/{name}"), Other),
        (format!("/{name}%23"), Other),
        (format!("/{name}%3Fa"), Other),
        (format!("/{name}%20"), Other),
        (format!("/{name}."), Other),
        (format!("/{name}.."), Other),
        (format!("/.{name}"), Other),
        (format!("/...//{name}"), Other),
        (format!("/%25{}", &half[1..]), Other),
        (format!("/{name}*"), Other),
        (format!("/..;/{name}"), Refused),
        (format!("/x/..;/{name}"), Refused),
        (format!("/x/..;a=b/{name}"), Refused),
        (format!("/.;/{name}"), Refused),
        (format!("/x/%2e%2e;/{name}"), Refused),
        (format!("/x/..%3b/{name}"), Refused),
        (format!("/x/%2E%2e%3B/{name}"), Refused),
        (format!("/x/;/../{name}"), Refused),
        (format!("/x//../{name}"), Refused),
        (format!("/x%2f..%2f{name}"), Refused),
        (format!("/%2F{name}"), Refused),
        (format!("/x%2F..%2F{name}"), Refused),
        (format!("/x/..%5c{name}"), Refused),
        (format!("/x\\..\\{name}"), Refused),
        (format!("/{name}%00"), Refused),
        (format!("/{name}%0a"), Refused),
        (format!("/{name}%7F"), Refused),
        (format!("/{name}%"), Refused),
        (format!("/{name}%6"), Refused),
        (format!("/{name}%zz"), Refused),
        (format!("/%u0061{name}"), Refused),
        (format!("/x/%c0%ae%c0%ae/{name}"), Refused),
        (format!("/x%c0%af{name}"), Refused),
        (format!("/{name}%ff"), Refused),
    ]
    .into()
}
