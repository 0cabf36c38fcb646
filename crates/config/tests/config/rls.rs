//! Files of Envoy's rate limit service as people write them: those in `rls/good` are read, those in
//! `rls/warned` are read with warnings, and those in `rls/bad`, named after their error, are
//! refused with exactly the messages that they begin with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sluice_config::{
    ConfigErrors, Loader, RlsSettings, Settings,
    rls::{Allowance, Descriptor, Limit, Overrun, Unit},
};

use crate::fixtures;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/rls")
}

fn files_of(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Loads a configuration whose section `rls` is this YAML.
fn load(rls: &str) -> Result<Settings, ConfigErrors> {
    Loader::new().flag("--rls", &["rls"], rls).load()
}

fn files(files: &[&Path]) -> String {
    let names: Vec<String> = files.iter().map(|file| format!("'{}'", file.display())).collect();
    format!("{{ files: [{}] }}", names.join(", "))
}

fn good(rls: &str) -> RlsSettings {
    load(rls).unwrap().rls.unwrap()
}

/// Messages without the name of the folder.
fn without_folder(text: &str) -> Vec<String> {
    let folder = folder().display().to_string();
    text.lines().map(|line| line.replace(&format!("{folder}/"), "")).collect()
}

/// The messages that `file` begins with.
fn expected(file: &Path, word: &str) -> Vec<String> {
    let name = file.strip_prefix(folder()).unwrap().display().to_string();
    let messages = fixtures::expected(&name, &fs::read_to_string(file).unwrap(), word);
    assert!(!messages.is_empty(), "{name} does not begin with `# {word}: ` and what is wrong");
    messages
}

#[test]
fn every_good_file_is_read() {
    for file in files_of("good") {
        let settings = load(&files(&[&file])).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(settings.warnings, [], "{}", file.display());
        assert_eq!(settings.rls.unwrap().domains.len(), 1);
    }
}

#[test]
fn every_bad_file_is_refused_with_the_messages_it_begins_with() {
    for file in files_of("bad") {
        let errors = load(&files(&[&file])).expect_err(&file.display().to_string());
        assert_eq!(
            without_folder(&errors.to_string()),
            expected(&file, "refused"),
            "{}",
            file.display()
        );
    }
}

#[test]
fn every_warned_file_is_read_with_the_warnings_it_begins_with() {
    for file in files_of("warned") {
        let settings = load(&files(&[&file])).unwrap_or_else(|errors| panic!("{errors}"));
        let warnings: Vec<String> = settings
            .warnings
            .iter()
            .flat_map(|warning| without_folder(&warning.to_string()))
            .collect();
        assert_eq!(warnings, expected(&file, "warned"), "{}", file.display());
    }
}

#[test]
fn the_page_about_these_files_shows_a_good_one_and_messages_as_they_are() {
    let page = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rate-limit-service.md"),
    )
    .unwrap();
    let block = |kind: &str| {
        page.split_once(&format!("```{kind}\n")).unwrap().1.split_once("```").unwrap().0
    };
    let (_folder, pattern) = written(&[("edge.yaml", block("yaml"))]);
    let settings = load(&format!("{{ files: [{pattern}] }}")).unwrap();
    assert_eq!(
        (settings.warnings, settings.rls.unwrap().domains[0].descriptors.len()),
        (Vec::new(), 6)
    );

    // `edge.yaml:3: descriptors[0].key: message`: places differ, messages do not.
    let message = |line: &str| line.splitn(3, ": ").nth(2).unwrap().to_owned();
    let known: Vec<String> = files_of("bad")
        .iter()
        .flat_map(|file| expected(file, "refused"))
        .map(|line| message(&line))
        .collect();
    for line in
        block("text").lines().filter(|line| !line.contains("domain: `edge` is already taken by"))
    {
        assert!(known.contains(&message(line)), "{line}");
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let settings = good(&files(&[&folder().join("good/everything.yaml")]));
    let [domain] = settings.domains.as_slice() else { panic!("one domain") };
    assert_eq!(domain.name, "edge");
    assert!(!settings.response_headers, "off, as in envoyproxy/ratelimit");
    let allowance = |requests, unit| Allowance::PerUnit { requests, unit };
    let partner = &domain.descriptors[1];
    assert_eq!((partner.key.as_str(), partner.value.as_deref()), ("api_key", Some("partner")));
    let replaces = vec!["everybody".to_owned(), "nobody".to_owned()];
    assert_eq!(
        partner.limit,
        Some(Limit {
            name: "partner".to_owned(),
            replaces,
            allowance: allowance(1_000, Unit::Second),
            overrun: Overrun::Auto,
        })
    );
    let allowances: Vec<_> = domain
        .descriptors
        .iter()
        .map(|descriptor| descriptor.limit.as_ref().map(|limit| limit.allowance))
        .collect();
    let expected = [
        Some(allowance(60, Unit::Minute)),
        Some(allowance(1_000, Unit::Second)),
        Some(Allowance::Unlimited),
        Some(allowance(0, Unit::Hour)),
        Some(allowance(16, Unit::Day)),
        None,
        Some(allowance(u32::MAX, Unit::Year)),
        None,
    ];
    assert_eq!(allowances, expected);
    let values: Vec<_> =
        domain.descriptors.iter().map(|descriptor| descriptor.value.as_deref()).collect();
    assert_eq!(values[4..], [Some("/api/*/files/*"), None, Some("2026"), Some("yes")]);

    let Descriptor { share_threshold, detailed_metric, shadow_mode, value_to_metric, .. } =
        domain.descriptors[4];
    assert!(share_threshold && detailed_metric && !shadow_mode && !value_to_metric);
    let method = &domain.descriptors[5].descriptors[0];
    assert!(domain.descriptors[5].value_to_metric && method.shadow_mode && !method.quota_mode);
    let size = &method.descriptors[0];
    assert!(size.quota_mode && !size.shadow_mode);
    let metadata = serde_json::json!({
        "names": ["a", 1, 1.5, true, null],
        "unknown": { "key": { "5": "x" } },
    });
    assert_eq!(serde_json::Value::from(size.metadata.clone()), metadata);
}

#[test]
fn texts_stay_as_they_are_written() {
    let settings = good(&files(&[&folder().join("good/values_like_other_types.yaml")]));
    let values: Vec<_> = settings.domains[0]
        .descriptors
        .iter()
        .map(|descriptor| descriptor.value.as_deref())
        .collect();
    assert_eq!(
        values,
        [Some("1.5"), Some("50.0.0.5"), Some("007"), Some("2001-12-14"), Some("yes"), None]
    );
    assert_eq!(settings.domains[0].descriptors[5].key, "on");
}

#[test]
fn anchors_and_merges_are_written_out() {
    let settings = good(&files(&[&folder().join("good/anchors.yaml")]));
    let requests = |descriptor: &Descriptor| match descriptor.limit.as_ref().unwrap().allowance {
        Allowance::PerUnit { requests, unit: Unit::Hour } => requests,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        settings.domains[0].descriptors.iter().map(requests).collect::<Vec<_>>(),
        [10, 10, 20]
    );
}

/// A folder with files of this content, and what `rls` says to read them all.
fn written(contents: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in contents {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let pattern = format!("'{}/*.yaml'", folder.path().display());
    (folder, pattern)
}

#[test]
fn a_pattern_names_files_in_order_and_no_hidden_ones() {
    let contents = [
        ("b.yaml", "domain: b"),
        ("a.yaml", "domain: a"),
        (".c.yaml", "domain: c"),
        ("d.yml", "domain: d"),
    ];
    let (_folder, pattern) = written(&contents);
    let names =
        |rls: &str| good(rls).domains.into_iter().map(|domain| domain.name).collect::<Vec<_>>();
    assert_eq!(names(&format!("{{ files: [{pattern}] }}")), ["a", "b"]);
    assert_eq!(names(&format!("{{ files: {pattern} }}")), ["a", "b"], "one pattern needs no list");
    assert_eq!(
        names(&format!("{{ files: [{pattern}, {pattern}] }}")),
        ["a", "b"],
        "each file is read once"
    );
}

#[test]
fn a_pattern_starts_at_the_file_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("[limits]")).unwrap();
    fs::write(folder.path().join("[limits]/a.yaml"), "domain: a").unwrap();
    fs::write(folder.path().join("[limits]/sluice.yaml"), "rls: { files: ['?.yaml'] }").unwrap();
    let settings = Loader::new().file(folder.path().join("[limits]/sluice.yaml")).load().unwrap();
    assert_eq!(settings.rls.unwrap().domains[0].name, "a");
}

#[test]
fn a_domain_of_two_files_is_refused_unless_they_may_be_merged() {
    let contents = [
        ("1.yaml", "{domain: a, descriptors: [{key: x}]}"),
        ("2.yaml", "{domain: a, descriptors: [{key: y}]}"),
    ];
    let (folder, pattern) = written(&contents);
    let errors = load(&format!("{{ files: [{pattern}] }}")).unwrap_err().to_string();
    let at = folder.path().display();
    assert_eq!(
        errors,
        format!(
            "{at}/2.yaml:1: domain: `a` is already taken by {at}/1.yaml:1: join the files, or set \
             `merge_domains: true`"
        )
    );
    let merged = good(&format!("{{ files: [{pattern}], merge_domains: true }}"));
    let keys: Vec<_> =
        merged.domains[0].descriptors.iter().map(|descriptor| descriptor.key.as_str()).collect();
    assert_eq!((merged.domains.len(), keys), (1, vec!["x", "y"]));
}

#[test]
fn merged_files_cannot_have_the_same_descriptor() {
    let contents = [
        ("1.yaml", "{domain: a, descriptors: [{key: x, value: v}]}"),
        ("2.yaml", "{domain: a, descriptors: [{key: x, value: v}]}"),
    ];
    let (folder, pattern) = written(&contents);
    let errors =
        load(&format!("{{ files: [{pattern}], merge_domains: true }}")).unwrap_err().to_string();
    let at = folder.path().display();
    assert_eq!(
        errors,
        format!(
            "{at}/2.yaml:1: descriptors[0]: `x` with value `v` is already taken by descriptors[0] \
             in {at}/1.yaml:1, since key and value joined by `_` are the same text: keep one"
        )
    );
}

#[test]
fn files_that_are_not_there_or_not_named_are_refused() {
    let error = |rls: &str| load(rls).unwrap_err().to_string();
    assert_eq!(
        error("{ files: [none/*.yaml] }"),
        "--rls: rls.files[0]: `none/*.yaml` names no file: correct it, or put the files there"
    );
    assert_eq!(
        error("{}"),
        "--rls: rls.files: is missing: name the files, as in `[ratelimit/*.yaml]`"
    );
    assert!(
        error("{ files: ['a***'] }")
            .starts_with("--rls: rls.files[0]: `a***` is not a pattern for files: ")
    );
    assert!(error("{ files: [a], headers: off }").contains("rls.headers: unknown key"));
}

#[test]
fn what_happens_to_an_overrun_is_said_for_all_for_a_domain_or_for_a_rule() {
    const A: &str = "{domain: a, descriptors: [{key: x, rate_limit: {unit: day}, \
         descriptors: [{key: y, value: z, rate_limit: {unit: day}}]}]}";
    const B: &str = "{domain: b, descriptors: [{key: x, rate_limit: {unit: day}}]}";
    let (_folder, pattern) = written(&[("a.yaml", A), ("b.yaml", B)]);
    let read = |overrun: &str| {
        let domains = good(&format!("{{ files: [{pattern}], {overrun} }}")).domains;
        let of = |descriptor: &Descriptor| descriptor.limit.as_ref().unwrap().overrun;
        let a = &domains[0].descriptors[0];
        [of(a), of(&a.descriptors[0]), of(&domains[1].descriptors[0])]
    };
    let (auto, debt, none) = (Overrun::Auto, Overrun::Debt, Overrun::None);
    assert_eq!(read(""), [auto; 3]);
    assert_eq!(read("overrun: none"), [none; 3]);
    assert_eq!(read("overrun: { default: debt }"), [debt; 3]);
    assert_eq!(read("overrun: { domains: { a: debt } }"), [debt, debt, auto]);
    let rule = "overrun: { default: none, domains: { a: debt }, rules: { a.x.y_z: auto } }";
    assert_eq!(read(rule), [debt, auto, none]);

    let refused = |overrun: &str| {
        let rls = format!("{{ files: [{pattern}], overrun: {overrun} }}");
        load(&rls).unwrap_err().to_string().replace("--rls: rls.overrun", "")
    };
    assert_eq!(
        refused("past_zero"),
        ": `past_zero` is not possible: write `auto`, `debt` or `none`"
    );
    assert_eq!(
        refused("{ domains: { c: debt }, rules: { a.x.y_zz: debt, q: none } }"),
        ".domains.c: no file has the domain `c`: remove the key\n\
         .rules[\"a.x.y_zz\"]: no file has the rule `a.x.y_zz`: did you mean `a.x.y_z`?\n\
         .rules.q: no file has the rule `q`: remove the key"
    );
    assert!(refused("{ rule: {} }").contains(".rule: unknown key: did you mean `rules`?"));
}
