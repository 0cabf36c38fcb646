//! A server under load, in a process of its own, and on a core of its own if `taskset` is
//! available.

use std::{
    fs,
    net::SocketAddr,
    num::NonZero,
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::LazyLock,
    thread,
    time::Duration,
};

use sluice_testkit::{ReservedPort, eventually_within};
use tokio::runtime::{Builder, Runtime};

/// How long a server may take to start; under valgrind it reads all debug information first.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// What a server answered to one check.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "each benchmark has the whole module, and not all read both")]
pub(crate) struct Answer {
    pub(crate) is_allowed: bool,
    /// How long the response took, in microseconds.
    pub(crate) took_us: u32,
}

/// Creates a runtime for the sender that never sleeps. Waking a sleeping sender costs the server
/// several microseconds per response on a virtual machine, and a slow server finds it asleep more
/// often than a fast one does, which would distort the comparison.
#[allow(dead_code, reason = "each benchmark has the whole module, and not all send in this way")]
pub(crate) fn sender() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    runtime
}

/// Whether this process, with all threads that it starts from now on, stays off the first core.
static LEFT_ALONE: LazyLock<bool> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let others = format!("1-{}", cores - 1);
    let mut taskset = Command::new("taskset");
    taskset.args(["-cp", &others, &process::id().to_string()]).stdout(Stdio::null());
    cores > 1 && taskset.status().is_ok_and(|status| status.success())
});

/// A server process with one worker thread, alone on the first core. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    _port: ReservedPort,
}

impl Server {
    /// Starts `program`, which `configure` tells where to listen. Threads that this process starts
    /// from now on stay off the server's core.
    pub(crate) fn start(
        program: &Path,
        configure: impl Fn(&mut Command, String) -> &mut Command,
    ) -> Self {
        let command = if *LEFT_ALONE {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        Self::spawn(command, configure)
    }

    /// Starts a server on the cores of this process, such as one that the measured server needs.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all need helpers")]
    pub(crate) fn start_beside(
        program: &Path,
        configure: impl Fn(&mut Command, String) -> &mut Command,
    ) -> Self {
        // Processes that are started later inherit the core mask.
        let _ = *LEFT_ALONE;
        Self::spawn(Command::new(program), configure)
    }

    /// Starts a server as the argument of `wrapper` on the cores of this process, or without a
    /// wrapper as [`Server::start`] does.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all wrap a server")]
    pub(crate) fn start_under(
        wrapper: Option<Command>,
        program: &Path,
        configure: impl Fn(&mut Command, String) -> &mut Command,
    ) -> Self {
        let Some(mut wrapper) = wrapper else { return Self::start(program, configure) };
        wrapper.arg(program);
        Self::spawn(wrapper, configure)
    }

    fn spawn(
        mut command: Command,
        configure: impl Fn(&mut Command, String) -> &mut Command,
    ) -> Self {
        let port = ReservedPort::new();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        command.env("TOKIO_WORKER_THREADS", "1").stdout(Stdio::null());
        let child = configure(&mut command, address.to_string()).spawn().unwrap();
        eventually_within(START_TIMEOUT, "the server listens", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        Self { child, address, _port: port }
    }

    /// Returns the address on which the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the processor time of the process in seconds. Linux counts it in hundredths.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all use this")]
    pub(crate) fn seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
