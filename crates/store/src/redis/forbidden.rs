//! Which command a user may not run. A server that finds it in a script, up to Redis 7.0, says only
//! in which line.

use redis::RedisError;

use super::scripts::{self, RedisScript};

/// What Redis says of a command in a script that the user may not run.
pub(super) const IN_SCRIPT: &str = "The user executing the script can't";
/// Precedes the number of the line.
const LINE: &str = "@user_script:";

/// Returns whether the user may not run a command in a script, which the server does not name.
pub(super) fn is_in_script(error: &RedisError) -> bool {
    error.to_string().contains(IN_SCRIPT)
}

/// Returns that command, if the script is one of the store's own.
pub(super) fn command(error: &RedisError) -> Option<&'static str> {
    let text = error.to_string();
    if !text.contains(IN_SCRIPT) {
        return None;
    }
    let script = scripts::ALL.into_iter().find(|script| text.contains(script.digest()))?;
    let (_, number) = text.split_once(LINE)?;
    let end = number.find(|char: char| !char.is_ascii_digit()).unwrap_or(number.len());
    called_in(script, number[..end].parse().ok()?)
}

/// Returns the command that a line of a script calls; lines count from 1.
fn called_in(script: &RedisScript, number: usize) -> Option<&'static str> {
    let line = script.source().lines().nth(number.checked_sub(1)?)?;
    let (_, call) = line.split_once("call('")?;
    call.split_once('\'').map(|(command, _)| command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(reply: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    fn line_of(script: &RedisScript, call: &str) -> usize {
        script.source().lines().position(|line| line.contains(call)).unwrap() + 1
    }

    #[test]
    fn the_line_of_a_script_names_the_command() {
        for (script, name) in [
            (&scripts::CHECK, "TIME"),
            (&scripts::CHECK, "MGET"),
            (&scripts::CHECK_ONE, "SET"),
            (&scripts::EPOCH, "MGET"),
            (&scripts::ANNOUNCE, "PEXPIRE"),
        ] {
            let (line, digest) = (line_of(script, &format!("call('{name}'")), script.digest());
            for reply in [
                format!("ERR {IN_SCRIPT} run this command script: {digest}, on {LINE}{line}."),
                format!("ERR Error running script (call to f_{digest}): {LINE}{line}: {IN_SCRIPT}"),
            ] {
                assert_eq!(command(&error(&reply)), Some(name), "{reply}");
            }
        }
    }

    #[test]
    fn what_is_not_known_has_no_name() {
        let digest = scripts::CHECK.digest();
        for reply in [
            format!("ERR something else script: {digest}, on {LINE}58."),
            format!("ERR {IN_SCRIPT} run this command script: {digest}, on {LINE}99999."),
            format!("ERR {IN_SCRIPT} run this command script: {digest}, on {LINE}0."),
            format!("ERR {IN_SCRIPT} run this command script: {digest}, on {LINE}x"),
            format!("ERR {IN_SCRIPT} run this command script: {digest}"),
            format!("ERR {IN_SCRIPT} run this command script: f_0, on {LINE}58."),
        ] {
            assert_eq!(command(&error(&reply)), None, "{reply}");
        }
    }
}
