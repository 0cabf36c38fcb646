//! The usage that an answer reports.

use sluice_core::TokenUsage;

use super::fields::Count;
use crate::{
    number::{self, MOST},
    wire::Vendor,
};

/// A usage object, as it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    counts: [Option<u64>; Count::ALL],
    /// One of its numbers is none: negative, a fraction, above 10^12, or no number.
    absurd: bool,
}

/// The usage reported so far. Reports are cumulative: the last one counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    vendor: Vendor,
    /// What was written so far. A report may leave out what did not change.
    written: Written,
    input: Input,
    output: u64,
    ignored: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Input {
    all: u64,
    cached: u64,
    written: u64,
}

impl Written {
    /// Sets a number, of which this is the text. `null` is as good as none.
    pub(super) fn set(&mut self, count: Count, text: &[u8]) {
        if text == b"null" {
            return;
        }
        match std::str::from_utf8(text).map(number::count) {
            Ok(Ok(value)) => self.counts[count as usize] = Some(value),
            _ => self.absurd = true,
        }
    }

    /// A count is something else than a number.
    pub(super) fn set_absurd(&mut self) {
        self.absurd = true;
    }

    fn get(&self, count: Count) -> Option<u64> {
        self.counts[count as usize]
    }

    fn or_zero(&self, count: Count) -> u64 {
        self.get(count).unwrap_or_default()
    }

    /// Whether it says what the output was, in a number that is possible.
    pub(super) fn says_output(&self) -> bool {
        !self.absurd && self.get(Count::Output).is_some()
    }

    /// Whether it says anything. Zeros alone say nothing: no request uses no token, and some
    /// servers fill the object with them until they know.
    fn says_something(&self) -> bool {
        self.counts.iter().flatten().any(|count| *count > 0)
    }

    /// The same, with the counts of `before` where it has none.
    fn over(mut self, before: &Self) -> Self {
        for (count, before) in self.counts.iter_mut().zip(before.counts) {
            *count = count.or(before);
        }
        self
    }

    /// The input, of which each vendor counts the cache in another way.
    fn input(&self, vendor: Vendor) -> Input {
        let (cached, written) = (self.or_zero(Count::Cached), self.or_zero(Count::Written));
        let all = match vendor {
            Vendor::OpenAi => self.get(Count::Input).unwrap_or_else(|| {
                self.or_zero(Count::Total).saturating_sub(self.or_zero(Count::Output))
            }),
            Vendor::Anthropic => self.or_zero(Count::Input) + cached + written,
            Vendor::Gemini => self.or_zero(Count::Input) + self.or_zero(Count::ToolInput),
        };
        Input { all, cached, written }
    }

    fn output(&self, vendor: Vendor) -> u64 {
        let (output, thought) = (self.or_zero(Count::Output), self.or_zero(Count::Thought));
        match vendor {
            Vendor::Anthropic => output,
            Vendor::Gemini => output + thought,
            // Thought is a part of the output, but for some compatible vendors, whose total shows
            // it.
            Vendor::OpenAi => {
                let sum = self.or_zero(Count::Input) + output + thought;
                let is_beside = self.get(Count::Total) == Some(sum);
                if is_beside { output + thought } else { output }
            }
        }
    }
}

impl Usage {
    pub(super) fn new(vendor: Vendor) -> Self {
        let (written, input) = (Written::default(), Input::default());
        Self { vendor, written, input, output: 0, ignored: 0 }
    }

    /// Takes a report into account, and returns whether it says anything that is to be believed.
    ///
    /// Input and output each replace what was reported before, unless they are less: a cumulative
    /// count does not go down. What is not taken is counted.
    pub(super) fn update(&mut self, report: &Written) -> bool {
        if report.absurd {
            self.ignored += 1;
            return false;
        }
        if !report.says_something() {
            return false;
        }
        let merged = report.over(&self.written);
        let (mut input, output) = (merged.input(self.vendor), merged.output(self.vendor));
        if input.all > MOST || output > MOST {
            self.ignored += 1;
            return false;
        }
        let mut is_whole = true;
        if input.cached + input.written > input.all {
            // Parts of the input that are more than it: the sum stands, the parts do not.
            is_whole = false;
            (input.cached, input.written) = (0, 0);
        }
        if input.all >= self.input.all {
            self.input = input;
        } else {
            is_whole = false;
        }
        if output >= self.output {
            self.output = output;
        } else {
            is_whole = false;
        }
        self.written = merged;
        self.ignored += u64::from(!is_whole);
        true
    }

    /// Returns how many reports, or parts of one, were not believed.
    pub(super) const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Returns the usage, if any was reported.
    pub(super) fn reported(&self) -> Option<TokenUsage> {
        (self.input.all > 0 || self.output > 0).then(|| self.at_least(0, 0))
    }

    /// Returns the usage, or more of it where more is known to have passed.
    pub(super) fn at_least(&self, consumed: u64, generated: u64) -> TokenUsage {
        let Input { all, cached, written } = self.input;
        TokenUsage::new(all.max(consumed), self.output.max(generated))
            .with_cache(cached, written)
            .expect("the parts of the input are at most the input, which was checked on the way in")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(counts: &[(Count, &str)]) -> Written {
        let mut written = Written::default();
        for (count, text) in counts {
            written.set(*count, text.as_bytes());
        }
        written
    }

    /// Consumed, cached, written, generated, and reports that were ignored.
    fn after(vendor: Vendor, reports: &[&[(Count, &str)]]) -> (u64, u64, u64, u64, u64) {
        let mut usage = Usage::new(vendor);
        for counts in reports {
            usage.update(&report(counts));
        }
        let tokens = usage.reported().unwrap_or_default();
        let (cached, written) = (tokens.cached(), tokens.written());
        (tokens.consumed(), cached, written, tokens.generated(), usage.ignored())
    }

    use Count::{Cached, Input, Output, Thought, ToolInput, Total, Written as ToCache};
    use Vendor::{Anthropic, Gemini, OpenAi};

    #[test]
    fn each_vendor_counts_the_cache_and_thought_in_its_own_way() {
        let counts: &[_] = &[(Input, "100"), (Cached, "40"), (ToCache, "5"), (Output, "30")];
        assert_eq!(after(OpenAi, &[counts]), (100, 40, 5, 30, 0));
        assert_eq!(after(Anthropic, &[counts]), (145, 40, 5, 30, 0));
        let counts: &[_] =
            &[(Input, "100"), (ToolInput, "7"), (Cached, "40"), (Output, "30"), (Thought, "9")];
        assert_eq!(after(Gemini, &[counts]), (107, 40, 0, 39, 0));
        let counts: &[_] = &[(Input, "100"), (Output, "30"), (Thought, "9"), (Total, "130")];
        assert_eq!(after(OpenAi, &[counts]), (100, 0, 0, 30, 0));
        let beside: &[_] = &[(Input, "100"), (Output, "30"), (Thought, "9"), (Total, "139")];
        assert_eq!(after(OpenAi, &[beside]), (100, 0, 0, 39, 0));
        assert_eq!(after(OpenAi, &[&[(Total, "12")]]), (12, 0, 0, 0, 0));
    }

    #[test]
    fn a_report_replaces_the_one_before_and_may_leave_out_what_did_not_change() {
        let start: &[_] = &[(Input, "43"), (Cached, "10"), (ToCache, "2"), (Output, "1")];
        let correction: &[_] = &[(Input, "61"), (Output, "5")];
        assert_eq!(after(Anthropic, &[start, correction]), (73, 10, 2, 5, 0));
        assert_eq!(after(Anthropic, &[start, start]), (55, 10, 2, 1, 0));
        // From fresh input to the cache: the sum is the same.
        let moved: &[_] = &[(Input, "3"), (Cached, "50"), (Output, "5")];
        assert_eq!(after(Anthropic, &[start, moved]), (55, 50, 2, 5, 0));
    }

    #[test]
    fn what_goes_down_stays_up_and_is_counted() {
        let start: &[_] = &[(Input, "100"), (Output, "20")];
        assert_eq!(after(Anthropic, &[start, &[(Input, "0"), (Output, "42")]]), (100, 0, 0, 42, 1));
        assert_eq!(after(Gemini, &[start, &[(Input, "100"), (Output, "19")]]), (100, 0, 0, 20, 1));
    }

    #[test]
    fn absurd_reports_are_ignored_whole_and_counted() {
        for text in ["-1", "1.5", "1e300", "1000000000001", "\"5\"", "", "true"] {
            let absurd: &[_] = &[(Input, "9"), (Output, text)];
            assert_eq!(after(OpenAi, &[&[(Input, "7")], absurd]), (7, 0, 0, 0, 1), "{text}");
        }
        let sums: &[_] = &[(Input, "1e12"), (Cached, "1")];
        assert_eq!(after(Anthropic, &[sums]), (0, 0, 0, 0, 1));
        let parts: &[_] = &[(Input, "10"), (Cached, "11"), (Output, "3")];
        assert_eq!(after(OpenAi, &[parts]), (10, 0, 0, 3, 1));
    }

    #[test]
    fn zeros_and_nulls_report_nothing() {
        let nothing: &[_] = &[(Input, "0"), (Output, "null"), (Total, "0.0")];
        assert_eq!(after(OpenAi, &[nothing]), (0, 0, 0, 0, 0));
        assert_eq!(after(OpenAi, &[&[(Input, "7")], nothing]), (7, 0, 0, 0, 0));
        assert!(Usage::new(OpenAi).reported().is_none());
    }
}
