//! A program that this crate's own tests run instead of `sluice`: it prints its arguments, settings
//! and file, then serves `/health` or fails.

#![allow(clippy::print_stdout, clippy::exit, reason = "printing and exiting are its purpose")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    println!("args: {args:?}");
    let mut settings: Vec<_> =
        std::env::vars().filter(|(name, _)| name.starts_with("SLUICE__")).collect();
    settings.sort();
    println!("settings: {settings:?}");
    if let Some(at) = args.iter().position(|arg| arg == "--config") {
        println!("file: {}", std::fs::read_to_string(&args[at + 1])?);
    }
    if args.iter().any(|arg| arg == "--fail") {
        println!("failing as requested");
        std::process::exit(3);
    }
    let address = std::env::var("SLUICE__LISTEN__HTTP").map_err(std::io::Error::other)?;
    for stream in TcpListener::bind(address)?.incoming() {
        let mut stream = stream?;
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request)?;
        let status = if request.starts_with("GET /health ") { "200 OK" } else { "404 Not Found" };
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
    }
    Ok(())
}
