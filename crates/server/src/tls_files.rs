//! The files of TLS that the settings name: how they are opened, and how they are checked.

use std::{io, path::Path};

use sluice_config::{ClientCertificate, Loader, Origin, ReadFile, Settings, TlsSettings};
use sluice_http::{Tls, TlsError, TlsFile, TlsFiles};
use sluice_telemetry::{CertificateRecorder, TlsSection};

/// Where the certificates of a port are configured.
const PORTS: [&str; 2] = ["listen", "admin"];

/// TLS that cannot be set up.
#[derive(Debug)]
pub(crate) struct Unusable {
    /// The setting that names the file: `listen.tls.key`.
    pub(crate) setting: String,
    /// What is wrong with the file.
    pub(crate) source: TlsError,
}

/// What a check has found, each with its place in the configuration.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What may be meant, or is only so on this machine.
    pub(crate) warnings: Vec<String>,
    /// What prevents a start.
    pub(crate) errors: Vec<String>,
}

/// Sets up the TLS of a port, if `section` (`listen` or `admin`) has any.
pub(crate) fn open(
    section: &str,
    configured: Option<&TlsSettings>,
) -> Result<Option<Tls>, Unusable> {
    let Some(configured) = configured else { return Ok(None) };
    let tls = load(section, configured)?;
    if let Some(warning) = tls.warning() {
        tracing::warn!("{section}.tls: {warning}");
    }
    Ok(Some(tls))
}

/// Records when the certificate of a port expires, if the port has one.
pub(crate) fn record_expiry(
    recorder: &CertificateRecorder,
    section: TlsSection,
    tls: Option<&Tls>,
) {
    if let Some(expires_at) = tls.and_then(Tls::expires_at) {
        recorder.set_expiry(section, expires_at);
    }
}

/// Checks those files of TLS that `settings` name and this machine has. They may be on another one,
/// which is then the one that serves. `loader` has read the settings, without these files.
pub(crate) fn check(settings: &Settings, loader: &Loader) -> Findings {
    let mut checked = Checked { loader, findings: Findings::default() };
    let ports = [settings.listen.tls.as_ref(), settings.admin.tls.as_ref()];
    for (section, configured) in PORTS.into_iter().zip(ports) {
        if let Some(configured) = configured {
            checked.port(section, configured);
        }
    }
    let gateway = settings.gateway.as_ref().and_then(|gateway| gateway.ca_file.as_deref());
    let store = &settings.store;
    for (section, file) in [
        ("store", store.ca_file.as_deref()),
        ("store.sentinel", store.sentinel.ca_file.as_deref()),
        ("gateway", gateway),
    ] {
        if let Some(file) = file {
            checked.file(&format!("{section}.ca_file"), file, TlsFile::verify_certificates);
        }
    }
    if let Some(ClientCertificate { certificate, key }) = &store.client_certificate {
        checked.file("store.client_certificate", certificate, TlsFile::verify_certificates);
        checked.file("store.client_key", key, TlsFile::verify_key);
    }
    checked.findings
}

fn load(section: &str, configured: &TlsSettings) -> Result<Tls, Unusable> {
    let TlsSettings { certificate, key, client_ca, requires_client_certificate } = configured;
    let files = TlsFiles {
        certificate: file(certificate),
        key: file(key),
        client_ca: client_ca.as_ref().map(file),
        requires_client_certificate: *requires_client_certificate,
    };
    Tls::new(&files).map_err(|source| {
        let name = match &source {
            // The certificate is read before the authorities, which may be in the same file.
            TlsError::NoCertificate(path) | TlsError::Certificate(path, _)
                if *path != certificate.path =>
            {
                "client_ca"
            }
            TlsError::NoCertificate(_) | TlsError::Certificate(..) => "certificate",
            _ => "key",
        };
        Unusable { setting: format!("{section}.tls.{name}"), source }
    })
}

fn file(file: &ReadFile) -> TlsFile {
    TlsFile::new(&file.path, file.content.clone())
}

/// Checks files, and notes what it finds.
struct Checked<'a> {
    loader: &'a Loader,
    findings: Findings,
}

impl Checked<'_> {
    fn port(&mut self, section: &str, configured: &TlsSettings) {
        let TlsSettings { certificate, key, client_ca, requires_client_certificate } = configured;
        let named = |name: &str| format!("{section}.tls.{name}");
        let read_certificate = self.read(&named("certificate"), &certificate.path);
        let read_key = self.read(&named("key"), &key.path);
        let read_ca = client_ca.as_ref().map(|ca| self.read(&named("client_ca"), &ca.path));
        let (Some(certificate), Some(key), None | Some(Some(_))) =
            (&read_certificate, &read_key, &read_ca)
        else {
            // Each for itself, as far as they are here.
            if let Some(file) = read_certificate {
                self.note(&named("certificate"), file.verify_certificates());
            }
            if let Some(file) = read_key {
                self.note(&named("key"), file.verify_key());
            }
            if let Some(file) = read_ca.flatten() {
                self.note(&named("client_ca"), file.verify_certificates());
            }
            return;
        };
        let whole = TlsSettings {
            certificate: ReadFile::new(&certificate.path, certificate.content.clone()),
            key: ReadFile::new(&key.path, key.content.clone()),
            client_ca: read_ca.flatten().map(|ca| ReadFile::new(ca.path, ca.content)),
            requires_client_certificate: *requires_client_certificate,
        };
        match load(section, &whole) {
            Ok(tls) => {
                if let Some(warning) = tls.warning() {
                    let place = self.place(&named("certificate"));
                    self.findings.warnings.push(format!("{place}: {warning}"));
                }
            }
            Err(Unusable { setting, source }) => self.note(&setting, Err(source)),
        }
    }

    /// Checks a file that stands for itself.
    fn file(
        &mut self,
        setting: &str,
        path: &Path,
        verify: impl Fn(&TlsFile) -> Result<(), TlsError>,
    ) {
        if let Some(file) = self.read(setting, path) {
            self.note(setting, verify(&file));
        }
    }

    /// Reads a file; `None` if it cannot be read, which is noted.
    fn read(&mut self, setting: &str, path: &Path) -> Option<TlsFile> {
        let error = match ReadFile::read(path) {
            Ok(file) => return Some(TlsFile::new(file.path, file.content)),
            Err(error) => error,
        };
        let place = self.place(setting);
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => self.findings.warnings.push(format!(
                "{place}: `{path}` is not on this machine, so that it is not checked"
            )),
            io::ErrorKind::PermissionDenied => self.findings.warnings.push(format!(
                "{place}: `{path}` cannot be read by this user, so that it is not checked"
            )),
            _ => self.findings.errors.push(format!("{place}: `{path}` cannot be read: {error}")),
        }
        None
    }

    fn note(&mut self, setting: &str, verified: Result<(), TlsError>) {
        if let Err(error) = verified {
            let place = self.place(setting);
            self.findings.errors.push(format!("{place}: {error}"));
        }
    }

    /// Returns where a setting was written, and its path.
    fn place(&self, setting: &str) -> String {
        let origin: Origin = self.loader.origin_of(setting);
        format!("{origin}: {setting}")
    }
}
