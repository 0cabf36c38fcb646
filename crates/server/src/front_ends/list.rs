//! The list of front ends.

use super::{check, events, forward_auth, front_end::Registration, rls_json};

/// Every front end with a path of its own on the HTTP port. A new one is one more line here.
pub(crate) const FRONT_ENDS: &[Registration] = &[
    Registration::of::<check::Check>(),
    Registration::of::<check::Batch>(),
    Registration::of::<forward_auth::ForwardAuth>(),
    Registration::of::<rls_json::RlsJson>(),
    Registration::of::<events::EventReports>(),
];
