//! `store: { url: "memory://", prefix: sluice, timeout: 25ms, on_failure: local }`.

use std::time::Duration;

use sluice_core::OnStoreFailure;

use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Hidden},
    settings::{StoreSettings, StoreUrl},
};

/// What happens when the store fails, by its word; a limit's `on_store_failure` has the same words.
pub(super) const ON_FAILURE: [(&str, OnStoreFailure); 4] = [
    ("local", OnStoreFailure::Local),
    ("allow", OnStoreFailure::Allow),
    ("deny", OnStoreFailure::Deny),
    ("error", OnStoreFailure::Error),
];

const TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60);

/// Zero does not wait.
const WAIT_AT_START: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(3_600);

pub(super) fn read(store: &Field<'_>, files: &Files) -> Result<StoreSettings, Refused> {
    store.table(|store| {
        let field = store.field("url").hide(Hidden::UrlPassword);
        let url = field.parse::<StoreUrl>();
        // A changed password counts, which `Debug` does not show.
        let _ = field.needs_restart(url.as_ref().map(StoreUrl::reveal).map_err(|why| *why));
        let field = store.field("prefix");
        let prefix = field.needs_restart(field.parse_with(prefix));
        let field = store.field("timeout");
        let timeout = field.needs_restart(field.duration(TIMEOUT));
        let field = store.field("wait_at_start");
        let wait_at_start = field.needs_restart(field.duration(WAIT_AT_START));
        let on_failure = store.field("on_failure").choice(&ON_FAILURE);
        let field = store.field("connections");
        let connections = field.needs_restart(field.integer(1..=64));
        let field = store.field("expected_replicas");
        let expected = field.needs_restart(field.optional(|field| field.integer(1..=MAX_REPLICAS)));
        let field = store.field("password_file");
        let password_file = field.needs_restart(field.optional(|field| {
            let (path, ()) = field.file(|path| files.probe_secret(path))?;
            match &url {
                Ok(StoreUrl::Memory) => {
                    Err(field.refuse("the memory store has no password: remove the key"))
                }
                Ok(StoreUrl::Redis(url)) if url.has_password() => {
                    Err(field.refuse("store.url holds a password already: keep one of them"))
                }
                Ok(StoreUrl::Redis(_)) | Err(_) => Ok(path),
            }
        }));
        let field = store.field("ca_file");
        let ca_file = field.needs_restart(field.optional(|field| {
            let (path, ()) = field.file(|path| files.probe_secret(path))?;
            match &url {
                Ok(StoreUrl::Redis(url)) if !url.is_encrypted() => Err(field.refuse(NO_TLS)),
                Ok(StoreUrl::Memory) => Err(field.refuse(NO_TLS)),
                Ok(StoreUrl::Redis(_)) | Err(_) => Ok(path),
            }
        }));
        Ok(StoreSettings {
            url: url?,
            prefix: prefix?,
            timeout: timeout?,
            wait_at_start: wait_at_start?,
            on_failure: on_failure?,
            expected_replicas: expected?,
            connections: usize::try_from(connections?).unwrap_or(usize::MAX),
            password_file: password_file?,
            ca_file: ca_file?,
        })
    })
}

/// More than any fleet has.
const MAX_REPLICAS: u64 = 10_000;

const NO_TLS: &str = "only a TLS connection has certificates: use a `rediss://` URL, or remove the \
                      key";

fn prefix(text: &str) -> Result<String, String> {
    let plain =
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    if plain && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` cannot begin a key: use 1 to 64 letters, digits, `-`, `_`, `.` or `:`"))
}
