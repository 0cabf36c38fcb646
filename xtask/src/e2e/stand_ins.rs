//! Images in place of those that cannot be pulled, made from Debian's packages.
//!
//! A result with a stand-in says nothing about the real image, and the summary names each.

use std::env;
use std::fs;
use std::path::Path;

use super::engine::{Engine, output};
use crate::report::Report;
use crate::shell::{program, succeeds};

/// What an image is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Compiles the program.
    Builder,
    /// Carries the program.
    Base,
    /// A program of the compose stack, from this package of Debian. `entry` has the words of its
    /// entry point, each as a JSON string.
    Service { package: &'static str, entry: &'static str },
}

/// Makes sure that the engine has `image`; returns whether it does.
pub(super) fn provide(
    report: &mut Report,
    engine: &Engine,
    kind: Kind,
    image: &str,
    stand_ins: bool,
) -> bool {
    if succeeds(engine.docker().args(["image", "inspect", image]))
        || succeeds(engine.docker().args(["pull", "--quiet", image]))
    {
        return true;
    }
    if !stand_ins {
        return false;
    }
    if !succeeds(program("mmdebstrap").arg("--version")) {
        report.fail(image, "a stand-in needs `mmdebstrap`");
        return false;
    }
    let made = report.check(&format!("make a stand-in for {image}"), || {
        make(engine, kind, image).map(|()| Vec::new())
    });
    if made {
        report.leave_out(image, "it cannot be pulled; a stand-in takes its place");
    }
    made
}

fn make(engine: &Engine, kind: Kind, image: &str) -> Result<(), String> {
    let packages = match kind {
        Kind::Builder => "ca-certificates,gcc,g++,libc6-dev,make,cmake,pkg-config",
        Kind::Base => "ca-certificates",
        Kind::Service { package, .. } => package,
    };
    let directory = env::temp_dir().join(format!("sluice-stand-in-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let result = make_in(&directory, engine, kind, image, packages);
    let _ = fs::remove_dir_all(&directory);
    result
}

fn make_in(
    directory: &Path,
    engine: &Engine,
    kind: Kind,
    image: &str,
    packages: &str,
) -> Result<(), String> {
    let tar = directory.join("root.tar");
    let suite = suite()?;
    let mut debian = program("mmdebstrap");
    debian.arg("--quiet").arg("--variant=minbase").arg(format!("--include={packages},wget"));
    output(debian.arg(suite).arg(&tar))?;
    let mut import = engine.docker();
    import.arg("import");
    if let Kind::Service { entry, .. } = kind {
        import.args(["--change", &format!("ENTRYPOINT [{entry}]")]);
    }
    output(import.arg(&tar).arg(image))?;
    if kind != Kind::Builder {
        return Ok(());
    }
    // This machine's compiler, its sources of crates, and the authorities that it trusts.
    let sysroot = output(program("rustc").args(["--print", "sysroot"]))?;
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    output(program("cp").args(["-rL", &sysroot]).arg(directory.join("rust")))?;
    output(program("cp").arg(authorities).arg(directory))?;
    let dockerfile = format!(
        "FROM {image}\n\
         COPY rust /usr/local/rust\n\
         COPY ca-certificates.crt {authorities}\n\
         ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
         CARGO_HOME=/usr/local/cargo\n"
    );
    fs::write(directory.join("Dockerfile"), dockerfile).map_err(|error| error.to_string())?;
    fs::remove_file(&tar).map_err(|error| error.to_string())?;
    output(engine.docker().args(["build", "--tag", image]).arg(directory)).map(|_| ())
}

/// Returns this machine's release of Debian: the compiler that is copied needs its C library, or a
/// later one.
fn suite() -> Result<String, String> {
    let text = fs::read_to_string("/etc/os-release").map_err(|error| error.to_string())?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(str::to_owned).ok_or_else(|| "stand-ins can be made only on Debian".to_owned())
}
