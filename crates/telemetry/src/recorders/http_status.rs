//! HTTP status codes as label values, each with its index in a table.

/// The registered codes and nginx's 499, in ascending order, then one value for all other codes of
/// each class, and one for numbers that are not status codes.
pub(super) const TEXTS: &[&str] = &[
    "100", "101", "102", "103", //
    "200", "201", "202", "203", "204", "205", "206", "207", "208", "226", //
    "300", "301", "302", "303", "304", "305", "307", "308", //
    "400", "401", "402", "403", "404", "405", "406", "407", "408", "409", "410", "411", "412",
    "413", "414", "415", "416", "417", "418", "421", "422", "423", "424", "425", "426", "428",
    "429", "431", "451", "499", //
    "500", "501", "502", "503", "504", "505", "506", "507", "508", "510", "511", //
    "1xx", "2xx", "3xx", "4xx", "5xx", "other",
];

const OTHER: usize = TEXTS.len() - 1;
const CLASSES: usize = TEXTS.len() - 6;

/// The index in [`TEXTS`] of each code from 100 to 599.
static INDEXES: [u8; 500] = indexes();

/// Returns the index of `code` in [`TEXTS`].
pub(super) fn index(code: u16) -> usize {
    let index = code.checked_sub(100).and_then(|offset| INDEXES.get(usize::from(offset)));
    index.map_or(OTHER, |index| usize::from(*index))
}

#[expect(clippy::cast_possible_truncation, reason = "TEXTS has fewer than 256 entries")]
const fn indexes() -> [u8; 500] {
    let mut indexes = [0; 500];
    let mut offset = 0;
    while offset < indexes.len() {
        indexes[offset] = (CLASSES + offset / 100) as u8;
        offset += 1;
    }
    let mut index = 0;
    while index < CLASSES {
        let digits = TEXTS[index].as_bytes();
        let code = (digits[0] - b'0') as usize * 100
            + (digits[1] - b'0') as usize * 10
            + (digits[2] - b'0') as usize;
        indexes[code - 100] = index as u8;
        index += 1;
    }
    indexes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_code_has_its_own_value() {
        for text in &TEXTS[..CLASSES] {
            let code: u16 = text.parse().expect("a registered code is a number");
            assert_eq!(TEXTS[index(code)], *text);
        }
    }

    #[test]
    fn an_unregistered_code_has_the_value_of_its_class() {
        for (code, class) in
            [(199, "1xx"), (299, "2xx"), (306, "3xx"), (460, "4xx"), (520, "5xx"), (599, "5xx")]
        {
            assert_eq!(TEXTS[index(code)], class);
        }
    }

    #[test]
    fn a_number_that_is_not_a_status_code_is_other() {
        for code in [0, 99, 600, 999, u16::MAX] {
            assert_eq!(TEXTS[index(code)], "other");
        }
    }
}
