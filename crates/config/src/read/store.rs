//! `store: { url: "memory://", prefix: sluice, timeout: 25ms, on_failure: local }`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use sluice::store::ColdStart;
use sluice_core::OnStoreFailure;

use super::start_file;
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Hidden, Table},
    settings::{ClientCertificate, Secret, SentinelLogin, StoreSettings, StoreUrl},
};

/// What happens when the store fails, by its word; a limit's `on_store_failure` has the same words.
pub(super) const ON_FAILURE: [(&str, OnStoreFailure); 4] = [
    ("local", OnStoreFailure::Local),
    ("allow", OnStoreFailure::Allow),
    ("deny", OnStoreFailure::Deny),
    ("error", OnStoreFailure::Error),
];

const COLD_START: [(&str, ColdStart); 2] = [("full", ColdStart::Full), ("empty", ColdStart::Empty)];

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
        let expected = field.optional(|field| field.integer(1..=MAX_REPLICAS));
        let url = url.as_ref();
        let field = store.field("password_file");
        let password_file = field.needs_restart(field.optional(|field| {
            let path = secret_file(field, files)?;
            match url {
                Ok(StoreUrl::Memory) => {
                    Err(field.refuse("the memory store has no password: remove the key"))
                }
                Ok(StoreUrl::Redis(url)) if url.address().has_password() => {
                    Err(field.refuse("store.url holds a password already: keep one of them"))
                }
                Ok(StoreUrl::Redis(_)) | Err(_) => Ok(path),
            }
        }));
        let with_tls = |field: &Field<'_>| require_tls(field, url);
        let ca_file = start_file::read(&store.field("ca_file"), files, with_tls);
        let client_certificate = client_certificate(store, url, files);
        let field = store.field("tls_name");
        let tls_name = field.needs_restart(field.optional(|field| {
            let name = field.parse_with(certificate_name)?;
            require_tls(field, url).map(|()| name)
        }));
        let sentinel = store
            .field("sentinel")
            .or(SentinelLogin::default(), |field| sentinel(field, url, files));
        let field = store.field("cold_start");
        let cold_start = field.needs_restart(field.choice(&COLD_START));
        Ok(StoreSettings {
            url: url.cloned().map_err(|refused| *refused)?,
            prefix: prefix?,
            timeout: timeout?,
            wait_at_start: wait_at_start?,
            on_failure: on_failure?,
            cold_start: cold_start?,
            expected_replicas: expected?,
            connections: usize::try_from(connections?).unwrap_or(usize::MAX),
            password_file: password_file?,
            ca_file: ca_file?,
            client_certificate: client_certificate?,
            tls_name: tls_name?,
            sentinel: sentinel?,
        })
    })
}

/// A store's URL, or that it was refused.
type Url<'a> = Result<&'a StoreUrl, &'a Refused>;

/// Returns the path of a file with a password, which can be read.
fn secret_file(field: &Field<'_>, files: &Files) -> Result<PathBuf, Refused> {
    let (path, ()) = field.file(|path| files.probe_secret(path))?;
    Ok(path)
}

/// Refuses the field if connections are not in TLS.
fn require_tls(field: &Field<'_>, url: Url<'_>) -> Result<(), Refused> {
    match url {
        Ok(StoreUrl::Redis(url)) if !url.address().is_encrypted() => Err(field.refuse(NO_TLS)),
        Ok(StoreUrl::Memory) => Err(field.refuse(NO_TLS)),
        Ok(StoreUrl::Redis(_)) | Err(_) => Ok(()),
    }
}

fn client_certificate(
    store: &Table<'_>,
    url: Url<'_>,
    files: &Files,
) -> Result<Option<ClientCertificate>, Refused> {
    let read = |field| start_file::read(field, files, |field| require_tls(field, url));
    let fields = (store.field("client_certificate"), store.field("client_key"));
    let (certificate, key) = (read(&fields.0), read(&fields.1));
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Ok(Some(ClientCertificate { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(fields.1.missing("write the file of the certificate's key")),
        (None, Some(_)) => Err(fields.0.missing("write the file of the key's certificate")),
    }
}

/// Reads `sentinel: { user, password, password_file, ca_file }`.
fn sentinel(field: &Field<'_>, url: Url<'_>, files: &Files) -> Result<SentinelLogin, Refused> {
    let login = field.table(|sentinel| {
        let name = sentinel.field("user");
        let user = name.needs_restart(name.optional(|name| name.text().map(str::to_owned)));
        let written = sentinel.field("password").hide(Hidden::Value);
        let password = written.optional(|written| written.text().map(Secret::new));
        // A changed password counts, which `Debug` does not show.
        let revealed = password.as_ref().map(|password| password.as_ref().map(Secret::reveal));
        let _ = written.needs_restart(revealed.map_err(|refused| *refused));
        let file = sentinel.field("password_file");
        let password_file = file.needs_restart(file.optional(|file| {
            if written.is_present() {
                let path = written.path();
                return Err(file.refuse(format_args!("{path} is set too: keep one of them")));
            }
            secret_file(file, files)
        }));
        let with_tls = |field: &Field<'_>| require_tls(field, url);
        let ca_file = start_file::read(&sentinel.field("ca_file"), files, with_tls);
        if name.is_present() && !written.is_present() && !file.is_present() {
            return Err(file.missing("a user logs in with a password"));
        }
        Ok(SentinelLogin {
            user: user?,
            password: password?,
            password_file: password_file?,
            ca_file: ca_file?,
        })
    })?;
    match url {
        Ok(StoreUrl::Redis(url)) if url.address().is_behind_sentinels() => Ok(login),
        Ok(_) => Err(field.refuse(
            "only a `redis+sentinel://` or `rediss+sentinel://` URL has Sentinels: remove the key",
        )),
        Err(_) => Ok(login),
    }
}

/// More than any fleet has.
const MAX_REPLICAS: u64 = 10_000;

const NO_TLS: &str = "only a TLS connection has certificates: use a `rediss://`, \
                      `rediss+sentinel://` or `rediss+cluster://` URL, or remove the key";

fn certificate_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.bytes().all(plain)) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` cannot be the name of a certificate: write a host name or an IP address, without \
         a port"
    ))
}

fn prefix(text: &str) -> Result<String, String> {
    let plain =
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    if plain && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` cannot begin a key: use 1 to 64 letters, digits, `-`, `_`, `.` or `:`"))
}
