//! What metering adds to a stream of a language model, compared with the same stream through the
//! same gateway without metering, in the same run.
//!
//! The gateways are processes with one worker thread on the first core, if `taskset` is available.
//! The model, which sends chunks as `OpenAI` does, shares the other cores with this process. A
//! stream has 200 chunks of text, each in a chunk of HTTP. They come at once, which is the worst
//! case: nothing else is left to wait for. Or they come one by one, a millisecond apart, in several
//! streams.
//!
//! `CPU` is the processor time of the gateway for a stream, user and system. `first byte` is the
//! time from the request to the first byte of the answer's body, the median. Each round measures
//! all gateways one after the other, and what is printed is the median of the rounds, so that a
//! busy machine changes the ratios little. Prints Markdown.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

#[allow(dead_code, reason = "benchmarks share it, and this one needs a part")]
mod support;

use std::{
    env, fmt,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use crate::support::Server;

/// The environment variable that makes this program run the model.
const MODEL: &str = "MODEL_ON";
/// How many rounds are measured, after one that is not.
const ROUNDS: usize = 9;
/// The chunks of a stream that have text.
const CHUNKS: usize = 200;
const PAUSE: Duration = Duration::from_millis(1);
/// A limit of tokens that no client reaches.
const TOKENS: &str =
    "[{ name: tokens, counts: total_tokens, rate: 1000000000/second, burst: 1000000000 }]";

/// How the chunks of a stream come.
#[derive(Clone, Copy)]
enum Pace {
    AtOnce,
    OneByOne,
}

/// A gateway, and what a client asks of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// Without metering; with a limit of requests. The client asks for the usage.
    Plain,
    /// With a limit of tokens too. The same stream.
    Metering,
    /// The same stream for a client that does not ask for the usage, which is taken out.
    TakingOut,
}

/// The result of a round, or the medians of several.
#[derive(Clone, Copy)]
struct Measured {
    cpu_us: f64,
    first_byte_us: f64,
}

fn main() {
    if let Ok(address) = env::var(MODEL) {
        return runtime().block_on(serve(address.parse().unwrap()));
    }
    let model = Server::start_beside(&env::current_exe().unwrap(), |command, address| {
        command.env(MODEL, address)
    });
    let plain = start(&model, &[]);
    let metering = start(
        &model,
        &[
            ("SLUICE__LLM", "{ routes: [{ path: '/**', speaks: openai }] }"),
            ("SLUICE__LIMITS", TOKENS),
        ],
    );
    println!(
        "| chunks | gateway | CPU us | of plain | first byte us | later |\n\
         |---|---|--:|--:|--:|--:|"
    );
    for pace in [Pace::AtOnce, Pace::OneByOne] {
        let mut rounds: Vec<[Measured; Subject::ALL.len()]> = Vec::new();
        for _ in 0..=ROUNDS {
            rounds.push(Subject::ALL.map(|subject| {
                let server = if subject == Subject::Plain { &plain } else { &metering };
                runtime().block_on(measure(server, pace, subject))
            }));
        }
        rounds.remove(0);
        print(pace, &rounds);
    }
}

/// Starts a gateway in front of the model, with a limit of requests that no client reaches.
fn start(model: &Server, more: &[(&str, &str)]) -> Server {
    let gateway = format!("{{ upstream: 'http://{}' }}", model.address());
    Server::start(env!("CARGO_BIN_EXE_sluice").as_ref(), |command, address| {
        command
            .env("SLUICE__LISTEN__HTTP", address)
            .env("SLUICE__LISTEN__GRPC", "off")
            .env("SLUICE__LOG__LEVEL", "error")
            .env("SLUICE__GATEWAY", &gateway)
            .env("SLUICE__DEFAULTS", "{ rate: 100000000/minute, burst: 1000000 }")
            .envs(more.iter().copied())
    })
}

/// Creates a runtime of one thread, which sleeps when it is idle: the model and the client share
/// the cores that the gateway does not use.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn print(pace: Pace, rounds: &[[Measured; Subject::ALL.len()]]) {
    for (index, subject) in Subject::ALL.iter().enumerate() {
        let of = |value: fn(&Measured) -> f64| median(rounds, |round| value(&round[index]));
        let (cpu_us, first_us) = (of(|it| it.cpu_us), of(|it| it.first_byte_us));
        let [share, later] = if index == 0 {
            [String::new(), String::new()]
        } else {
            let share = median(rounds, |round| round[index].cpu_us / round[0].cpu_us);
            let later = median(rounds, |round| round[index].first_byte_us - round[0].first_byte_us);
            [format!("{:.1} %", 100.0 * share), format!("{later:.0} us")]
        };
        println!("| {pace} | {subject} | {cpu_us:.0} | {share} | {first_us:.0} | {later} |");
    }
}

fn median<T>(of: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<_> = of.iter().map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn measure(server: &Server, pace: Pace, subject: Subject) -> Measured {
    let used = cpu_us(server);
    let streams = pace.streams();
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..pace.in_flight())
        .map(|_| tokio::spawn(ask(server.address(), pace, subject, Arc::clone(&next))))
        .collect();
    let mut first_bytes = Vec::with_capacity(streams);
    for client in clients {
        first_bytes.append(&mut client.await.unwrap());
    }
    Measured {
        cpu_us: (cpu_us(server) - used) / streams as f64,
        first_byte_us: median(&first_bytes, |took| took.as_secs_f64() * 1e6),
    }
}

/// Returns the processor time of a server so far. Linux counts that of each thread in nanoseconds.
fn cpu_us(server: &Server) -> f64 {
    let threads = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0.0)
    };
    threads.map(|thread| of_thread(thread.unwrap())).sum::<f64>() / 1e3
}

/// Sends requests over one connection, one after another. Returns how long the first byte of each
/// answer took.
async fn ask(
    address: SocketAddr,
    pace: Pace,
    subject: Subject,
    next: Arc<AtomicUsize>,
) -> Vec<Duration> {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.set_nodelay(true).unwrap();
    let options = match subject {
        Subject::TakingOut => "",
        Subject::Plain | Subject::Metering => r#","stream_options":{"include_usage":true}"#,
    };
    let body = format!(
        r#"{{"model":"small-1","stream":true,"max_tokens":500{options},"messages":[
            {{"role":"user","content":"When does the tide turn, and how high will it be?"}}]}}"#
    );
    let request = format!(
        "POST {}/v1/chat/completions HTTP/1.1\r\nhost: api.test\r\nx-api-key: alice\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        pace.path(),
        body.len()
    );
    let (mut first_bytes, mut answer) = (Vec::new(), Vec::with_capacity(128 << 10));
    while next.fetch_add(1, Ordering::Relaxed) < pace.streams() {
        let sent = Instant::now();
        connection.write_all(request.as_bytes()).await.unwrap();
        answer.clear();
        let mut first_byte = None;
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            assert!(connection.read_buf(&mut answer).await.unwrap() > 0, "the server hung up");
            if first_byte.is_none() && has_body(&answer) {
                first_byte = Some(sent.elapsed());
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        let has_usage = contains(&answer, b"prompt_tokens");
        assert_eq!(
            has_usage,
            subject != Subject::TakingOut,
            "{}",
            String::from_utf8_lossy(&answer)
        );
        first_bytes.push(first_byte.unwrap());
    }
    first_bytes
}

/// Returns whether more than the head of an answer has come.
fn has_body(answer: &[u8]) -> bool {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    end.is_some_and(|end| answer.len() > end + 4)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Answers every request with a stream.
async fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        tokio::spawn(answer(connection));
    }
}

async fn answer(mut connection: TcpStream) {
    let mut request = Vec::with_capacity(4 << 10);
    loop {
        request.clear();
        while !is_whole(&request) {
            if !connection.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let mut chunks = chunks(contains(&request, b"include_usage"));
        chunks[0].insert_str(0, head);
        if request.starts_with(format!("POST {}", Pace::AtOnce.path()).as_bytes()) {
            connection.write_all(chunks.concat().as_bytes()).await.unwrap();
            continue;
        }
        for chunk in chunks {
            connection.write_all(chunk.as_bytes()).await.unwrap();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Returns whether a request has come with its body.
fn is_whole(request: &[u8]) -> bool {
    let text = std::str::from_utf8(request).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() == length.expect("the request has a length").parse::<usize>().unwrap()
}

/// Returns the chunks of a stream, as HTTP frames them.
fn chunks(with_usage: bool) -> Vec<String> {
    const WORDS: [&str; 8] = [" The", " tide", " turns", " at", " noon", ",", " says", " \\\"she"];
    let event = |choices: &str, more: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\
             \"object\":\"chat.completion.chunk\",\"created\":1800000000,\
             \"model\":\"small-1\",\"service_tier\":\"default\",\
             \"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{choices}]{more}}}\n\n"
        )
    };
    let text = |delta: &str, finish: &str| {
        let choice = format!(
            "{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}"
        );
        event(&choice, if with_usage { ",\"usage\":null" } else { "" })
    };
    let mut events = vec![text(r#"{"role":"assistant","content":""}"#, "null")];
    for chunk in 0..CHUNKS {
        let delta = format!("{{\"content\":\"{}\"}}", WORDS[chunk % WORDS.len()]);
        events.push(text(&delta, "null"));
    }
    events.push(text("{}", "\"stop\""));
    if with_usage {
        events.push(event(
            "",
            ",\"usage\":{\"prompt_tokens\":14,\"completion_tokens\":200,\"total_tokens\":214}",
        ));
    }
    events.push("data: [DONE]\n\n".to_owned());
    let mut chunks: Vec<_> =
        events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len())).collect();
    let _ = write!(chunks.last_mut().unwrap(), "0\r\n\r\n");
    chunks
}

impl Pace {
    const fn path(self) -> &'static str {
        match self {
            Self::AtOnce => "/at-once",
            Self::OneByOne => "/one-by-one",
        }
    }

    /// The streams of a round.
    const fn streams(self) -> usize {
        match self {
            Self::AtOnce => 300,
            Self::OneByOne => 32,
        }
    }

    const fn in_flight(self) -> usize {
        match self {
            Self::AtOnce => 1,
            Self::OneByOne => 16,
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOnce => "at once",
            Self::OneByOne => "one by one",
        })
    }
}

impl Subject {
    const ALL: [Self; 3] = [Self::Plain, Self::Metering, Self::TakingOut];
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Metering => "**metering**",
            Self::TakingOut => "**metering**, the usage taken out",
        })
    }
}
