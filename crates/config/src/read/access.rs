//! `access: { tokens: [...], tokens_file: /run/secrets/tokens }`.

use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Hidden, Table},
    settings::{AccessSettings, Secret},
};

/// A random token of this length cannot be guessed.
const LONG_ENOUGH: usize = 16;

pub(super) fn read(access: &Field<'_>, files: &Files) -> Result<AccessSettings, Refused> {
    access.or(AccessSettings::default(), |access| {
        access.table(|table| {
            let (listed, in_file) = (listed(table), in_file(table, files));
            let (mut tokens, in_file) = (listed?, in_file?);
            let is_empty = tokens.is_empty() && in_file.as_ref().is_some_and(Vec::is_empty);
            tokens.extend(in_file.unwrap_or_default());
            if is_empty {
                // With an empty list, every caller would be rejected or none, and neither is
                // likely to be meant.
                return Err(access.refuse(
                    "lists no token: add one to `tokens` or `tokens_file`, or remove the section",
                ));
            }
            Ok(AccessSettings { tokens })
        })
    })
}

fn listed(access: &Table<'_>) -> Result<Vec<Secret>, Refused> {
    access.field("tokens").hide(Hidden::Value).or(Vec::new(), |field| {
        field.one_or_more(|item| {
            let token = item.text()?;
            require_sendable(token).map_err(|what| item.refuse(what))?;
            warn_of_short(item, token, None);
            Ok(Secret::new(token))
        })
    })
}

/// Reads the tokens in `tokens_file`, one a line. Returns an empty list without a file, and `None`
/// where secrets are left alone.
fn in_file(access: &Table<'_>, files: &Files) -> Result<Option<Vec<Secret>>, Refused> {
    let field = access.field("tokens_file");
    field.or(Some(Vec::new()), |field| {
        let (_, content) = field.file(|path| files.read_secret(path))?;
        let Some(content) = content else { return Ok(None) };
        let lines = content.lines().zip(1_usize..).map(|(line, number)| (line.trim(), number));
        let tokens = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let tokens = tokens.map(|(token, number)| {
            require_sendable(token)
                .map_err(|what| field.refuse(format_args!("line {number} of the file {what}")))?;
            warn_of_short(field, token, Some(number));
            Ok(Secret::new(token))
        });
        // Every line is read, so that every error is recorded.
        tokens.collect::<Vec<Result<_, Refused>>>().into_iter().collect::<Result<_, _>>().map(Some)
    })
}

/// Checks that a token can be sent in a header field.
fn require_sendable(token: &str) -> Result<(), &'static str> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err("is not a token: a header field carries visible ASCII characters without spaces")
}

fn warn_of_short(field: &Field<'_>, token: &str, line: Option<usize>) {
    if token.len() >= LONG_ENOUGH {
        return;
    }
    let which = line.map_or_else(String::new, |line| format!("line {line} of the file "));
    field.warn(format_args!(
        "{which}is a token of fewer than {LONG_ENOUGH} characters, which can be guessed: write a \
         random one, as `openssl rand -hex 32` prints"
    ));
}
