//! Files that are used from the start on: the certificates and keys of connections that Sluice
//! opens itself.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
};

use crate::{error::Refused, files::Files, reader::Field};

/// Returns the path of the file that the field names, if there is one and `permit` agrees. The file
/// must be readable. Another path needs a restart, and so does another content.
pub(super) fn read(
    field: &Field<'_>,
    files: &Files,
    permit: impl FnOnce(&Field<'_>) -> Result<(), Refused>,
) -> Result<Option<PathBuf>, Refused> {
    let named = field.optional(|field| {
        let (path, content) = field.file(|path| files.read_secret_bytes(path))?;
        permit(field)?;
        // The content may be a key, which is not kept here.
        Ok((path, content.map(|content| digest(&content))))
    });
    Ok(field.needs_restart(named)?.map(|(path, _)| path))
}

fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
