//! A server under load, as a process of its own, and on a core of its own where `taskset` is there.

use std::{
    fs,
    net::SocketAddr,
    num::NonZero,
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::LazyLock,
    thread,
};

use sluice_testkit::{ReservedPort, eventually};
use tokio::runtime::{Builder, Runtime};

/// A runtime to send from, which never sleeps. Waking a sleeping sender costs the server several
/// microseconds an answer on a virtual machine, and a slow server finds it asleep more often than a
/// fast one: that would be measured too.
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

/// Whether this process keeps off the first core, with all threads that it starts from now on.
static LEFT_ALONE: LazyLock<bool> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let others = format!("1-{}", cores - 1);
    let mut taskset = Command::new("taskset");
    taskset.args(["-cp", &others, &process::id().to_string()]).stdout(Stdio::null());
    cores > 1 && taskset.status().is_ok_and(|status| status.success())
});

/// A server process of one worker thread, alone on the first core; ended on drop.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    _port: ReservedPort,
}

impl Server {
    /// Starts `program` as `configure` tells it to listen on the address. Threads that this process
    /// starts from now on leave the core to it.
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

    /// The same beside this process: for a server that the measured one needs.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all need helpers")]
    pub(crate) fn start_beside(
        program: &Path,
        configure: impl Fn(&mut Command, String) -> &mut Command,
    ) -> Self {
        // What is started later keeps off the first core with us.
        let _ = *LEFT_ALONE;
        Self::spawn(Command::new(program), configure)
    }

    fn spawn(
        mut command: Command,
        configure: impl Fn(&mut Command, String) -> &mut Command,
    ) -> Self {
        let port = ReservedPort::new();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        command.env("TOKIO_WORKER_THREADS", "1").stdout(Stdio::null());
        let child = configure(&mut command, address.to_string()).spawn().unwrap();
        eventually("the server listens", || std::net::TcpStream::connect(address).is_ok());
        Self { child, address, _port: port }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process' id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that the process has used, in seconds; Linux counts it in hundredths.
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
