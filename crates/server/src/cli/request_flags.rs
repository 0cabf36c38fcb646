//! The arguments that describe a request.

use std::net::IpAddr;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sluice_core::Cost;

/// What a request has beside its method and path: who sends it, and what it costs.
#[derive(Args, Debug)]
pub(super) struct RequestFlags {
    /// The client as a caller of /v1/check names it: a key, or any other name.
    #[arg(long, value_name = "NAME", value_parser = client)]
    pub(super) client: Option<String>,
    /// The address that the request comes from.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<IpAddr>,
    /// A header of the request, such as `X-Api-Key: k1`. Repeat it for more.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub(super) headers: Vec<Header>,
    /// The client's tier, as a trusted proxy or a caller of /v1/check names it.
    #[arg(long, value_name = "NAME")]
    pub(super) tier: Option<String>,
    /// The tokens that the request costs, where a limit does not say it. The default is 1; 0 only
    /// reads.
    #[arg(long, value_name = "TOKENS", value_parser = cost, allow_negative_numbers = true)]
    pub(super) cost: Option<Cost>,
}

/// A header of the request, as a flag has it: `Name: value`.
pub(super) type Header = (HeaderName, HeaderValue);

/// Parses `Name: value`.
fn header(text: &str) -> Result<Header, String> {
    let (name, value) =
        text.split_once(':').ok_or("write a name and a value, as in `--header 'X-Api-Key: k1'`")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| format!("`{name}` names no header: use letters, digits and `-`"))?;
    // The value may be a key, so that it is not repeated.
    let value = value.trim().parse().map_err(|_| format!("the value of `{name}` is not text"))?;
    Ok((name, value))
}

/// Returns the headers as a map.
pub(super) fn headers(list: &[Header]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(name, value.clone());
    }
    headers
}

/// Parses a method.
pub(super) fn method(text: &str) -> Result<Method, &'static str> {
    Method::from_bytes(text.as_bytes()).map_err(|_| "write a method such as `GET` or `POST`")
}

/// Parses a cost.
fn cost(text: &str) -> Result<Cost, String> {
    let tokens: Option<u64> = text.parse().ok();
    tokens
        .and_then(|tokens| Cost::new(tokens).ok())
        .ok_or_else(|| format!("write a whole number of tokens from 0 to {}", Cost::MAX))
}

/// Parses the name or key of a client, which cannot be empty.
pub(super) fn client(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("a client's name cannot be empty") } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_curl_reads_it() {
        let (name, value) = header("X-Org:  acme:eu ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-org", "acme:eu"));
        assert_eq!(header("x-empty:").unwrap().1, "");
        for text in ["x-org", "a b: c", ": c", "x: a\nb"] {
            assert!(header(text).is_err(), "{text:?}");
        }
        assert!(!header("x: s3c\nret").unwrap_err().contains("s3c"), "it may be a key");
    }

    #[test]
    fn a_cost_is_a_whole_number_of_tokens() {
        assert_eq!(cost("7").map(Cost::tokens), Ok(7));
        for text in ["", "-1", "1.5", "1000000000001"] {
            assert!(cost(text).unwrap_err().contains("from 0 to 1000000000000"), "{text}");
        }
    }
}
