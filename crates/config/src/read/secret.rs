//! A secret, written in the configuration or in a file of its own.

use crate::{
    error::Refused,
    files::Files,
    reader::{Hidden, Table},
    settings::Secret,
};

/// Reads the secret that is written under `name`, or in the file that `file_name` names.
pub(super) fn read(
    table: &Table<'_>,
    name: &'static str,
    file_name: &'static str,
    files: &Files,
) -> Result<Option<Secret>, Refused> {
    let (written, file) = (table.field(name).hide(Hidden::Value), table.field(file_name));
    if written.is_present() && file.is_present() {
        return Err(file.refuse(format_args!("{} is set too: keep one of them", written.path())));
    }
    if written.is_present() {
        return written.text().map(|text| Some(Secret::new(text)));
    }
    file.optional(|file| {
        let (_, content) = file.file(|path| files.read_secret(path))?;
        match content.as_deref().map(|text| text.trim_end_matches(['\r', '\n'])) {
            Some("") => Err(file.refuse("the file is empty: write the secret into it")),
            // Where secrets are left alone, it is enough that one is named.
            text => Ok(Secret::new(text.unwrap_or_default())),
        }
    })
}
