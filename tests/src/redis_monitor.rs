//! What clients send to a Redis, as its `MONITOR` shows it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use sluice_testkit::RedisServer;

/// Records the commands of all clients of a Redis without passwords, until it is dropped.
///
/// Those of the test itself use another socket, and are left out.
#[derive(Debug)]
pub struct RedisMonitor {
    stream: TcpStream,
    lines: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCommand {
    /// Whether a script called it.
    pub is_in_script: bool,
    /// The name and the arguments; bytes that are not UTF-8 are replaced.
    pub words: Vec<String>,
}

impl RedisMonitor {
    /// Begins to record.
    ///
    /// # Panics
    /// When the server does not let it.
    #[must_use]
    #[track_caller]
    pub fn start(server: &RedisServer) -> Self {
        let address = ("127.0.0.1", server.port());
        let begin = || {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"MONITOR\r\n")?;
            let mut reader = BufReader::new(stream.try_clone()?);
            let mut line = String::new();
            reader.read_line(&mut line)?;
            std::io::Result::Ok((stream, reader, line))
        };
        let (stream, reader, line) =
            begin().unwrap_or_else(|error| panic!("MONITOR at {address:?}: {error}"));
        assert_eq!(line, "+OK\r\n", "MONITOR at {address:?}");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&lines);
        thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                lock(&recorded).push(line);
            }
        });
        Self { stream, lines }
    }

    /// Returns what has been recorded.
    ///
    /// # Panics
    /// When a line is not one of `MONITOR`.
    #[must_use]
    #[track_caller]
    pub fn commands(&self) -> Vec<SentCommand> {
        lock(&self.lines).iter().filter_map(|line| parse(line)).collect()
    }
}

impl Drop for RedisMonitor {
    fn drop(&mut self) {
        // Ends the thread. The server may have ended before.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl SentCommand {
    /// Returns the name in lower case, with that of the subcommand, as ACLs write it: `get`,
    /// `script|load`.
    #[must_use]
    pub fn name(&self) -> String {
        let mut words = self.words.iter().map(|word| word.to_lowercase());
        let name = words.next().unwrap_or_default();
        match (&*name, words.next()) {
            ("client" | "cluster" | "script", Some(subcommand)) => format!("{name}|{subcommand}"),
            _ => name,
        }
    }

    /// Returns the keys, if it calls a script.
    ///
    /// # Panics
    /// When the number of keys is missing, or there are fewer keys.
    #[must_use]
    #[track_caller]
    pub fn script_keys(&self) -> Option<&[String]> {
        if !["eval", "evalsha", "fcall"].contains(&&*self.name()) {
            return None;
        }
        let count = self.words.get(2).and_then(|count| count.parse().ok());
        let keys = count.and_then(|count: usize| self.words.get(3..3 + count));
        Some(keys.unwrap_or_else(|| panic!("{:?} has fewer keys than it says", self.words)))
    }
}

fn lock(lines: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `+1700000000.123456 [0 127.0.0.1:40000] "GET" "key"`; `None` for a command of the test.
#[track_caller]
fn parse(line: &[u8]) -> Option<SentCommand> {
    let text = String::from_utf8_lossy(line);
    let Some((from, command)) = text.split_once(" [").and_then(|(_, rest)| rest.split_once("] "))
    else {
        panic!("MONITOR shows `{text}`")
    };
    let from = from.split_once(' ').map_or(from, |(_, from)| from);
    if from.starts_with("unix:") {
        return None;
    }
    Some(SentCommand { is_in_script: from == "lua", words: words(command) })
}

/// Splits words in quotes, in which a backslash precedes a quote.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, &mut word) {
            ('"', None) => word = Some(String::new()),
            ('"', Some(_)) => words.extend(word.take()),
            ('\\', Some(word)) => word.extend(chars.next()),
            (char, Some(word)) => word.push(char),
            (_, None) => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_and_its_sender() {
        let line = br#"+1700000000.1 [0 127.0.0.1:4] "EVALSHA" "2b" "1" "sluice:{mm}a] \"" "\x01""#;
        let command = parse(line).unwrap();
        assert_eq!((command.is_in_script, command.name()), (false, "evalsha".to_owned()));
        assert_eq!(command.script_keys(), Some(&["sluice:{mm}a] \"".to_owned()][..]));

        let command = parse(br#"+1700000000.1 [3 lua] "script" "LOAD" "x""#).unwrap();
        assert_eq!((command.is_in_script, command.name()), (true, "script|load".to_owned()));
        assert_eq!(command.script_keys(), None);
        assert_eq!(parse(br#"+1700000000.1 [0 unix:/tmp/redis.sock] "KEYS" "*""#), None);
    }
}
