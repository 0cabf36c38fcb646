//! `tls: { certificate: tls.crt, key: tls.key, client_ca: ca.crt, client_certificates: required }`.

use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Table},
    settings::{ReadFile, TlsSettings},
};

/// Reads the TLS of a port. A change of its files takes effect at once, and its presence at the
/// next start.
pub(super) fn read(field: &Field<'_>, files: &Files) -> Result<Option<TlsSettings>, Refused> {
    field.needs_restart(Ok(field.is_present()))?;
    field.optional(|field| field.table(|table| section(table, files)))
}

fn section(table: &Table<'_>, files: &Files) -> Result<TlsSettings, Refused> {
    let certificate = table
        .field("certificate")
        .required("name a file with the certificate, in PEM")
        .and_then(|field| file(&field, files));
    let key = table
        .field("key")
        .required("name a file with the certificate's private key, in PEM")
        .and_then(|field| file(&field, files));
    let client_ca = table.field("client_ca").optional(|field| file(field, files));
    let field = table.field("client_certificates");
    // Whoever names an authority wants its certificates.
    let is_required = field.or(true, |field| {
        let is_required = field.choice(&[("required", true), ("optional", false)])?;
        if matches!(client_ca, Ok(None)) {
            return Err(field.refuse("nobody verifies them: name the authorities in `client_ca`"));
        }
        Ok(is_required)
    });
    let client_ca = client_ca?;
    Ok(TlsSettings {
        certificate: certificate?,
        key: key?,
        requires_client_certificate: client_ca.is_some() && is_required?,
        client_ca,
    })
}

fn file(field: &Field<'_>, files: &Files) -> Result<ReadFile, Refused> {
    let (path, content) = field.file(|path| files.read_secret_bytes(path))?;
    Ok(ReadFile { path, content: content.unwrap_or_default() })
}
