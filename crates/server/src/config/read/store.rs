//! `store: { url: "memory://", prefix: sluice, timeout: 25ms, on_failure: local }`.

use std::time::Duration;

use sluice_core::OnStoreFailure;

use crate::config::{
    files::Files,
    reader::Field,
    settings::StoreSettings,
    store_url::{RedisAddress, StoreUrl},
};

/// The words for what happens while the store is away; a limit's `on_store_failure` has the same.
pub(super) const ON_FAILURE: [(&str, OnStoreFailure); 4] =
    [("local", OnStoreFailure::Local), ("allow", OnStoreFailure::Allow), ("deny", OnStoreFailure::Deny), ("error", OnStoreFailure::Error)];

/// Every key in the store begins with the prefix, so it is paid for by each bucket.
const MAX_PREFIX_BYTES: usize = 32;

pub(super) fn read(store: &Field<'_>, files: &Files) -> Option<StoreSettings> {
    store.table(|store| {
        let url = store.field("url");
        let url_read = url.parse::<StoreUrl>();
        let prefix = store.field("prefix").parse_with(prefix);
        let timeout = store.field("timeout").duration(Duration::from_millis(1)..=Duration::from_secs(60));
        let on_failure = store.field("on_failure").choice(&ON_FAILURE);
        let connections = store.field("connections").integer(1..=64).and_then(|number| u32::try_from(number).ok());
        let password_file = store.field("password_file");
        let password_path = password_file.is_said().then(|| password_file.file(files).map(|(path, _)| path));
        if password_file.is_said() {
            match &url_read {
                Some(StoreUrl::Memory) => return password_file.refuse("the memory store has no password: remove the key"),
                Some(StoreUrl::Redis(RedisAddress { password: Some(_), .. })) => {
                    return password_file.refuse("store.url holds a password already: keep one of them");
                }
                Some(StoreUrl::Redis(_)) | None => {}
            }
        }
        Some(StoreSettings {
            url: url_read?,
            prefix: prefix?,
            timeout: timeout?,
            on_failure: on_failure?,
            connections: connections?,
            password_file: password_path.map_or(Some(None), |path| path.map(Some))?,
        })
    })
}

fn prefix(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/'));
    if !plain {
        return Err(format!("`{text}` cannot begin a key: use letters, digits and `-_.:/`"));
    }
    if text.len() > MAX_PREFIX_BYTES {
        return Err(format!("{} bytes are too long: at most {MAX_PREFIX_BYTES}, since every key begins with them", text.len()));
    }
    Ok(text.to_owned())
}
