//! Example decisions for the OpenAPI document.

use serde_json::{Value, json};

/// A decision that allows.
pub(crate) fn allowed() -> Value {
    json!({
        "status": 200, "allowed": true,
        "limit": 60, "window": 60, "remaining": 9, "reset": 1_800_000_001,
        "limits": [{
            "name": "default", "algorithm": "token_bucket", "limit": 60, "window": 60,
            "requests_per_minute": 60, "burst": 10,
            "mode": "enforce", "cost": 1, "admitted": true, "remaining": 9, "reset": 1_800_000_001,
        }],
    })
}

/// A decision that denies.
pub(crate) fn denied() -> Value {
    let reason =
        "limit default (60/minute, burst 10) has 0 of the 1 tokens asked for: try again in 1 s";
    json!({
        "status": 429, "allowed": false,
        "type": "urn:sluice:problem:rate-limited", "title": "Too many requests", "detail": reason,
        "error": "rate_limit_exceeded", "message": reason, "retry_after": 1, "never": false,
        "limit": 60, "window": 60, "remaining": 0, "reset": 1_800_000_010,
        "limits": [{
            "name": "default", "algorithm": "token_bucket", "limit": 60, "window": 60,
            "requests_per_minute": 60, "burst": 10,
            "mode": "enforce", "cost": 1, "admitted": false, "remaining": 0, "reset": 1_800_000_010,
            "retry_after": 1,
        }],
    })
}
