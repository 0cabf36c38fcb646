//! HTTP status codes as label values, each with a place in a table.

/// The registered codes (and nginx' 499), ascending; then the classes of all others, and what is no
/// status at all.
pub(super) const WORDS: &[&str] = &[
    "100", "101", "102", "103", //
    "200", "201", "202", "203", "204", "205", "206", "207", "208", "226", //
    "300", "301", "302", "303", "304", "305", "307", "308", //
    "400", "401", "402", "403", "404", "405", "406", "407", "408", "409", "410", "411", "412",
    "413", "414", "415", "416", "417", "418", "421", "422", "423", "424", "425", "426", "428",
    "429", "431", "451", "499", //
    "500", "501", "502", "503", "504", "505", "506", "507", "508", "510", "511", //
    "1xx", "2xx", "3xx", "4xx", "5xx", "other",
];

const OTHER: usize = WORDS.len() - 1;
const CLASSES: usize = WORDS.len() - 6;

/// The place of each code from 100 to 599.
static PLACES: [u8; 500] = places();

/// The place of `code` in [`WORDS`].
pub(super) fn place(code: u16) -> usize {
    let known = code.checked_sub(100).and_then(|index| PLACES.get(usize::from(index)));
    known.map_or(OTHER, |place| usize::from(*place))
}

#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 words")]
const fn places() -> [u8; 500] {
    let mut places = [0; 500];
    let mut index = 0;
    while index < places.len() {
        places[index] = (CLASSES + index / 100) as u8;
        index += 1;
    }
    let mut place = 0;
    while place < CLASSES {
        let digits = WORDS[place].as_bytes();
        let code = (digits[0] - b'0') as usize * 100
            + (digits[1] - b'0') as usize * 10
            + (digits[2] - b'0') as usize;
        places[code - 100] = place as u8;
        place += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_code_is_its_own_word() {
        for word in &WORDS[..CLASSES] {
            let code: u16 = word.parse().expect("a registered code is a number");
            assert_eq!(WORDS[place(code)], *word);
        }
    }

    #[test]
    fn an_unregistered_code_is_its_class() {
        for (code, class) in
            [(199, "1xx"), (299, "2xx"), (306, "3xx"), (460, "4xx"), (520, "5xx"), (599, "5xx")]
        {
            assert_eq!(WORDS[place(code)], class);
        }
    }

    #[test]
    fn a_number_that_is_no_status_is_other() {
        for code in [0, 99, 600, 999, u16::MAX] {
            assert_eq!(WORDS[place(code)], "other");
        }
    }
}
