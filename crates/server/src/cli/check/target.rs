//! Where the replica is.

use std::{fmt, str::FromStr};

use http::Uri;

/// The URL of a replica, perhaps with the path that it is asked about.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) speaks_tls: bool,
    /// The name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    path: Option<String>,
}

impl Target {
    /// Returns the path in the URL, if it has one.
    pub(super) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Returns the host and port as a URL and the field `Host` have them.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write the URL of a replica, such as `http://127.0.0.1:8000`";
        let uri: Uri = text.parse().map_err(|_| FORM.to_owned())?;
        let speaks_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("{FORM}, which begins with http:// or https://")),
        };
        let authority = uri.authority().ok_or(FORM)?;
        if authority.as_str().contains('@') {
            return Err("a URL with a user or a password is not sent: a token is read from the \
                        variable SLUICE_TOKEN"
                .to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(FORM.to_owned());
        }
        // `Uri` has no port where it is none, and the default one would be another server's.
        let after_host =
            authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, rest)| rest);
        let port = match (after_host.split_once(':'), authority.port_u16()) {
            (_, Some(port)) if port > 0 => port,
            (None, None) => {
                if speaks_tls {
                    443
                } else {
                    80
                }
            }
            _ => return Err(format!("{FORM}: a port is a number from 1 to 65535")),
        };
        let path =
            uri.path_and_query().map(http::uri::PathAndQuery::as_str).filter(|path| *path != "/");
        Ok(Self { speaks_tls, host, port, path: path.map(str::to_owned) })
    }
}

impl fmt::Display for Target {
    /// Writes the replica's URL without the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.speaks_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_replica_and_perhaps_a_path() {
        let of = |text: &str| {
            let target: Target = text.parse().unwrap();
            (target.to_string(), target.path().map(str::to_owned))
        };
        assert_eq!(of("http://localhost"), ("http://localhost:80".to_owned(), None));
        assert_eq!(of("http://localhost:8000/"), ("http://localhost:8000".to_owned(), None));
        let (url, path) = of("https://[::1]/a/b?c=d");
        assert_eq!((url.as_str(), path.as_deref()), ("https://[::1]:443", Some("/a/b?c=d")));
    }

    #[test]
    fn other_urls_are_rejected_with_the_form() {
        for text in [
            "",
            "localhost:8000",
            "ftp://a",
            "http://",
            "/a",
            "http://a b",
            "http://a:99999",
            "http://a:",
            "http://[::1]:0",
            "https://a:65536/x",
            "http://[::1]:99999",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains("http://127.0.0.1:8000"), "{text}: {error}");
        }
        let error = "http://user:s3cret@host".parse::<Target>().unwrap_err();
        assert!(error.contains("SLUICE_TOKEN") && !error.contains("s3cret"), "{error}");
    }
}
