//! Lists for a script, in one argument.

use std::fmt::{Display, Write};

/// Builds a `MessagePack` array of strings. A script call with thousands of arguments is refused by
/// managed services.
#[derive(Debug, Default)]
pub(super) struct PackedStrings {
    count: u32,
    bytes: Vec<u8>,
    text: String,
}

impl PackedStrings {
    /// Appends the text of `value`.
    pub(super) fn push(&mut self, value: impl Display) -> &mut Self {
        self.text.clear();
        write!(self.text, "{value}").expect("writing to a string cannot fail");
        let length = u32::try_from(self.text.len()).expect("a text is far shorter than 4 GiB");
        self.count += 1;
        self.bytes.push(0xdb);
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(self.text.as_bytes());
        self
    }

    /// Returns the array.
    pub(super) fn finish(&self) -> Vec<u8> {
        let mut array = Vec::with_capacity(self.bytes.len() + 5);
        array.push(0xdd);
        array.extend(self.count.to_be_bytes());
        array.extend(&self.bytes);
        array
    }
}

/// An amount that Redis can add: it counts in signed integers.
pub(super) const fn addend(amount: u64) -> u64 {
    if amount > i64::MAX.unsigned_abs() { i64::MAX.unsigned_abs() } else { amount }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_packed_with_their_lengths() {
        let mut packed = PackedStrings::default();
        packed.push("a\u{1f}b").push(42).push("");
        let expected = [
            &[0xdd, 0, 0, 0, 3][..],
            &[0xdb, 0, 0, 0, 3, b'a', 0x1f, b'b'],
            &[0xdb, 0, 0, 0, 2, b'4', b'2'],
            &[0xdb, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(packed.finish(), expected);
    }
}
