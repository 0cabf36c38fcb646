//! Reads what callgrind writes: <https://valgrind.org/docs/manual/cl-format.html>.
//!
//! `callgrind_annotate` cannot read a file of a process whose counts were set to zero while it ran:
//! functions that began before have "calls=0", and it then loses what they called.

use std::collections::HashMap;

/// The functions through which a program gets memory, and `free`.
const ALLOCATE: [&str; 6] =
    ["malloc", "calloc", "realloc", "aligned_alloc", "memalign", "posix_memalign"];
const FREE: &str = "free";

/// What callgrind has counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    functions: HashMap<String, Function>,
    /// The instructions of the allocator, with everything that it calls.
    allocator: u64,
    /// How often memory was allocated.
    allocations: u64,
}

/// The counts of a function.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Function {
    /// Instructions, without those of the functions that it calls.
    pub(crate) own: u64,
    pub(crate) calls: u64,
}

/// The names that the file abbreviates as `(7)`: it spells out only the first use.
#[derive(Debug, Default)]
struct Names(HashMap<String, String>);

impl Profile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is not in callgrind's format, or has other events than instructions.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("# callgrind format") {
            return Err("it does not begin with `# callgrind format`".to_owned());
        }
        let (mut profile, mut names) = (Self::default(), Names::default());
        let (mut function, mut called) = (String::new(), String::new());
        // The next line is the cost of so many calls.
        let mut call: Option<u64> = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}: {line}", index + 1);
            if let Some(events) = line.strip_prefix("events: ") {
                if events != "Ir" {
                    return Err(wrong("expected the event Ir alone"));
                }
            } else if let Some(name) = line.strip_prefix("fn=") {
                function = names.full(name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = names.full(name);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let count = calls.split(' ').next().and_then(|count| count.parse().ok());
                call = Some(count.ok_or_else(|| wrong("expected a number of calls"))?);
            } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                // Without a number, it is the position alone, which costs nothing.
                let cost = line.split(' ').nth(1).unwrap_or("0");
                let cost = cost.parse().map_err(|_| wrong("expected a number of instructions"))?;
                match call.take() {
                    Some(calls) => profile.add_call(&function, &called, calls, cost),
                    None => profile.function(&function).own += cost,
                }
            }
        }
        Ok(profile)
    }

    /// Returns all instructions.
    pub(crate) fn total(&self) -> u64 {
        self.functions.values().map(|function| function.own).sum()
    }

    /// Returns the instructions that copy memory.
    pub(crate) fn copying(&self) -> u64 {
        let copies = |name: &str| {
            let name = name.trim_start_matches('_');
            name.starts_with("memcpy") || name.starts_with("memmove")
        };
        self.functions.iter().filter(|(name, _)| copies(name)).map(|(_, found)| found.own).sum()
    }

    /// Returns the instructions of the allocator.
    pub(crate) fn allocator(&self) -> u64 {
        self.allocator
    }

    /// Returns how often memory was allocated.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations
    }

    /// Returns the functions, and first those with the most instructions of their own.
    pub(crate) fn functions(&self) -> Vec<(&str, Function)> {
        let mut all: Vec<_> =
            self.functions.iter().map(|(name, function)| (name.as_str(), *function)).collect();
        all.sort_by_key(|(name, function)| (std::cmp::Reverse(function.own), *name));
        all
    }

    fn add_call(&mut self, caller: &str, called: &str, calls: u64, cost: u64) {
        self.function(called).calls += calls;
        let allocates = ALLOCATE.contains(&called);
        if allocates || called == FREE {
            // Some call each other.
            if !ALLOCATE.contains(&caller) && caller != FREE {
                self.allocator += cost;
                self.allocations += if allocates { calls } else { 0 };
            }
        }
    }

    fn function(&mut self, name: &str) -> &mut Function {
        self.functions.entry(name.to_owned()).or_default()
    }
}

impl Names {
    /// Returns the name that `(7) name` or `(7)` stands for.
    fn full(&mut self, text: &str) -> String {
        let Some((number, name)) = text.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        else {
            return text.to_owned();
        };
        match name.strip_prefix(' ') {
            Some(name) => {
                self.0.insert(number.to_owned(), name.to_owned());
                name.to_owned()
            }
            None => self.0.get(number).cloned().unwrap_or_else(|| text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `main` began before the counts were set to zero.
    const FILE: &str = "\
# callgrind format
version: 1
events: Ir
summary: 1000

ob=(1) /usr/bin/program
fl=(1) main.rs
fn=(1) main
cfi=(2) work.rs
cfn=(2) work
calls=0 9
12 950
+1 50

fl=(2)
fn=(2)
10 100
fi=(3) inlined.rs
+5 200
-5
fe=(2)
cob=(2) libc.so.6
cfn=(3) malloc
calls=4 1
* 300
cfn=(4) __memcpy_avx_unaligned_erms
calls=2 1
* 250
cfn=(6) realloc
calls=1 1
* 60
cfn=(5) free
calls=3 1
* 40

fn=(3)
1 260
cfn=(7) _int_malloc
calls=4 1
* 40

fn=(7)
1 40

fn=(6)
1 20
cfn=(3)
calls=1 1
* 40

fn=(5)
1 40

fn=(4)
1 200
fn=(8) __memmove_avx_unaligned_erms
1 50
";

    #[test]
    fn a_function_has_its_own_instructions_and_its_calls() {
        let profile = Profile::parse(FILE).unwrap();
        assert_eq!(profile.functions["work"], Function { own: 300, calls: 0 });
        assert_eq!(profile.functions["malloc"], Function { own: 260, calls: 5 });
        assert_eq!(profile.functions["main"], Function { own: 50, calls: 0 });
        assert_eq!(profile.total(), 50 + 300 + 260 + 40 + 20 + 40 + 200 + 50);
    }

    #[test]
    fn both_copying_functions_count() {
        assert_eq!(Profile::parse(FILE).unwrap().copying(), 250);
    }

    #[test]
    fn the_allocator_counts_with_what_it_calls_and_once() {
        let profile = Profile::parse(FILE).unwrap();
        assert_eq!(profile.allocator(), 300 + 60 + 40);
        assert_eq!(profile.allocations(), 4 + 1);
    }

    #[test]
    fn the_functions_with_the_most_instructions_come_first() {
        let profile = Profile::parse(FILE).unwrap();
        let names: Vec<_> = profile.functions().iter().map(|(name, _)| *name).take(3).collect();
        assert_eq!(names, ["work", "malloc", "__memcpy_avx_unaligned_erms"]);
    }

    #[test]
    fn another_file_is_an_error() {
        let error = Profile::parse("hello").unwrap_err();
        assert_eq!(error, "it does not begin with `# callgrind format`");
        let cache = Profile::parse("# callgrind format\nevents: Ir Dr\n").unwrap_err();
        assert_eq!(cache, "line 2: expected the event Ir alone: events: Ir Dr");
        let cost = Profile::parse("# callgrind format\nfn=(1) f\n1 x\n").unwrap_err();
        assert_eq!(cost, "line 3: expected a number of instructions: 1 x");
        let calls = Profile::parse("# callgrind format\nfn=(1) f\ncalls=x 1\n").unwrap_err();
        assert_eq!(calls, "line 3: expected a number of calls: calls=x 1");
    }
}
