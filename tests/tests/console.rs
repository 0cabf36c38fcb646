//! The console in a real Chromium: its script runs, reads the JSON of the same port, and shows it.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{fs, path::Path, process::Command};

use sluice_testkit::{Program, RedisServer, Sluice, SluiceOptions, built_sluice};
use sluice_tests::http::Client;
use tempfile::TempDir;

const CHROMIUM: Program = Program {
    name: "chromium",
    variable: "SLUICE_CHROMIUM",
    remedy: "apt-get install --no-install-recommends chromium",
};

/// How long the page runs, in its own time: three rounds.
const RUNS_MS: u32 = 6_500;

/// The message that the statistics are missing, while they are not.
const STALE_IS_HIDDEN: &str = r#"<p id="stale" class="trouble" role="alert" hidden="">"#;

/// Runs Chromium with the page, and returns what it writes. `what` says what to do with the page.
#[track_caller]
fn chromium(url: &str, what: &[&str]) -> String {
    let directory = TempDir::with_prefix("sluice-chromium-").unwrap();
    let output = Command::new(CHROMIUM.path())
        // A test may run as root and in a container: no sandbox and no shared memory.
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-proxy-server", "--disable-background-networking", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", directory.path().display()))
        .arg(format!("--virtual-time-budget={RUNS_MS}"))
        .args(what)
        .arg(url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the page after its script has run.
#[track_caller]
fn page(url: &str) -> String {
    chromium(url, &["--dump-dom"])
}

/// Returns the text of a page, without tags: that of hidden parts too.
fn text(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = after.split_once('>').map_or("", |(_, behind)| behind);
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Starts a replica whose default limit is exceeded by the second request, and makes three.
async fn denying(more: &str) -> Sluice {
    let config = format!("defaults: {{ rate: 1/day, burst: 1 }}\nendpoints: {{}}\n{more}");
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());
    for status in [200, 429, 429] {
        assert_eq!(client.get("/a").await.status, status);
    }
    sluice
}

#[tokio::test]
async fn the_console_shows_the_fleet_and_its_limits() {
    let sluice = denying("").await;
    let page = page(&sluice.url("/console"));
    assert!(page.contains(STALE_IS_HIDDEN), "{page}");
    let text = text(&page);
    assert!(text.contains("ready; store memory: up"), "{text}");
    assert!(text.contains("(this one)"), "{text}");
    // The endpoint with its limit, one client, and two of three requests denied.
    assert!(text.contains("other 1/day, burst 1 1 0 0 66.67 %"), "{text}");
    assert!(!text.contains("could not be refreshed"), "{text}");
}

#[tokio::test]
async fn the_console_shows_what_this_replica_knows_while_the_store_is_away() {
    let redis = RedisServer::start();
    let store = format!("store: {{ url: \"{}\" }}\n", redis.url());
    let sluice = denying(&store).await;
    redis.kill();
    let page = page(&sluice.url("/console/"));
    assert!(!page.contains(STALE_IS_HIDDEN), "{page}");
    let text = text(&page);
    assert!(text.contains("; store redis: away"), "{text}");
    assert!(text.contains("(this one)"), "{text}");
    // The denials are in this replica's memory.
    assert!(text.contains("default 23 h") || text.contains("default 24 h"), "{text}");
}

#[tokio::test]
async fn the_console_is_behind_the_credentials_of_the_admin_routes() {
    let sluice = denying("admin: { basic: { user: ops, password: secret } }\n").await;
    let mut client = Client::of(sluice.http_addr());
    for path in ["/console", "/console/console.js", "/console/console.css"] {
        assert_eq!(client.get(path).await.status, 401, "{path}");
    }
    let url = sluice.url("/console").replace("http://", "http://ops:secret@");
    let text = text(&page(&url));
    assert!(text.contains("ready; store memory: up"), "{text}");
}

#[tokio::test]
async fn screenshots_of_the_console_are_images_at_every_width() {
    let sluice = denying("").await;
    let directory = TempDir::with_prefix("sluice-screenshot-").unwrap();
    // Where a person can look at them: `SLUICE_SCREENSHOTS=DIRECTORY`.
    let kept = std::env::var_os("SLUICE_SCREENSHOTS");
    let folder = kept.as_ref().map_or(directory.path(), Path::new);
    for (name, width, dark) in [("wide", 1200, false), ("dark", 1200, true), ("phone", 390, false)]
    {
        let file = folder.join(format!("console-{name}.png"));
        let shot = format!("--screenshot={}", file.display());
        let size = format!("--window-size={width},1400");
        let scheme =
            if dark { "--force-dark-mode" } else { "--disable-features=WebContentsForceDark" };
        chromium(&sluice.url("/console"), &[&shot, &size, scheme]);
        let image = fs::read(&file).unwrap();
        assert!(image.starts_with(b"\x89PNG") && image.len() > 10_000, "{name}: {}", image.len());
    }
}
