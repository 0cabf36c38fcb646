//! Reads all layers, and the settings from them.

use std::{
    cell::RefCell, collections::HashMap, ffi::OsString, fmt, io, net::SocketAddr, path::PathBuf,
};

use config::{Map, Value, ValueKind};

use crate::{
    document::{Document, Format, SyntaxError},
    environment,
    error::{ConfigErrors, ErrorLog},
    files::{Contents, Files},
    keys::Keys,
    layers::{self, SparseLayer, merge},
    origin::Origin,
    path::Path,
    read,
    reader::{Fixed, Hidden, Reading},
    rules_file,
    schema::Observed,
    settings::Settings,
    show::show,
    strays,
};

/// The built-in defaults: the lowest layer.
const DEFAULTS: &str = include_str!("defaults.yaml");

/// What the schema is made from: together they contain every key, in every form.
const EXAMPLES: [&str; 7] = [
    DEFAULTS,
    include_str!("../tests/config/good/everything.yaml"),
    include_str!("forms.yaml"),
    "defaults: 60",
    "rls: { files: edge.yaml, overrun: auto }",
    "clients: { unverified: { per_ip: { rate: 600/minute, burst: 5 } } }",
    "clients: { unverified: { per_ip: { requests_per_minute: 600, burst_size: 5 } } }",
];

/// The layers above the built-in defaults, from which settings are read. It gets the variables and
/// flags as values, so that tests need no environment.
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

/// A flag of the command line that sets a value.
#[derive(Clone)]
struct FlagValue {
    name: &'static str,
    path: &'static [&'static str],
    value: String,
}

/// A configuration that was read, and all that was found out about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings, or every error.
    pub(crate) result: Result<Settings, ConfigErrors>,
    /// The merged tree, each value with its origin.
    pub(crate) tree: Value,
    /// The values that are not shown.
    pub(crate) hidden: HashMap<Path, Hidden>,
    /// The settings that a reload cannot change.
    pub(crate) fixed: Fixed,
    /// The content of the files.
    pub(crate) contents: Contents,
}

/// The layers as one tree.
struct Merged {
    /// The origin of the tree's root.
    root: Origin,
    tree: Value,
    /// The built-in endpoints that the file's replace.
    replaced_endpoints: Vec<String>,
}

impl Loader {
    /// Creates a loader of the built-in defaults alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the file at `path`; it must exist. Its extension names its format: `.yaml`, `.yml`,
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

    /// Adds environment variables; only those that begin with `SLUICE__` are read.
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

    /// Leaves files with secrets alone: they are on the machine that serves, and perhaps not on the
    /// one that checks the configuration.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.without_secrets = true;
        self
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// Every error in any layer.
    pub fn load(&self) -> Result<Settings, ConfigErrors> {
        self.load_all().result
    }

    /// Returns the merged configuration as YAML that can be read again, with a comment beside each
    /// value that names its origin. Secrets are masked, and clients' keys left out.
    ///
    /// # Errors
    /// Every error in any layer.
    pub fn show(&self) -> Result<String, ConfigErrors> {
        let Loaded { result, tree, hidden, .. } = self.load_all();
        result.map(|_| show(&tree, &hidden))
    }

    /// Returns the file, if `contents` holds it.
    pub(crate) fn file_in(&self, contents: &Contents) -> Option<&std::path::Path> {
        match &self.file {
            FileChoice::Required(path) | FileChoice::IfPresent(path) => {
                contents.holds(path).then_some(path)
            }
            FileChoice::None => None,
        }
    }

    /// Returns the JSON Schema of a configuration file. It is made by reading examples, which
    /// contain every key in every form, and noting what is looked for.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        let observed = RefCell::new(Observed::default());
        for example in EXAMPLES {
            let (errors, warnings) = (ErrorLog::default(), ErrorLog::default());
            let values = document(Format::Yaml.parse(example), &Origin::BuiltIn, &errors);
            let tree = Value::new(None, ValueKind::Table(values));
            let files = Files::without_secrets();
            let reading = Reading::new(Origin::BuiltIn, &errors, &warnings).observed_by(&observed);
            // Errors do not matter: an example names files that are not here.
            let _settings = read::settings(&reading.root(&tree), &files);
        }
        observed.into_inner().into_schema()
    }

    /// Requires the file if it was there: when it is removed later, nothing says what should hold
    /// in its place.
    pub(crate) fn with_file_required_once_seen(mut self, contents: &Contents) -> Self {
        if let FileChoice::IfPresent(path) = &self.file
            && contents.holds(path)
        {
            self.file = FileChoice::Required(path.clone());
        }
        self
    }

    /// Returns where the HTTP port listens, also if other parts of the configuration have errors;
    /// `None` if this one has.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        let (errors, warnings) = (ErrorLog::default(), ErrorLog::default());
        let Merged { root, tree, .. } = self.merge(&Files::default(), &errors, &warnings);
        read::http_address(&Reading::new(root, &errors, &warnings).root(&tree))
    }

    /// Returns where the value at `path`, such as `listen.tls.key`, was written, or else the table
    /// that it is missing from. For messages about what a value leads to: it reads the layers
    /// again.
    #[must_use]
    pub fn origin_of(&self, path: &str) -> Origin {
        let (errors, warnings) = (ErrorLog::default(), ErrorLog::default());
        let Merged { root, tree, .. } = self.merge(&Files::default(), &errors, &warnings);
        let mut origin = root;
        let mut value = &tree;
        for key in path.split('.') {
            let ValueKind::Table(table) = &value.kind else { break };
            let Some(inner) = table.get(key) else { break };
            value = inner;
            origin = layers::first_origin(value).unwrap_or(origin);
        }
        origin
    }

    /// Reads everything, and returns all that was found out.
    pub(crate) fn load_all(&self) -> Loaded {
        let files = if self.without_secrets { Files::without_secrets() } else { Files::default() };
        let (errors, warnings) = (ErrorLog::default(), ErrorLog::default());
        let Merged { root, tree, replaced_endpoints } = self.merge(&files, &errors, &warnings);
        let reading = Reading::new(root, &errors, &warnings);
        let settings = read::settings(&reading.root(&tree), &files);
        let (hidden, fixed) = reading.finish();
        let warnings = warnings.into_errors().into_warnings();
        let result = errors.finish(settings).map(|settings| Settings {
            warnings,
            replaced_endpoints,
            ..settings
        });
        Loaded { result, tree, hidden, fixed, contents: files.into_contents() }
    }

    /// Reads all layers, and merges them.
    fn merge(&self, files: &Files, errors: &ErrorLog, warnings: &ErrorLog) -> Merged {
        let mut defaults = document(Format::Yaml.parse(DEFAULTS), &Origin::BuiltIn, errors);
        let (root, file) = self.read_file(files, errors);
        let replaced_endpoints = replace_endpoints(&mut defaults, &file);
        let keys = if strays::has_any_of_ours(&self.variables) {
            Keys::new(read::keys())
        } else {
            Keys::default()
        };
        strays::refuse(&self.variables, &keys, errors, warnings);
        let variables = environment::read(&self.variables, &keys, errors);
        let flags = self.read_flags(errors);

        let tree = Value::new(None, merge(vec![defaults, file, variables, flags]));
        Merged { root, tree, replaced_endpoints }
    }

    /// Reads the file, and returns what is the origin of the root.
    fn read_file(&self, files: &Files, errors: &ErrorLog) -> (Origin, Map<String, Value>) {
        let nothing = || (Origin::BuiltIn, Map::new());
        let (path, is_required) = match &self.file {
            FileChoice::None => return nothing(),
            FileChoice::Required(path) => (path, true),
            FileChoice::IfPresent(path) => (path, false),
        };
        let origin = Origin::file(path.to_string_lossy());
        let refuse = |message: String| errors.refuse(|| origin.clone(), Path::root, || message);
        let Some(format) = Format::of(path) else {
            refuse(
                "the extension names the format: use `.yaml`, `.yml`, `.toml` or `.json`"
                    .to_owned(),
            );
            return (origin, Map::new());
        };
        let values = match files.read_text(path) {
            Ok(text) => {
                let parsed = format.parse(&text);
                if parsed.as_ref().is_ok_and(rules_file::holds_rules) {
                    refuse(rules_file::REMEDY.to_owned());
                    return (origin, Map::new());
                }
                document(parsed, &origin, errors)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_required => {
                return nothing();
            }
            Err(error) => {
                refuse(format!("the file cannot be read: {error}"));
                Map::new()
            }
        };
        (origin, values)
    }

    fn read_flags(&self, errors: &ErrorLog) -> Map<String, Value> {
        let mut layer = SparseLayer::default();
        for FlagValue { name, path, value } in &self.flags {
            let origin = Origin::Flag((*name).to_owned());
            let segments: Vec<String> = path.iter().map(|&segment| segment.to_owned()).collect();
            if let Ok(value) = environment::read_value(&origin, &segments, value, errors) {
                layer.put(&segments, &origin, value, errors);
            }
        }
        layer.finish()
    }
}

/// Removes the built-in endpoints when the file has some of its own, and returns the paths that no
/// longer have a limit of their own. Variables and flags change what then stands.
fn replace_endpoints(defaults: &mut Map<String, Value>, file: &Map<String, Value>) -> Vec<String> {
    const ENDPOINTS: &str = "endpoints";
    let Some(own) = file.get(ENDPOINTS) else { return Vec::new() };
    let built_in = defaults.remove(ENDPOINTS).and_then(|table| table.into_table().ok());
    defaults.insert(ENDPOINTS.to_owned(), Value::new(None, Map::<String, Value>::new()));
    let is_kept = |path: &str| matches!(&own.kind, ValueKind::Table(own) if own.contains_key(path));
    let mut gone: Vec<String> = built_in.unwrap_or_default().into_keys().collect();
    gone.retain(|path| !is_kept(path));
    gone.sort();
    gone
}

/// Returns the values of a document, which must be a table.
fn document(
    parsed: Result<Document, SyntaxError>,
    origin: &Origin,
    errors: &ErrorLog,
) -> Map<String, Value> {
    let refuse = |line, message: &str| {
        errors.refuse(|| origin.at_line(line), Path::root, || message.to_owned());
    };
    let document = match parsed {
        Ok(document) => document,
        Err(SyntaxError { line, message }) => {
            refuse(line, &message);
            return Map::new();
        }
    };
    if let Some(line) = document.second {
        refuse(line, "a file holds one document: remove what follows `---`");
    }
    match layers::values(&document.root, origin, errors).kind {
        ValueKind::Table(values) => values,
        // A file in which everything is commented out.
        ValueKind::Nil => Map::new(),
        _ => {
            refuse(
                document.root.line,
                "a configuration is a table of settings, as in `store: { url: \"memory://\" }`",
            );
            Map::new()
        }
    }
}

impl fmt::Debug for Loader {
    /// Leaves out the values of variables and flags, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<&str> = self.flags.iter().map(|flag| flag.name).collect();
        f.debug_struct("Loader")
            .field("file", &self.file)
            .field("flags", &flags)
            .finish_non_exhaustive()
    }
}
