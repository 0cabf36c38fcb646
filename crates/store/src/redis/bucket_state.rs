//! A bucket's state and a hold's record as they are stored, in the layouts that `lua/check.lua`
//! describes.

use sluice_core::{
    Bucket, CostsDigest, HeldTokens, Leases, Moment, Record, Refill, Slices, Slots, Term,
    Timestamp, TokenBucket, Window,
};

use crate::{
    Formats,
    formats::{HELD_LAYOUT, RECORD_LAYOUT},
};

/// What a server has stored under the key of a bucket or a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Nothing,
    Bucket(Bucket),
    Record(Record),
    /// A state in a layout that this build does not read.
    Unknown,
}

/// The layout of a record.
const RECORD: u8 = RECORD_LAYOUT;
/// The layouts of limits that are no token buckets.
const WINDOW: u8 = 8;
const NARROW_SLICES: u8 = 9;
const WIDE_SLICES: u8 = 10;
const SLOTS: u8 = 11;
/// A window of which tokens are held.
const HELD_WINDOW: u8 = HELD_LAYOUT;
/// The byte that stands for a bucket or a record without a state.
const NOTHING: u8 = 0;
/// The byte that stands for a state that the script does not read.
const UNKNOWN: u8 = 255;

impl Stored {
    /// Parses one state.
    pub(super) fn parse(state: &[u8], formats: Formats) -> Self {
        let (first, last) = formats.reads;
        match state {
            [NOTHING] => Self::Nothing,
            // The script reads all layouts; only a test makes a build that does not.
            [layout, ..] if !(first..=last).contains(layout) => Self::Unknown,
            [RECORD, ..] => parse_record(state).map_or(Self::Unknown, Self::Record),
            [WINDOW..=HELD_WINDOW, ..] => parse_other(state).map_or(Self::Unknown, Self::Bucket),
            _ => parse(state).map_or(Self::Unknown, |tokens| Self::Bucket(tokens.into())),
        }
    }

    /// Parses the states of `count` keys, which stand one behind the other. Returns `None` if
    /// they are more or fewer.
    pub(super) fn parse_all(states: &[u8], count: usize, formats: Formats) -> Option<Vec<Self>> {
        let mut stored = Vec::with_capacity(count);
        let mut rest = states;
        while let Some(&layout) = rest.first() {
            let (state, behind) = rest.split_at_checked(length(layout)?)?;
            stored.push(Self::parse(state, formats));
            rest = behind;
        }
        (stored.len() == count).then_some(stored)
    }
}

/// Returns how many bytes a state of the layout has.
const fn length(layout: u8) -> Option<usize> {
    Some(match layout {
        NOTHING | UNKNOWN => 1,
        1 | 2 | 5 | WINDOW | SLOTS => 12,
        RECORD => 19,
        NARROW_SLICES => 28,
        WIDE_SLICES => 61,
        3 => 25,
        4 | HELD_WINDOW => 32,
        6 => 50,
        _ => return None,
    })
}

/// Parses the stored state of a token bucket; `None` if this version does not know its layout.
fn parse(state: &[u8]) -> Option<TokenBucket> {
    let (&layout, rest) = state.split_first()?;
    let mut rest = Reader(rest);
    let micros = i64::try_from(rest.number(7)?).ok()?;
    let mut leases = Leases::NONE;
    let (fraction, refill, indebted_at) = match layout {
        1 => (0, Refill::from_parts(1, rest.number(4)?)?, None),
        2 => (0, Refill::from_parts(1, rest.number(4)? * 1_000)?, None),
        3 | 4 | 6 => {
            let fraction = rest.number(5)?;
            let refill = Refill::from_parts(rest.number(5)?, rest.number(7)?)?;
            let written = if layout == 3 { 0 } else { rest.number(7)? };
            // The time of a debt is always there in layout 4.
            let is_debt = layout == 4 || written > 0;
            let written = Timestamp::from_unix_micros(i64::try_from(written).ok()?);
            if layout == 6 {
                let term = Term::from_number(u32::try_from(rest.number(4)?).ok()?);
                leases = Leases::from_parts(term, rest.number(7)?, rest.number(7)?);
            }
            (fraction, refill, is_debt.then_some(written))
        }
        5 => {
            let (tokens, fraction, seconds) = (rest.number(1)?, rest.number(1)?, rest.number(2)?);
            (fraction, Refill::from_parts(tokens, seconds * 1_000_000)?, None)
        }
        _ => return None,
    };
    if rest.0.is_empty() {
        let bucket = TokenBucket::from_parts(Moment { micros, fraction }, refill, indebted_at)?;
        Some(bucket.with_leases(leases))
    } else {
        None
    }
}

/// Parses the stored state of a limit that is no token bucket; `None` if it is none.
fn parse_other(state: &[u8]) -> Option<Bucket> {
    let (&layout, rest) = state.split_first()?;
    let mut rest = Reader(rest);
    let bucket = match layout {
        WINDOW => Bucket::Window(Window::from_parts(rest.number(5)?, rest.number(6)?)),
        HELD_WINDOW => {
            let window = Window::from_parts(rest.number(5)?, rest.number(6)?);
            let mut small = || u32::try_from(rest.number(4)?).ok();
            let (term_ms, term) = (small()?, small()?);
            let held = HeldTokens::from_parts(term_ms, term, rest.number(6)?, rest.number(6)?);
            // No version writes a term of nothing.
            if term_ms == 0 {
                return None;
            }
            Bucket::Window(window.with_held(held))
        }
        NARROW_SLICES | WIDE_SLICES => {
            let newest = rest.number(5)?;
            let mut counts = [0; 11];
            for count in &mut counts {
                *count = rest.number(if layout == NARROW_SLICES { 2 } else { 5 })?;
            }
            Bucket::Slices(Slices::from_parts(newest, counts))
        }
        SLOTS => {
            let mut number = |bytes| u32::try_from(rest.number(bytes)?).ok();
            Bucket::Slots(Slots::from_parts(number(4)?, number(3)?, number(4)?))
        }
        _ => return None,
    };
    rest.0.is_empty().then_some(bucket)
}

/// Parses a record; `None` if this version writes none like it.
fn parse_record(state: &[u8]) -> Option<Record> {
    let mut rest = Reader(state.get(1..)?);
    let (kind, digest, missed) = (rest.number(1)?, rest.number(6)?, rest.number(4)?);
    let until = Timestamp::from_unix_micros(i64::try_from(rest.number(7)?).ok()?);
    let costs = CostsDigest::from_number(digest);
    if digest == 0 || !rest.0.is_empty() {
        return None;
    }
    match kind {
        1 => Some(Record::Held { costs, missed: u32::try_from(missed).ok()?, until }),
        2 => Some(Record::Settled { actual: costs, until }),
        _ => None,
    }
}

/// The bytes that are not parsed yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// Returns the next big-endian number, of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(number.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_layouts_are_parsed_and_others_are_not() {
        let compact = [1, 0, 0, 0, 0, 0, 1, 2, 0, 0x0f, 0x42, 0x40];
        let bucket = parse(&compact).unwrap();
        assert_eq!(bucket.empty_at(), Moment { micros: 258, fraction: 0 });
        assert_eq!(
            bucket.refill(),
            "60/minute".parse::<sluice_core::RefillRate>().unwrap().refill()
        );

        let daily = [2, 0, 0, 0, 0, 0, 1, 2, 0x05, 0x26, 0x5c, 0x00];
        assert_eq!(
            parse(&daily).unwrap().refill(),
            "1/day".parse::<sluice_core::RefillRate>().unwrap().refill()
        );

        let mut long = vec![
            3, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0x1e, 0x84, 0x80,
        ];
        let bucket = parse(&long).unwrap();
        assert_eq!(bucket.empty_at(), Moment { micros: 258, fraction: 2 });
        assert_eq!(
            bucket.refill(),
            "90/minute".parse::<sluice_core::RefillRate>().unwrap().refill()
        );
        assert_eq!(bucket.indebted_at(), None);

        long[0] = 4;
        assert!(parse(&long).is_none(), "the time of the debt is missing");
        long.extend([0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(parse(&long).unwrap().indebted_at(), Some(Timestamp::from_unix_micros(9)));

        let fractional = [5, 0, 0, 0, 0, 0, 1, 2, 3, 2, 0, 2];
        let bucket = parse(&fractional).unwrap();
        assert_eq!(bucket.empty_at(), Moment { micros: 258, fraction: 2 });
        assert_eq!(
            bucket.refill(),
            "90/minute".parse::<sluice_core::RefillRate>().unwrap().refill()
        );

        let mut leased = long.clone();
        leased[0] = 6;
        leased.extend([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0]);
        let bucket = parse(&leased).unwrap();
        assert_eq!(bucket.leases(), Leases::from_parts(Term::from_number(7), 3, 256));
        assert_eq!(bucket.indebted_at(), Some(Timestamp::from_unix_micros(9)));
        leased[31] = 0;
        assert_eq!(parse(&leased).unwrap().indebted_at(), None);
        assert!(parse(&leased[..49]).is_none());

        for state in [
            &[][..],
            &[1],
            &[6; 12],
            &[5, 0, 0, 0, 0, 0, 1, 2, 3, 3, 0, 2],
            &fractional[..11],
            &compact[..11],
            b"1700000000000000",
        ] {
            assert!(parse(state).is_none(), "{state:?}");
        }
    }

    #[test]
    fn states_of_limits_that_are_no_token_buckets_are_parsed() {
        let bucket = |bytes: &[u8]| Stored::parse(bytes, Formats::CURRENT);
        let window = [8, 0, 0x6b, 0x0c, 0xbc, 0x80, 0, 0, 0, 1, 0, 2];
        let expected = Window::from_parts(0x6b0c_bc80, 0x1_0002);
        assert_eq!(bucket(&window), Stored::Bucket(Bucket::Window(expected)));

        let mut narrow = vec![9, 0, 0, 0, 1, 2];
        (0..11_u8).for_each(|age| narrow.extend([1, age]));
        let counts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|age| 0x100 + age);
        let expected = Slices::from_parts(0x102, counts);
        assert_eq!(bucket(&narrow), Stored::Bucket(Bucket::Slices(expected)));

        let mut wide = vec![10, 0, 0, 0, 1, 2];
        (0..11_u8).for_each(|age| wide.extend([1, 0, 0, 0, age]));
        let expected = Slices::from_parts(0x102, counts.map(|count| count - 0x100 + (1 << 32)));
        assert_eq!(bucket(&wide), Stored::Bucket(Bucket::Slices(expected)));

        let slots = [11, 0, 0, 1, 2, 0, 0, 3, 0, 0, 0, 4];
        let expected = Slots::from_parts(0x102, 3, 4);
        assert_eq!(bucket(&slots), Stored::Bucket(Bucket::Slots(expected)));

        let mut held = vec![12];
        held.extend(&window[1..]);
        held.extend([0, 1, 0xd4, 0xc0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0, 0, 4]);
        let tokens = HeldTokens::from_parts(120_000, 0x102, 3, (1 << 32) + 4);
        let window_held = Window::from_parts(0x6b0c_bc80, 0x1_0002).with_held(tokens);
        assert_eq!(bucket(&held), Stored::Bucket(Bucket::Window(window_held)));

        let states = [&window[..], &narrow, &held, &slots, &wide, &[0]].concat();
        let parsed = Stored::parse_all(&states, 6, Formats::CURRENT).unwrap();
        assert_eq!(parsed[3], Stored::Bucket(Bucket::Slots(expected)));
        let mut no_term = held.clone();
        no_term[12..16].fill(0);
        for state in [
            &window[..11],
            &narrow[..27],
            &wide[..60],
            &slots[..11],
            &[8; 13],
            &held[..31],
            &no_term,
        ] {
            assert_eq!(bucket(state), Stored::Unknown, "{state:?}");
        }
    }

    #[test]
    fn records_are_parsed() {
        let record = |bytes: &[u8]| Stored::parse(bytes, Formats::CURRENT);
        let costs = CostsDigest::from_number(0x0102_0304_0506);
        let until = Timestamp::from_unix_micros(0x0102);
        let held = Record::Held { costs, missed: 9, until };
        let bytes = [7, 1, 1, 2, 3, 4, 5, 6, 0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 2];
        assert_eq!(record(&bytes), Stored::Record(held));
        let settled = Record::Settled { actual: costs, until };
        let bytes = [7, 2, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2];
        assert_eq!(record(&bytes), Stored::Record(settled));
        for state in [
            &[7, 3, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2][..],
            &[7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2],
            &bytes[..18],
            &bytes[..12],
            &[7],
        ] {
            assert_eq!(record(state), Stored::Unknown, "{state:?}");
        }
    }

    #[test]
    fn states_stand_one_behind_the_other() {
        let compact = [1, 0, 0, 0, 0, 0, 1, 2, 0, 0x0f, 0x42, 0x40];
        let long =
            [3, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0x1e, 0x84, 0x80];
        let states = [&[0][..], &compact, &[255], &long, &[0]].concat();
        let [compact, long] = [&compact[..], &long].map(|state| parse(state).unwrap());
        let expected = [
            Stored::Nothing,
            Stored::Bucket(compact.into()),
            Stored::Unknown,
            Stored::Bucket(long.into()),
            Stored::Nothing,
        ];
        assert_eq!(Stored::parse_all(&states, 5, Formats::CURRENT).unwrap(), expected);
        assert_eq!(Stored::parse_all(&[], 0, Formats::CURRENT), Some(vec![]));
        for (states, count) in [(&states[..], 4), (&states, 6), (&states[..states.len() - 2], 5)] {
            assert_eq!(Stored::parse_all(states, count, Formats::CURRENT), None);
        }
        assert_eq!(Stored::parse_all(&[13, 0, 0], 1, Formats::CURRENT), None, "another layout");

        let older = Formats { reads: (1, 2), ..Formats::CURRENT };
        let stored = Stored::parse_all(&states, 5, older).unwrap();
        assert_eq!(stored[1], expected[1]);
        assert_eq!(stored[3], Stored::Unknown, "this build does not read the layout");
    }
}
