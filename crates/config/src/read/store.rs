//! `store: { url: "memory://", prefix: sluice, timeout: 25ms, on_failure: local }`.

use std::time::Duration;

use sluice_core::OnStoreFailure;

use super::numbers::optional;
use crate::{
    files::Files,
    reader::Field,
    settings::{StoreSettings, StoreUrl},
};

/// The words for what happens while the store is away; a limit's `on_store_failure` has the same.
pub(super) const ON_FAILURE: [(&str, OnStoreFailure); 4] = [
    ("local", OnStoreFailure::Local),
    ("allow", OnStoreFailure::Allow),
    ("deny", OnStoreFailure::Deny),
    ("error", OnStoreFailure::Error),
];

pub(super) fn read(store: &Field<'_>, files: &Files) -> Option<StoreSettings> {
    store.table(|store| {
        let url = store.field("url").parse::<StoreUrl>();
        let prefix = store.field("prefix").parse_with(prefix);
        let timeout = store.field("timeout").duration(Duration::from_millis(1)..=Duration::from_secs(60));
        let on_failure = store.field("on_failure").choice(&ON_FAILURE);
        let connections = store.field("connections").integer(1..=64).and_then(|number| usize::try_from(number).ok());
        let password_file = optional(&store.field("password_file"), Some(None), |field| {
            let (path, ()) = field.file(|path| files.probe_secret(path))?;
            match &url {
                Some(StoreUrl::Memory) => field.refuse("the memory store has no password: remove the key"),
                Some(StoreUrl::Redis(url)) if url.has_password() => field.refuse("store.url holds a password already: keep one of them"),
                Some(StoreUrl::Redis(_)) | None => Some(Some(path)),
            }
        });
        let ca_file = optional(&store.field("ca_file"), Some(None), |field| {
            let (path, ()) = field.file(|path| files.probe_secret(path))?;
            match &url {
                Some(StoreUrl::Redis(url)) if url.is_encrypted() => Some(Some(path)),
                None => Some(None),
                Some(_) => field.refuse("only a connection in TLS has certificates: use a `rediss://` URL, or remove the key"),
            }
        });
        Some(StoreSettings {
            url: url?,
            prefix: prefix?,
            timeout: timeout?,
            on_failure: on_failure?,
            connections: connections?,
            password_file: password_file?,
            ca_file: ca_file?,
        })
    })
}

fn prefix(text: &str) -> Result<String, String> {
    let plain =
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    if plain && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` cannot begin a key: use 1 to 64 letters, digits, `-`, `_`, `.` or `:`"))
}
