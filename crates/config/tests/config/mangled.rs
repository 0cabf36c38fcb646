//! Any value anywhere in a file is read, and then shown as a file that can be read, or refused with
//! messages.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sluice_config::Loader;
use yaml_rust2::{Yaml, YamlLoader};

fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(entries) => entries
            .iter()
            .map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value)))
            .collect(),
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Integer(number) => json!(number),
        Yaml::Boolean(truth) => json!(truth),
        Yaml::Real(number) => json!(number.parse::<f64>().unwrap()),
        other => json!(other.as_str().unwrap()),
    }
}

/// The pointers to every value in `value`, itself included.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                pointers(
                    value,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                pointers(value, &format!("{at}/{i}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn any_value_anywhere_is_read_or_refused_with_one_line_for_each_error() {
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good/everything.yaml");
    let whole = to_json(&YamlLoader::load_from_str(&fs::read_to_string(good).unwrap()).unwrap()[0]);
    let mut places = Vec::new();
    pointers(&whole, "", &mut places);
    assert!(places.len() > 100);
    let strange = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("off"),
        json!("a\n{b}: [\u{0}ü"),
        json!([[], {}, 1, "x", null]),
        json!({}),
        json!({"": {"/": [1]}, "rate": "1/s", "burst": 1, "name": 7}),
    ];
    let folder = tempfile::tempdir().unwrap();
    let [file, again] = ["f.json", "again.yaml"].map(|name| folder.path().join(name));
    fs::create_dir(folder.path().join("secrets")).unwrap();
    fs::write(folder.path().join("secrets/pro"), "bob\n").unwrap();
    let (mut read, mut refused) = (0, 0);
    for place in &places {
        for value in &strange {
            let mut mangled = whole.clone();
            *mangled.pointer_mut(place).unwrap() = value.clone();
            fs::write(&file, mangled.to_string()).unwrap();
            let loader = Loader::new().file(&file).without_secrets();
            match loader.show() {
                Ok(shown) => {
                    read += 1;
                    fs::write(&again, &shown).unwrap();
                    let read = Loader::new().file(&again).without_secrets().load();
                    assert!(read.is_ok(), "{place} {value}: {}\n{shown}", read.unwrap_err());
                }
                Err(errors) => {
                    refused += 1;
                    assert_eq!(
                        errors.to_string().lines().count(),
                        errors.count(),
                        "{place} {value}: {errors}"
                    );
                }
            }
        }
    }
    assert!(read > 50 && refused > 1_000, "{read} {refused}");
}
