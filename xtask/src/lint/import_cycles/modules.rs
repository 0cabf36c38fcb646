//! The modules of a crate, and what their names refer to.
//!
//! This is name resolution for a purpose: it knows modules, `use`, definitions and paths, but no
//! types. Where it cannot find a name in a module, it takes the module's own file for the one that
//! defines it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::graph::Imports;
use super::tokens::{Token, tokens};

/// The modules of one crate.
#[derive(Debug, Default)]
pub(super) struct Crate {
    files: Vec<PathBuf>,
    /// The root is the first.
    modules: Vec<Module>,
    /// Where each `macro_rules!` is: an exported one is found in the crate's root.
    macros: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
struct Module {
    parent: usize,
    file: usize,
    children: BTreeMap<String, usize>,
    definitions: BTreeSet<String>,
    uses: Vec<Use>,
    /// Paths of two and more segments in the code.
    paths: Vec<Vec<String>>,
    /// Words in the code that begin a path, or stand alone.
    words: BTreeSet<String>,
}

#[derive(Debug)]
struct Use {
    path: Vec<String>,
    /// What the path is called in this module; `None` for `*`.
    name: Option<String>,
    is_public: bool,
}

#[derive(Debug)]
enum Target {
    Module(usize),
    Item { file: usize, name: String },
}

/// Reads a file, or returns `None` if there is none.
type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

// === impl Crate ===

impl Crate {
    /// Reads a crate from its root file on, without what only tests compile.
    pub(super) fn read(root: &Path, read: Read<'_>) -> Self {
        let mut this = Self::default();
        let directory = root.parent().unwrap_or(root);
        if let Some(text) = read(root) {
            this.add_file(root.to_owned(), directory, &text, 0, read);
        }
        this
    }

    /// Returns which file imports what from which other file.
    pub(super) fn imports(&self) -> Imports {
        let mut imports = Imports::default();
        for (index, module) in self.modules.iter().enumerate() {
            let used = module.uses.iter().filter(|import| {
                let is_mentioned =
                    import.name.as_ref().is_some_and(|name| module.words.contains(name));
                !import.is_public || is_mentioned
            });
            let paths = used.map(|import| (&import.path, import.name.is_none()));
            for (path, is_glob) in paths.chain(module.paths.iter().map(|path| (path, false))) {
                let (file, name) = match self.resolve(index, path, &mut HashSet::new()) {
                    Some(Target::Item { file, name }) => (file, name),
                    Some(Target::Module(target)) if is_glob => {
                        (self.modules[target].file, "*".to_owned())
                    }
                    // The name of a module is only the beginning of other paths.
                    Some(Target::Module(_)) | None => continue,
                };
                imports.add(&self.files[module.file], &self.files[file], &name);
            }
        }
        imports
    }

    /// Adds a file as a module whose children are searched for in `directory`.
    fn add_file(
        &mut self,
        file: PathBuf,
        directory: &Path,
        text: &str,
        parent: usize,
        read: Read<'_>,
    ) -> usize {
        self.files.push(file);
        let module = self.add_module(parent, self.files.len() - 1);
        Parser { tokens: &tokens(text), at: 0, modules: self, read }.items(module, directory);
        module
    }

    fn add_module(&mut self, parent: usize, file: usize) -> usize {
        self.modules.push(Module { parent, file, ..Module::default() });
        self.modules.len() - 1
    }

    /// Returns what a path in the module `from` refers to; `None` for what other crates define.
    fn resolve(
        &self,
        from: usize,
        path: &[String],
        visited: &mut HashSet<(usize, String)>,
    ) -> Option<Target> {
        let mut target = match path.first()?.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.modules[from].parent),
            name => self.find(from, name, path.len() > 1, visited)?,
        };
        for (name, position) in path[1..].iter().zip(2..) {
            let Target::Module(module) = target else { break };
            target = match name.as_str() {
                "self" => target,
                "super" => Target::Module(self.modules[module].parent),
                _ => self.find(module, name, path.len() > position, visited).unwrap_or_else(|| {
                    let module = self.macros.get(name).copied().unwrap_or(module);
                    Target::Item { file: self.modules[module].file, name: name.clone() }
                }),
            };
        }
        Some(target)
    }

    /// Finds a name in the scope of a module.
    fn find(
        &self,
        module: usize,
        name: &str,
        is_prefix: bool,
        visited: &mut HashSet<(usize, String)>,
    ) -> Option<Target> {
        let scope = &self.modules[module];
        let child = scope.children.get(name).copied().map(Target::Module);
        // A module and a function may share a name; only the module has something inside.
        if is_prefix && child.is_some() {
            return child;
        }
        if scope.definitions.contains(name) {
            return Some(Target::Item { file: scope.file, name: name.to_owned() });
        }
        // A `use` may refer to itself: `use redis::redis` does, for all that is known here.
        if child.is_some() || !visited.insert((module, name.to_owned())) {
            return child;
        }
        let is_named = |import: &&Use| import.name.as_deref() == Some(name);
        let mut named = scope.uses.iter().filter(is_named);
        if let Some(target) = named.find_map(|import| self.resolve(module, &import.path, visited)) {
            return Some(target);
        }
        let mut globs = scope.uses.iter().filter(|import| import.name.is_none());
        globs.find_map(|import| match self.resolve(module, &import.path, visited)? {
            Target::Module(inside) => self.find(inside, name, is_prefix, visited),
            Target::Item { .. } => None,
        })
    }
}

/// Reads the items of a file into the modules of a crate.
struct Parser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    modules: &'a mut Crate,
    read: Read<'a>,
}

// === impl Parser ===

impl<'a> Parser<'a> {
    /// Reads up to the end of the module: that of the file, or the brace that closes the module.
    fn items(&mut self, module: usize, directory: &Path) {
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            match token {
                Token::Punctuation('{') => depth += 1,
                Token::Punctuation('}') if depth == 0 => return,
                Token::Punctuation('}') => depth -= 1,
                Token::Punctuation('#') => {
                    if self.attribute_is_for_tests() {
                        self.skip_item();
                    }
                }
                Token::Word("mod") => self.child(module, directory),
                Token::Word("use") if self.peek() != Some(Token::Punctuation('<')) => {
                    let is_public = self.follows_visibility();
                    self.use_tree(module, &[], is_public);
                }
                Token::Word("macro_rules") if self.peek() == Some(Token::Punctuation('!')) => {
                    self.at += 1;
                    if let Some(Token::Word(name)) = self.next() {
                        self.define(module, name);
                        self.modules.macros.insert(name.to_owned(), module);
                    }
                }
                Token::Word(
                    "const" | "enum" | "fn" | "static" | "struct" | "trait" | "type" | "union",
                ) => {
                    // `const fn name` defines what comes after `fn`.
                    if let Some(Token::Word(name)) = self.peek()
                        && name != "fn"
                    {
                        self.at += 1;
                        if depth == 0 {
                            self.define(module, name);
                        }
                    }
                }
                Token::Word(first) => self.path(module, first),
                Token::PathSeparator | Token::Punctuation(_) | Token::Other => {}
            }
        }
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    /// The token before the one that was read last.
    fn before(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at.checked_sub(2)?).copied()
    }

    fn define(&mut self, module: usize, name: &str) {
        self.modules.modules[module].definitions.insert(name.to_owned());
    }

    /// Whether `pub` or `pub(...)` stands before the keyword that was read last.
    fn follows_visibility(&self) -> bool {
        let before = &self.tokens[..self.at - 1];
        match before.last() {
            Some(Token::Word("pub")) => true,
            Some(Token::Punctuation(')')) => before
                .iter()
                .rposition(|token| *token == Token::Punctuation('('))
                .and_then(|open| before[..open].last())
                .is_some_and(|token| *token == Token::Word("pub")),
            _ => false,
        }
    }

    /// Reads `name;` or `name { ... }` after `mod`.
    fn child(&mut self, parent: usize, directory: &Path) {
        let Some(Token::Word(name)) = self.next() else { return };
        let inside = directory.join(name);
        let child = if self.next() == Some(Token::Punctuation('{')) {
            let file = self.modules.modules[parent].file;
            let child = self.modules.add_module(parent, file);
            // Before its items are read, since they may refer to it.
            self.modules.modules[parent].children.insert(name.to_owned(), child);
            self.items(child, &inside);
            return;
        } else {
            let files = [directory.join(format!("{name}.rs")), inside.join("mod.rs")];
            let found = files.into_iter().find_map(|file| Some(((self.read)(&file)?, file)));
            let Some((text, file)) = found else { return };
            self.modules.add_file(file, &inside, &text, parent, self.read)
        };
        self.modules.modules[parent].children.insert(name.to_owned(), child);
    }

    /// Reads the rest of a `use`, of which `prefix` was read.
    fn use_tree(&mut self, module: usize, prefix: &[String], is_public: bool) {
        let mut path = prefix.to_vec();
        let mut name = None;
        loop {
            match self.next() {
                Some(Token::Word("as")) => {
                    if let Some(Token::Word(alias)) = self.next() {
                        name = Some(alias.to_owned());
                    }
                }
                Some(Token::Word(segment)) => path.push(segment.to_owned()),
                Some(Token::PathSeparator) => {}
                Some(Token::Punctuation('*')) => {
                    self.add_use(module, Use { path: path.clone(), name: None, is_public });
                    path.clear();
                }
                Some(Token::Punctuation('{')) => {
                    while self.peek().is_some_and(|token| token != Token::Punctuation('}')) {
                        self.use_tree(module, &path, is_public);
                        if self.peek() == Some(Token::Punctuation(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    path.clear();
                }
                // `,` and `}` belong to the tree around this one.
                _ => {
                    self.at -= 1;
                    break;
                }
            }
        }
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        if let Some(last) = path.last().cloned() {
            self.add_use(module, Use { path, name: Some(name.unwrap_or(last)), is_public });
        }
    }

    fn add_use(&mut self, module: usize, import: Use) {
        self.modules.modules[module].uses.push(import);
    }

    /// Reads the rest of a path in the code, of which `first` was read.
    fn path(&mut self, module: usize, first: &str) {
        let is_member =
            matches!(self.before(), Some(Token::PathSeparator | Token::Punctuation('.')));
        let mut path = vec![first.to_owned()];
        while self.peek() == Some(Token::PathSeparator)
            && let Some(Token::Word(segment)) = self.tokens.get(self.at + 1)
        {
            path.push((*segment).to_owned());
            self.at += 2;
        }
        if !is_member {
            let module = &mut self.modules.modules[module];
            module.words.insert(first.to_owned());
            if path.len() > 1 {
                module.paths.push(path);
            }
        }
    }

    /// Reads the attribute after `#`; whether it is a `cfg` that only tests satisfy.
    fn attribute_is_for_tests(&mut self) -> bool {
        let start = self.at;
        if self.peek() == Some(Token::Punctuation('!')) {
            self.at += 1;
        }
        if self.peek() != Some(Token::Punctuation('[')) {
            return false;
        }
        self.skip_group();
        let words: Vec<_> = self.tokens[start..self.at]
            .iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(*word),
                _ => None,
            })
            .collect();
        words.first() == Some(&"cfg")
            && words.contains(&"test")
            && !words.contains(&"not")
            && !words.contains(&"any")
    }

    /// Skips the item, the field or the statement after an attribute.
    fn skip_item(&mut self) {
        while self.peek() == Some(Token::Punctuation('#')) {
            self.at += 1;
            self.skip_group();
        }
        let mut is_item = false;
        while let Some(token) = self.peek() {
            match token {
                Token::Word("use") => {
                    while self.next().is_some_and(|token| token != Token::Punctuation(';')) {}
                    return;
                }
                Token::Word("const" | "enum" | "fn" | "impl" | "mod" | "struct" | "trait") => {
                    is_item = true;
                    self.at += 1;
                }
                Token::Punctuation('{') => return self.skip_group(),
                Token::Punctuation('(' | '[') => self.skip_group(),
                Token::Punctuation('}') => return,
                Token::Punctuation(';') => {
                    self.at += 1;
                    return;
                }
                Token::Punctuation(',') if !is_item => return,
                _ => self.at += 1,
            }
        }
    }

    /// Skips everything from an opening bracket to the one that closes it.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            match token {
                Token::Punctuation('(' | '[' | '{') => depth += 1,
                Token::Punctuation(')' | ']' | '}') => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The imports of a crate with these files, each as `from -> to: names`.
    fn imports(files: &[(&str, &str)]) -> Vec<String> {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let names: Vec<_> = files.iter().map(|(name, _)| PathBuf::from(name)).collect();
        let imports = Crate::read(Path::new("lib.rs"), &read).imports();
        let between = imports.between(&names).into_iter().map(|(from, to, names)| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("{} -> {}: {}", from.display(), to.display(), names.join(", "))
        });
        between.collect()
    }

    #[test]
    fn a_name_is_imported_from_the_file_that_defines_it() {
        let files = [
            ("lib.rs", "mod policy; mod limit; pub use policy::Policy;"),
            ("policy/mod.rs", "mod builder; pub use self::builder::{Builder as Policy, build};"),
            ("policy/builder.rs", "pub struct Builder; pub const fn build() {}"),
            ("limit.rs", "use crate::Policy; use crate::policy::build;"),
        ];
        assert_eq!(imports(&files), ["limit.rs -> policy/builder.rs: Builder, build"]);
    }

    #[test]
    fn a_name_that_is_passed_on_by_a_glob_is_found() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod inner; pub use inner::*;"),
            ("a/inner.rs", "pub enum Deep {}"),
            ("b.rs", "use super::a::Deep;"),
        ];
        assert_eq!(imports(&files), ["b.rs -> a/inner.rs: Deep"]);
    }

    #[test]
    fn a_name_that_is_not_found_counts_for_the_module() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "generate! { pub struct Generated; }"),
            ("b.rs", "use crate::a::{self, Hidden}; fn f() { a::hidden() }"),
        ];
        assert_eq!(imports(&files), ["b.rs -> a/mod.rs: Hidden, hidden"]);
    }

    #[test]
    fn paths_in_the_code_are_imports() {
        let files = [
            ("lib.rs", "mod a; mod b; fn run() { a::start(); std::a::other(); }"),
            ("a.rs", "pub fn start() -> crate::b::B { super::b::B }"),
            ("b.rs", "use super::a; pub struct B; impl B { fn f(&self) { a::start(); } }"),
        ];
        assert_eq!(
            imports(&files),
            ["a.rs -> b.rs: B", "b.rs -> a.rs: start", "lib.rs -> a.rs: start"]
        );
    }

    #[test]
    fn neither_a_child_nor_a_name_passed_on_is_an_import() {
        let files = [
            ("lib.rs", "pub mod child; pub(crate) use child::Child; pub struct Parent;"),
            ("child.rs", "use super::Parent; pub struct Child(Parent);"),
        ];
        assert_eq!(imports(&files), ["child.rs -> lib.rs: Parent"]);
    }

    #[test]
    fn a_name_that_is_passed_on_and_used_is_an_import() {
        let files = [
            ("lib.rs", "mod child; pub use child::Child; fn f(child: Child) {}"),
            ("child.rs", "pub struct Child;"),
        ];
        assert_eq!(imports(&files), ["lib.rs -> child.rs: Child"]);
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        let files = [
            (
                "lib.rs",
                "mod a; mod b;
                #[cfg(test)]
                mod tests { use super::*; use crate::b::B; }
                #[cfg(test)]
                mod in_a_file;
                struct S { #[cfg(test)] b: crate::b::B, a: crate::a::A }",
            ),
            ("in_a_file.rs", "use crate::b::B;"),
            ("a.rs", "#[cfg(all(test, unix))] use crate::b::{B, C}; pub struct A;"),
            ("b.rs", "#[cfg(not(test))] use crate::a::A; pub struct B;"),
        ];
        assert_eq!(imports(&files), ["b.rs -> a.rs: A", "lib.rs -> a.rs: A"]);
    }

    #[test]
    fn modules_in_a_file_belong_to_the_file() {
        let files = [
            ("lib.rs", "mod a { pub struct A; pub mod deep { pub struct Deep; } mod child; }"),
            ("a/child.rs", "use super::{A, deep::Deep};"),
        ];
        assert_eq!(imports(&files), ["a/child.rs -> lib.rs: A, Deep"]);
    }

    #[test]
    fn an_exported_macro_is_imported_from_its_file() {
        let files = [
            ("lib.rs", "mod macros; mod a;"),
            ("macros.rs", "#[macro_export] macro_rules! truth { () => {} }"),
            ("a.rs", "crate::truth!();"),
        ];
        assert_eq!(imports(&files), ["a.rs -> macros.rs: truth"]);
    }

    #[test]
    fn a_name_of_another_crate_is_no_import() {
        let files = [
            ("lib.rs", "mod redis; mod http;"),
            ("redis.rs", "use redis::redis; pub struct Client;"),
            ("http.rs", "use redis::Client; use http::StatusCode;"),
        ];
        assert_eq!(imports(&files), [""; 0]);
    }
}
