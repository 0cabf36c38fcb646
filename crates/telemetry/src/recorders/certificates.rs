//! The certificates of the ports.

use opentelemetry::metrics::{Gauge, Meter};

use crate::{
    labels::label_values,
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// The section of the configuration whose `tls` has a certificate.
    pub enum TlsSection {
        /// `listen.tls`: the HTTP port and the gRPC port.
        Listen => "listen",
        /// `admin.tls`: the admin port.
        Admin => "admin",
    }
}

const SECTION: Label = Label::fixed("section", TlsSection::TEXTS);

const EXPIRY: Metric = Metric {
    name: "sluice_tls_certificate_expiry_timestamp_seconds",
    kind: MetricKind::Gauge,
    unit: "s",
    labels: &[SECTION],
    help: "Shows when the certificate in use expires, in Unix time, by the section of the \
           configuration that names it.",
    query: "min by (section) (sluice_tls_certificate_expiry_timestamp_seconds) - time()",
};

pub(crate) const METRICS: &[Metric] = &[EXPIRY];

/// Records facts about the certificates of the ports.
#[derive(Clone, Debug)]
pub struct CertificateRecorder {
    /// Not bound, since a section without a certificate has no series.
    expiry: Gauge<u64>,
}

// === impl CertificateRecorder ===

impl CertificateRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self { expiry: EXPIRY.gauge(meter) }
    }

    /// Sets when the certificate of `section` expires, in Unix seconds.
    pub fn set_expiry(&self, section: TlsSection, unix_seconds: u64) {
        self.expiry.record(unix_seconds, &[SECTION.with(section.as_str())]);
    }
}
