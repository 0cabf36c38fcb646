//! `docs/runbooks`: one page for each alert.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    programs::{files, read, root},
    prometheus::{alerts, recorded},
    promql::{Query, errors},
};

const DIRECTORY: &str = "docs/runbooks";
const INDEX: &str = "docs/runbooks/README.md";
const DASHBOARDS: &str = "deploy/grafana/dashboards";

/// The sections of each page, in their order.
const SECTIONS: [&str; 4] =
    ["What it means", "What to look at", "What to do", "How to know that it is over"];

fn names_of_alerts() -> BTreeSet<String> {
    alerts().iter().map(|alert| text(&alert["alert"]).to_owned()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} should be a string"))
}

/// Returns the paths of all pages.
fn pages() -> Vec<String> {
    files(DIRECTORY).into_iter().filter(|path| path != INDEX).collect()
}

/// Returns the lines of a page outside of fenced code.
fn prose(page: &str) -> Vec<&str> {
    let mut in_code = false;
    page.lines()
        .filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            in_code ^= is_fence;
            !in_code && !is_fence
        })
        .collect()
}

/// Returns the queries of a page: the lines of its blocks of PromQL.
fn queries(path: &str) -> Vec<Query> {
    let page = read(path);
    let blocks = page.split("```promql\n").skip(1);
    let lines = blocks.filter_map(|block| Some(block.split_once("```")?.0)).flat_map(str::lines);
    lines.map(|line| Query { source: path.to_owned(), expr: line.trim().to_owned() }).collect()
}

/// Returns the texts between pairs of `**`.
fn bold(page: &str) -> Vec<String> {
    let prose = prose(page).join(" ");
    prose.split("**").skip(1).step_by(2).map(str::to_owned).collect()
}

fn titles_of_panels() -> BTreeSet<String> {
    fn collect(value: &Value, titles: &mut BTreeSet<String>) {
        if let Some(panels) = value["panels"].as_array() {
            for panel in panels {
                titles.extend(panel["title"].as_str().map(str::to_owned));
                collect(panel, titles);
            }
        }
    }
    let mut titles = BTreeSet::new();
    for path in files(DASHBOARDS) {
        let dashboard = serde_json::from_str(&read(&path)).expect("a dashboard is JSON");
        collect(&dashboard, &mut titles);
    }
    titles
}

#[test]
fn every_alert_names_its_runbook() {
    for alert in alerts() {
        let page = format!("{DIRECTORY}/{}.md", text(&alert["alert"]));
        assert_eq!(alert["annotations"]["runbook_url"], page);
        assert!(root().join(&page).is_file(), "there is no {page}");
    }
}

#[test]
fn every_runbook_has_an_alert() {
    let alerts = names_of_alerts();
    let name = |path: &String| path.trim_end_matches(".md").rsplit('/').next().map(str::to_owned);
    let names: BTreeSet<String> = pages().iter().filter_map(name).collect();
    assert_eq!(names.difference(&alerts).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_index_links_to_every_runbook() {
    let index = read(INDEX);
    for name in names_of_alerts() {
        assert!(index.contains(&format!("]({name}.md)")), "{INDEX} does not link to {name}.md");
    }
}

#[test]
fn every_runbook_has_its_four_sections() {
    for path in pages() {
        let page = read(&path);
        let lines = prose(&page);
        assert_eq!(format!("{DIRECTORY}/{}.md", lines[0].trim_start_matches("# ")), path);
        let sections: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{path}");
        for parts in page.split("\n## ").skip(1) {
            assert!(parts.lines().skip(1).any(|line| !line.trim().is_empty()), "{path}: {parts}");
        }
        let steps = page.split_once("## What to do\n").expect("the section is there").1;
        assert!(steps.trim_start().starts_with("1. "), "{path}: the steps are numbered");
        assert!(steps.contains("Do not "), "{path} does not say what not to do");
    }
}

#[test]
fn the_queries_of_runbooks_are_valid() {
    let queries: Vec<Query> = pages().iter().flat_map(|path| queries(path)).collect();
    assert!(queries.len() > 20, "{}", queries.len());
    assert_eq!(errors(&queries, &recorded()), [""; 0]);
}

#[test]
fn runbooks_name_panels_that_exist() {
    let titles = titles_of_panels();
    let mut named = 0;
    for path in pages() {
        for panel in bold(&read(&path)) {
            assert!(titles.contains(&panel), "{path}: there is no panel `{panel}`");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}
