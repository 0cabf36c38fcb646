//! Reads the layers and makes settings of them.

use std::{
    ffi::OsString,
    fmt,
    path::{Path as FilePath, PathBuf},
};

use config::{Map, Value};

use super::{
    document::{Document, Format},
    environment,
    error::{ConfigError, ConfigErrors},
    files::{Contents, Files},
    layers::{SparseLayer, merge},
    origin::Origin,
    path::Path,
    read,
    reader::Reading,
    settings::Settings,
    show::show,
    watch::Watcher,
};

/// The built-in defaults: the lowest layer.
const DEFAULTS: &str = include_str!("defaults.yaml");

/// Where settings are read from: the layers above the built-in defaults. Asks nothing of the
/// process itself, so tests can say everything.
#[derive(Clone, Default)]
pub struct Loader {
    file: FileChoice,
    variables: Vec<(OsString, OsString)>,
    flags: Vec<FlagValue>,
    without_secrets: bool,
}

#[derive(Clone, Debug, Default)]
enum FileChoice {
    #[default]
    None,
    Required(PathBuf),
    IfPresent(PathBuf),
}

/// One flag of the command line that sets a value.
#[derive(Clone)]
struct FlagValue {
    name: &'static str,
    path: &'static [&'static str],
    value: String,
}

/// A configuration that was read: what it says, and what it was made of.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings, or every mistake.
    pub(crate) result: Result<Settings, ConfigErrors>,
    /// The merged tree, each value with its origin.
    pub(crate) tree: Value,
    /// What was in the files.
    pub(crate) contents: Contents,
}

impl Loader {
    /// The built-in defaults alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the file at `path`; it must exist. Its extension tells its format: `.yaml`, `.yml`,
    /// `.toml` or `.json`.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = FileChoice::Required(path.into());
        self
    }

    /// Adds the file at `path` when it exists.
    #[must_use]
    pub fn file_if_present(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = FileChoice::IfPresent(path.into());
        self
    }

    /// Adds environment variables; those that do not begin with `SLUICE__` are not ours.
    #[must_use]
    pub fn variables(
        mut self,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Self {
        self.variables
            .extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds the flag `name` (with its dashes), which sets the value at `path`.
    #[must_use]
    pub fn flag(
        mut self,
        name: &'static str,
        path: &'static [&'static str],
        value: impl Into<String>,
    ) -> Self {
        self.flags.push(FlagValue { name, path, value: value.into() });
        self
    }

    /// Leaves the files alone that hold secrets: they are on the machine that serves, and perhaps
    /// not on the one that checks.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.without_secrets = true;
        self
    }

    /// Reads everything, for a process that is to notice when it changes.
    ///
    /// # Errors
    /// Every mistake in any layer.
    pub fn load_and_watch(&self) -> Result<(Settings, Watcher), ConfigErrors> {
        let loaded = self.load_all();
        let settings = loaded.result?;
        let watcher = Watcher::new(self.clone(), loaded.contents, &settings);
        Ok((settings, watcher))
    }

    /// Everything that was read as YAML that can be read back, beside each value who said it.
    /// Secrets are masked, clients' keys left out.
    ///
    /// # Errors
    /// Every mistake in any layer.
    pub fn show(&self) -> Result<String, ConfigErrors> {
        let loaded = self.load_all();
        loaded.result.map(|_| show(&loaded.tree))
    }

    /// From when on a file was seen, it has to be there: one that is removed while it is in force
    /// says nothing about what should hold instead.
    pub(super) fn with_file_required_once_seen(mut self, contents: &Contents) -> Self {
        if let FileChoice::IfPresent(path) = &self.file
            && contents.holds(path)
        {
            self.file = FileChoice::Required(path.clone());
        }
        self
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Every mistake in any layer.
    pub fn load(&self) -> Result<Settings, ConfigErrors> {
        self.load_all().result
    }

    /// Reads everything, and says what it was made of.
    pub(crate) fn load_all(&self) -> Loaded {
        let files = if self.without_secrets { Files::without_secrets() } else { Files::default() };
        let defaults = Document::parse(Format::Yaml, &Origin::BuiltIn, DEFAULTS);
        let (file, values) = self.read_file(&files);
        let (variables, wrong_variables) = environment::read(&self.variables);
        let (flags, wrong_flags) = self.read_flags();
        let sections: Vec<&str> = defaults.values.keys().map(String::as_str).collect();
        let mut warnings = environment::misspelt(&self.variables, &sections);

        let mut mistakes = defaults.mistakes;
        mistakes.extend(values.mistakes);
        mistakes.extend(wrong_variables);
        mistakes.extend(wrong_flags);

        let tree = Value::new(None, merge([defaults.values, values.values, variables, flags]));
        let reading = Reading::new(file.unwrap_or(Origin::BuiltIn));
        let settings = read::settings(&reading.root(&tree), &files);
        let (more_mistakes, more_warnings) = reading.finish();
        mistakes.extend(more_mistakes);
        warnings.extend(more_warnings);
        let result = match ConfigErrors::from_mistakes(mistakes) {
            Some(errors) => Err(errors),
            None => {
                Ok(Settings { warnings, ..settings.expect("a reading without mistakes is whole") })
            }
        };
        Loaded { result, tree, contents: files.into_contents() }
    }

    fn read_file(&self, files: &Files) -> (Option<Origin>, Document) {
        let nothing = |mistakes| Document { values: Map::new(), mistakes };
        let (path, must_exist) = match &self.file {
            FileChoice::None => return (None, nothing(Vec::new())),
            FileChoice::Required(path) => (path, true),
            FileChoice::IfPresent(path) => (path, false),
        };
        let origin = Origin::File(path.to_string_lossy().into_owned());
        let refused = |message| {
            nothing(vec![ConfigError { origin: origin.clone(), path: Path::root(), message }])
        };
        let Some(format) = Format::of(path) else {
            let document = refused(
                "the name tells the format: let it end in `.yaml`, `.yml`, `.toml` or `.json`"
                    .to_owned(),
            );
            return (Some(origin), document);
        };
        match files.read_text(path) {
            Ok(text) => {
                let document = Document::parse(format, &origin, &text);
                (Some(origin), document)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                (None, nothing(Vec::new()))
            }
            Err(error) => {
                let document = refused(format!("the file cannot be read: {error}"));
                (Some(origin), document)
            }
        }
    }

    fn read_flags(&self) -> (Map<String, Value>, Vec<ConfigError>) {
        let mut layer = SparseLayer::default();
        for FlagValue { name, path, value } in &self.flags {
            let origin = Origin::Flag((*name).to_owned());
            let segments: Vec<String> = path.iter().map(|&segment| segment.to_owned()).collect();
            match environment::read_value(&origin, &segments, value) {
                Ok(value) => layer.put(&segments, &origin, value),
                Err(mistakes) => layer.refuse_all(mistakes),
            }
        }
        layer.finish()
    }
}

impl fmt::Debug for Loader {
    /// Leaves out what variables and flags say, for it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<&str> = self.flags.iter().map(|flag| flag.name).collect();
        f.debug_struct("Loader")
            .field("file", &self.file)
            .field("flags", &flags)
            .finish_non_exhaustive()
    }
}

/// The place that relative paths in `origin` start from: a file's own folder, or the working
/// directory.
pub(crate) fn base_of(origin: &Origin) -> &FilePath {
    match origin {
        Origin::File(name) => FilePath::new(name).parent().unwrap_or(FilePath::new("")),
        Origin::BuiltIn | Origin::Variable(_) | Origin::Flag(_) => FilePath::new(""),
    }
}
