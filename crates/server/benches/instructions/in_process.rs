//! Counts in a process of this program.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
};

use sluice_testkit::RedisServer;

use crate::{
    case::Case,
    count::Count,
    handshake::{DONE, READY},
    in_memory, on_redis,
    redis_use::RedisUse,
    subject::Mode,
    valgrind,
};

/// The environment variable that makes this program decide, and not count: the subject.
const SUBJECT: &str = "INSTRUCTIONS_OF";
/// Where its Redis is.
const REDIS: &str = "INSTRUCTIONS_REDIS";

/// Makes the decisions that this process was started for; returns `None` if it was not.
pub(crate) fn run_if_asked() -> Option<()> {
    let name = env::var(SUBJECT).ok()?;
    match Case::ALL.into_iter().find(|subject| subject.to_string() == name).unwrap() {
        Case::InMemory { clients } => in_memory::run(clients),
        Case::OnRedis { traffic, in_flight } => {
            on_redis::run(&env::var(REDIS).unwrap(), traffic, in_flight);
        }
        Case::InServer { .. } => unreachable!("the server is a program of its own"),
    }
    Some(())
}

/// Counts `decisions`, which `subject` makes in a process of its own.
pub(crate) fn count(
    subject: Case,
    decisions: usize,
    redis: Option<&RedisServer>,
    file: &Path,
) -> Count {
    let mut command = valgrind::callgrind(file);
    command.arg(env::current_exe().unwrap()).env(SUBJECT, subject.to_string());
    if let Some(redis) = redis {
        command.env(REDIS, redis.url());
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut expect = |word| {
        let line = lines.next().map(Result::unwrap);
        assert_eq!(line.as_deref(), Some(word), "{}", valgrind::log(file));
    };
    let mut input = child.stdin.take().unwrap();
    expect(READY);
    let before = redis.map(|redis| RedisUse::of(redis, Mode::SENDS));
    valgrind::zero(child.id());
    input.write_all(b"\n").unwrap();
    expect(DONE);
    let dumped = valgrind::dump(child.id(), file);
    let after = redis.map(|redis| RedisUse::of(redis, Mode::SENDS));
    input.write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success(), "{}", valgrind::log(file));
    let calls = after.zip(before).map(|(after, before)| after.calls - before.calls);
    Count { decisions, calls, file: dumped }
}
