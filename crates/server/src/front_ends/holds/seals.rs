//! The keys by which a reservation is known to be the fleet's own.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{hmac, rand};
use sluice::Tagger;

use super::sealed::Sealed;

/// What the key is derived for.
const PURPOSE: &str = "reservations";

/// Signs reservations, so that nobody else can make one: HMAC with SHA-256 (RFC 2104).
///
/// The key is derived from `clients.secret`. While that changes, reservations of the two keys
/// before are accepted too: of two, since a secret that is removed is followed by a key of this
/// replica, and then by one of all.
#[derive(Debug)]
pub struct Seals {
    /// The key prefix of the store: a reservation of another fleet is none of this one.
    fleet: Box<str>,
    keys: ArcSwap<Keys>,
}

#[derive(Debug)]
struct Keys {
    current: Arc<Key>,
    /// The last one first.
    previous: [Option<Arc<Key>>; 2],
}

#[derive(Debug)]
struct Key {
    bytes: Vec<u8>,
    hmac: hmac::Key,
    /// Whether no secret has it.
    is_made_up: bool,
}

impl Seals {
    /// Makes the seals of a fleet, with a key of the secret of `tagger`. Without a secret, a key is
    /// made up that no other replica has.
    pub fn new(fleet: &str, tagger: &Tagger) -> Self {
        let key = tagger.key_for(PURPOSE).map_or_else(Key::random, |key| Key::new(&key));
        let keys = Keys { current: Arc::new(key), previous: [None, None] };
        Self { fleet: fleet.into(), keys: ArcSwap::from_pointee(keys) }
    }

    /// Follows a change of the secret. What was signed before stays valid until the next but one.
    /// Without a secret any more, a key is made up for replicas to agree on.
    pub(crate) fn follow(&self, tagger: &Tagger) {
        match tagger.key_for(PURPOSE) {
            Some(key) => self.replace(Key::new(&key)),
            None if self.own_key().is_none() => self.replace(Key::random()),
            None => {}
        }
    }

    /// Returns the key that was made up, for all replicas to agree on; `None` if a secret has one.
    pub(super) fn own_key(&self) -> Option<Vec<u8>> {
        let current = &self.keys.load().current;
        current.is_made_up.then(|| current.bytes.clone())
    }

    /// Replaces a key that was made up by the one that all replicas agree on.
    pub(super) fn replace_own(&self, agreed: &[u8]) {
        if self.own_key().is_some() {
            self.replace(Key { is_made_up: true, ..Key::new(agreed) });
        }
    }

    fn replace(&self, key: Key) {
        let keys = self.keys.load();
        if keys.current.bytes != key.bytes {
            let previous = [Some(Arc::clone(&keys.current)), keys.previous[0].clone()];
            self.keys.store(Arc::new(Keys { current: Arc::new(key), previous }));
        }
    }

    /// Writes a reservation as a text.
    pub(super) fn seal(&self, sealed: &Sealed) -> String {
        let content = sealed.to_bytes(&self.fleet);
        let signature = hmac::sign(&self.keys.load().current.hmac, &content);
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        format!("{}.{}", encode(&content), encode(signature.as_ref()))
    }

    /// Reads a reservation; `None` if it is none of this fleet.
    pub(super) fn open(&self, text: &str) -> Option<Sealed> {
        let (content, signature) = text.split_once('.')?;
        let content = BASE64_URL_SAFE_NO_PAD.decode(content).ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let keys = self.keys.load();
        let is_of = |key: &Arc<Key>| hmac::verify(&key.hmac, &content, &signature).is_ok();
        let is_own = is_of(&keys.current) || keys.previous.iter().flatten().any(is_of);
        is_own.then(|| Sealed::from_bytes(&content, &self.fleet)).flatten()
    }
}

impl Key {
    fn new(bytes: &[u8]) -> Self {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { bytes: bytes.to_vec(), hmac, is_made_up: false }
    }

    fn random() -> Self {
        let random = rand::generate::<[u8; 32]>(&rand::SystemRandom::new());
        // Without random numbers, TLS and much else would not work either.
        let random = random.expect("the system has random numbers").expose();
        Self { is_made_up: true, ..Self::new(&random) }
    }
}
