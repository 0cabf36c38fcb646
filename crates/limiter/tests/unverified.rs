//! What one address may ask under keys that nothing vouches for.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use sluice::{
    Checked, Limiter, MemoryStore, Policy, PolicyBuilder, Rate, Tier, UNVERIFIED,
    holds::{HoldTerms, Reserved},
    identify::{ClientSource, Identifier},
};
use sluice_core::Timestamp;
use sluice_store::ManualClock;
use sluice_testkit::eventually_async;

const ADDRESS: &str = "192.0.2.7";

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn by_key(per_address: &str) -> Identifier {
    let sources: Vec<ClientSource> =
        ["header:x-api-key", "ip"].iter().map(|source| source.parse().expect("a source")).collect();
    Identifier::new(sources).with_unverified(rate(per_address))
}

fn trusting(networks: &[&str]) -> Identifier {
    by_key("5/minute, burst 5")
        .with_trusted_proxies(networks.iter().map(|net| net.parse().expect("a network")).collect())
        .with_tier_header(HeaderName::from_static("x-tier"))
}

/// Three requests for each client, and a clock that stands still until a test moves it.
struct Fixture {
    limiter: Limiter,
    clock: Arc<ManualClock>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Policy::builder().default_limit(rate("3/day, burst 3")))
    }

    fn with(policy: PolicyBuilder) -> Self {
        let start = Timestamp::from_unix_micros(1_800_000_000_000_000);
        let clock = Arc::new(ManualClock::new(start));
        let policy = policy.build().expect("a valid policy");
        let limiter = Limiter::builder(policy).clock(Arc::<ManualClock>::clone(&clock)).build();
        Self { limiter, clock }
    }

    async fn send(
        &self,
        identifier: &Identifier,
        peer: &str,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Checked {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let identity = identifier.identify(&headers, ip(peer)).expect("one client");
        let request = identity.request("GET", path);
        self.limiter.check_identified(&identity, &request).await.expect("a decision")
    }

    /// Sends 20 requests, each with a new key and with `fields`, and returns how many passed.
    async fn passed(
        &self,
        identifier: &Identifier,
        peer: &str,
        fields: &[(&'static str, &str)],
    ) -> usize {
        let mut passed = 0;
        for number in 0..20 {
            let key = format!("invented-{peer}-{number}");
            let fields = [&[("x-api-key", key.as_str())], fields].concat();
            passed += usize::from(self.send(identifier, peer, "/", &fields).await.is_allowed());
        }
        passed
    }
}

#[tokio::test]
async fn a_new_key_for_each_request_gains_only_what_its_address_may_ask() {
    let fixture = Fixture::new();
    let identifier = by_key("5/minute, burst 5");
    assert_eq!(fixture.passed(&identifier, ADDRESS, &[]).await, 5);
    let denied = fixture.send(&identifier, ADDRESS, "/", &[("x-api-key", "another")]).await;
    let verdict = denied.decision.binding().expect("a limit denies it");
    assert_eq!(
        (verdict.limit.name(), verdict.limit.rate()),
        (UNVERIFIED, Some(&rate("5/minute, burst 5")))
    );
    assert_eq!(denied.decision.retry().after_seconds(), Some(12));
    assert_eq!(fixture.passed(&identifier, "192.0.2.8", &[]).await, 5, "another address");
    fixture.clock.advance(Duration::from_secs(24));
    assert_eq!(fixture.passed(&identifier, ADDRESS, &[]).await, 2, "tokens come back");
}

#[tokio::test]
async fn a_request_that_costs_nothing_needs_no_allowance() {
    let fixture = Fixture::new();
    let identifier = by_key("1/minute, burst 1");
    for number in 0..3 {
        let mut headers = HeaderMap::new();
        let key = format!("invented-{number}");
        headers.append("x-api-key", HeaderValue::from_str(&key).expect("a value"));
        let identity = identifier.identify(&headers, ip(ADDRESS)).expect("one client");
        let request = identity.request("OPTIONS", "/").with_cost(sluice::Cost::NONE);
        let checked = fixture.limiter.check_identified(&identity, &request).await;
        assert!(checked.expect("a decision").is_allowed());
    }
    assert_eq!(fixture.passed(&identifier, ADDRESS, &[]).await, 1, "nothing was taken");
}

#[tokio::test]
async fn a_denial_by_either_side_takes_nothing_from_the_other() {
    let fixture = Fixture::new();
    let identifier = by_key("5/minute, burst 5");
    let alice = [("x-api-key", "alice")];
    let mut passed = 0;
    for _ in 0..20 {
        passed += usize::from(fixture.send(&identifier, ADDRESS, "/", &alice).await.is_allowed());
    }
    assert_eq!(passed, 3, "her own limit");
    assert_eq!(
        fixture.passed(&identifier, ADDRESS, &[]).await,
        2,
        "her denied requests took nothing of what the address may ask"
    );
    let carol = [("x-api-key", "carol")];
    assert!(fixture.send(&identifier, ADDRESS, "/", &carol).await.is_denied());
    let unbounded = by_key("5/minute, burst 5").with_unverified(None);
    let checked = fixture.send(&unbounded, ADDRESS, "/", &carol).await;
    let left = checked.decision.binding().expect("a limit applies").remaining;
    assert_eq!(left, 2, "the denied request took nothing of her own limit");
}

#[tokio::test]
async fn only_keys_that_nothing_vouches_for_are_counted() {
    let tier = Tier::new("pro").multiply(10).client(*b"listed");
    let fixture = Fixture::with(
        Policy::builder()
            .default_limit(rate("100/day, burst 100"))
            .endpoint("/free", sluice::LimitSpec::Off)
            .exempt("/health")
            .tier(tier),
    );
    let identifier = trusting(&["10.0.0.0/8"]);
    assert_eq!(fixture.passed(&identifier, ADDRESS, &[]).await, 5);
    let allowed = async |path: &str, fields: &[(&'static str, &str)]| {
        fixture.send(&identifier, ADDRESS, path, fields).await.is_allowed()
    };
    assert!(!allowed("/", &[("x-api-key", "unlisted")]).await);
    assert!(allowed("/", &[("x-api-key", "listed")]).await, "a tier lists the key");
    assert!(allowed("/", &[]).await, "no key identifies the client");
    assert!(allowed("/health", &[("x-api-key", "a")]).await, "an exempt path");
    assert!(allowed("/free", &[("x-api-key", "a")]).await, "nothing limits the path");
    assert!(
        !allowed("/", &[("x-api-key", "a"), ("x-tier", "pro")]).await,
        "a client cannot vouch for itself"
    );
    let proxied = [("x-forwarded-for", ADDRESS), ("x-tier", "pro")];
    assert_eq!(
        fixture.passed(&identifier, "10.0.0.1", &proxied).await,
        20,
        "a trusted proxy vouches for the key"
    );
}

#[tokio::test]
async fn the_address_that_counts_is_the_clients_own() {
    let fixture = Fixture::new();
    let of = |address: &'static str| [("x-forwarded-for", address)];
    let trusting = trusting(&["10.0.0.0/8"]);
    assert_eq!(fixture.passed(&trusting, "10.0.0.1", &of("198.51.100.1")).await, 5);
    assert_eq!(fixture.passed(&trusting, "10.0.0.2", &of("198.51.100.1")).await, 0);
    assert_eq!(fixture.passed(&trusting, "10.0.0.1", &of("198.51.100.2")).await, 5);
    assert_eq!(fixture.passed(&trusting, "10.0.0.1", &[]).await, 20, "whose requests are unknown");
    assert_eq!(
        fixture.passed(&trusting, "203.0.113.1", &of("198.51.100.3")).await,
        5,
        "once proxies are named, any other peer is a client"
    );
    let no_proxies = by_key("5/minute, burst 5");
    assert_eq!(
        fixture.passed(&no_proxies, "203.0.113.2", &of("198.51.100.3")).await,
        20,
        "it may be a proxy that was forgotten"
    );
    let (one, other) = ("2001:db8:0:1::1", "2001:db8:0:1::2");
    assert_eq!(fixture.passed(&no_proxies, one, &[]).await, 5);
    assert_eq!(fixture.passed(&no_proxies, other, &[]).await, 0, "one network of 64 bits");
}

#[tokio::test]
async fn the_allowance_can_change_and_is_divided_among_the_live_replicas() {
    let fixture = Fixture::new();
    assert_eq!(fixture.passed(&by_key("5/minute, burst 5"), ADDRESS, &[]).await, 5);
    assert_eq!(
        fixture.passed(&by_key("8/minute, burst 8"), ADDRESS, &[]).await,
        0,
        "the same bucket, which is not filled by a change"
    );
    assert_eq!(fixture.passed(&by_key("8/minute, burst 8"), "192.0.2.8", &[]).await, 8);

    let store = Arc::new(MemoryStore::new());
    let policy = || Policy::per_client(rate("3/day, burst 3"));
    let replica = || Limiter::builder(policy()).store(Arc::<MemoryStore>::clone(&store)).build();
    let (first, second) = (replica(), replica());
    let _membership = first.join("one");
    let two = second.join("two");
    eventually_async("the second sees both", async || two.live_replicas() == 2).await;
    let shared = Fixture { limiter: second, clock: fixture.clock };
    assert_eq!(shared.passed(&by_key("10/day, burst 10"), ADDRESS, &[]).await, 5);
}

#[tokio::test]
async fn keys_are_bounded_by_default() {
    let fixture = Fixture::new();
    let sources = vec!["header:x-api-key".parse().expect("a source")];
    let identifier = Identifier::new(sources);
    let mut passed = 0;
    for number in 0..700 {
        let key = format!("invented-{number}");
        let fields = [("x-api-key", key.as_str())];
        passed += usize::from(fixture.send(&identifier, ADDRESS, "/", &fields).await.is_allowed());
    }
    assert_eq!(passed, 600);
}

#[tokio::test]
async fn a_hold_needs_the_allowance_that_a_check_needs() {
    let fixture = Fixture::new();
    let identifier = by_key("2/minute, burst 2");
    let mut held = Vec::new();
    for number in 0..4 {
        let mut headers = HeaderMap::new();
        let key = format!("invented-{number}");
        headers.append("x-api-key", HeaderValue::from_str(&key).expect("a value"));
        let identity = identifier.identify(&headers, ip(ADDRESS)).expect("one client");
        let request = identity.request("POST", "/");
        let terms = HoldTerms::default();
        let reserved = fixture.limiter.reserve_identified(&identity, &request, terms).await;
        held.push(match reserved.expect("a decision") {
            Reserved::Held(_) => None,
            Reserved::Denied(denial) => {
                denial.binding().map(|verdict| verdict.limit.name() == UNVERIFIED)
            }
        });
    }
    assert_eq!(held, [None, None, Some(true), Some(true)]);
    assert_eq!(fixture.passed(&identifier, ADDRESS, &[]).await, 0, "one allowance for both");
}
