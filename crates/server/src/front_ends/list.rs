//! The list of front ends.

use super::{check, events, forward_auth, front_end::Registration, holds, rls_json};

/// Every front end with a path of its own on the HTTP port, with its description. A new front end
/// is one more line here.
pub(crate) const FRONT_ENDS: &[Registration] = &[
    Registration::of::<check::Check>(check::description::check),
    Registration::of::<check::Batch>(check::description::batch),
    Registration::of::<holds::Reserve>(holds::description::reserve),
    Registration::of::<holds::Extend>(holds::description::extend),
    Registration::of::<holds::Settle>(holds::description::settle),
    Registration::of::<forward_auth::ForwardAuth>(forward_auth::description::forward_auth),
    Registration::of::<rls_json::RlsJson>(rls_json::description::rls_json),
    Registration::of::<events::EventReports>(events::description::events),
];
