//! `cargo xtask e2e`: the vendors' SDKs for language models through the gateway; the image and the
//! compose stack, with a real Docker engine.
//!
//! It is not part of CI: the SDKs are a quarter of a gigabyte, and building the image takes minutes
//! and needs an engine and base images.

mod engine;
mod fleet;
mod image;
mod sdks;
mod stand_ins;

use std::path::Path;

use crate::report::Report;
use engine::Engine;

/// Runs all steps that this machine can, and says which it leaves out. With `stand_ins`, base
/// images that cannot be pulled are made from Debian's packages.
pub(crate) fn run(report: &mut Report, root: &Path, stand_ins: bool) {
    sdks::check(report);
    let engine = match Engine::find_or_start() {
        Ok(engine) => engine,
        Err(why) => return report.leave_out("image and compose stack", &why),
    };
    println!("Docker engine: {}", engine.description());
    if !image::build(report, &engine, root, stand_ins) {
        return;
    }
    image::check(report, &engine);
    fleet::check(report, &engine, root, stand_ins);
}
