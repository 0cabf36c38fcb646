//! The login of a Redis URL, which stands before the hosts.

use percent_encoding::percent_decode_str;

use super::address_error::RedisAddressError;

/// A user and a password, each if it is written.
type Login = (Option<String>, Option<String>);

/// Splits what stands before the path: into the login, which may be empty, and the hosts.
///
/// # Errors
/// When it cannot be told where the login ends, or which server it is for.
pub(super) fn split(authority: &str) -> Result<(&str, &str), RedisAddressError> {
    let Some((login, hosts)) = authority.rsplit_once('@') else { return Ok(("", authority)) };
    // A comma may separate hosts, of which the first ones would become a part of the login.
    match (login.contains('@'), login.contains(',')) {
        (true, true) => Err(RedisAddressError::RepeatedLogin),
        (false, true) => Err(RedisAddressError::LoginPlace),
        (true, false) => Err(RedisAddressError::SeveralAts),
        (false, false) => Ok((login, hosts)),
    }
}

/// Reads `user:password`, `user`, `:password` or nothing.
///
/// # Errors
/// When the codes for other characters are invalid.
pub(super) fn read(login: &str) -> Result<Login, RedisAddressError> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(decode(password)?)),
        None => (login, None),
    };
    Ok((if user.is_empty() { None } else { Some(decode(user)?) }, password))
}

fn decode(text: &str) -> Result<String, RedisAddressError> {
    // The decoder leaves a broken code as it is, and nobody means that.
    let is_code = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_code) {
        return Err(RedisAddressError::LoginCode);
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| RedisAddressError::LoginText)
}

#[cfg(test)]
mod tests {
    use super::super::address::RedisAddress;

    fn refusal(url: &str) -> String {
        RedisAddress::parse(url).map(|_| url).unwrap_err().to_string()
    }

    #[test]
    fn the_login_stands_before_the_first_host_and_may_be_encoded() {
        for (url, user, password) in [
            ("redis://h", None, None),
            ("redis://user@h", Some("user"), None),
            ("redis://:pass@h", None, Some("pass")),
            ("redis://u:@h", Some("u"), Some("")),
            ("rediss://lim%40ter:p%2Fs%3As%25@[::1]:1/2", Some("lim@ter"), Some("p/s:s%")),
            ("redis://u:a:b@h", Some("u"), Some("a:b")),
            ("redis://u:a%40b@h", Some("u"), Some("a@b")),
            ("redis+cluster://u:a%2cb@h1,h2", Some("u"), Some("a,b")),
            ("redis+sentinel://u:p%C3%A9@h1,h2/main", Some("u"), Some("pé")),
        ] {
            let address = RedisAddress::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            let expected = (user.map(str::to_owned), password.map(str::to_owned));
            assert_eq!((address.user.clone(), address.password.clone()), expected, "{url}");
            assert_eq!(address.has_password(), password.is_some_and(|text| !text.is_empty()));
        }
    }

    #[test]
    fn a_login_that_may_be_something_else_is_refused_and_never_shown() {
        let several = "write it once, before the first host";
        let place = "a comma stands before `@`: the login is written once, before the first host";
        for (url, part) in [
            ("redis://u:hunter2@h1,u:hunter2@h2", several),
            ("redis+cluster://u:hunter2@h1,u:hunter2@h2", several),
            ("redis+cluster://h1:23001,sluice:hunter2@h2:23002", place),
            ("redis+cluster://h1,hunter2@h2", place),
            ("redis+sentinel://h1,h2,:hunter2@h3/main", place),
            ("redis://u:hunter2,b@h", "in a user or password, write `,` as %2C"),
            ("redis://u:hunter2@b@h", "more than one `@` stands before the hosts"),
            ("redis+cluster://u@hunter2@h1,h2", "write `@` as %40"),
            ("redis://u:hunter2/b@h", "write `@`, `/`, `:`, `?` and `#` as"),
            ("redis://u:hunter2%ff@h", "no UTF-8 text"),
            ("redis://u:hunter2%ZZ@h", "not followed by two hex digits: write `%` itself as %25"),
            ("redis://u:hunter2%@h", "not followed by two hex digits"),
            ("redis://u:hunter2%4@h", "not followed by two hex digits"),
            ("redis://hunter2%%41:p@h", "not followed by two hex digits"),
            ("redis://hunter2%+1@h", "not followed by two hex digits"),
        ] {
            let shown = refusal(url);
            assert!(shown.contains(part) && !shown.contains("hunter2"), "{url}: {shown}");
            assert!(!shown.contains("sluice"), "{url}: {shown}");
        }
    }
}
