//! End-to-end tests live in `tests/tests/`; this crate has nothing else to offer.
