//! For tests: the page that lists every metric, of which each component's tests write their section, or find it to be untrue.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The page, as a link from here.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

/// The command that writes it.
const BLESS: &str =
    "PORTSIDE_BLESS=1 scripts/with-v8 cargo test --workspace metrics_are_those_of_the_page";

/// A label of a metric of ours has no more values than this. What has more names something that there may be any number of.
const MOST_VALUES: usize = 100;

/// So many values are all listed.
const LISTED: usize = 12;

/// A metric as it is scraped.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    name: String,
    kind: String,
    unit: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Compares the section of `docs/metrics.md` about a component with the metrics that it has; with `PORTSIDE_BLESS` it writes it
/// anew.
///
/// # Panics
/// They differ, a metric does not follow the rules, or the page has no such section.
pub fn check_page(component: &str, metrics: &Registry) {
    let mut scraped = String::new();
    encode(&mut scraped, metrics).expect("metrics can be written");
    let (path, section) = (Path::new(PAGE), section(&parse(&scraped)));
    let page = std::fs::read_to_string(path).expect("docs/metrics.md is there");
    let wanted = with_section(&page, component, &section);
    if std::env::var_os("PORTSIDE_BLESS").is_some() {
        std::fs::write(path, wanted).expect("docs/metrics.md can be written");
        return;
    }
    assert!(
        page == wanted,
        "docs/metrics.md is not true of {component}: {BLESS}"
    );
}

/// The page with another text between the lines that begin and end the section.
fn with_section(page: &str, component: &str, section: &str) -> String {
    let (begin, end) = (
        format!("<!-- {component}: from here -->\n"),
        format!("<!-- {component}: to here -->"),
    );
    let (before, rest) = page.split_once(&begin).expect("the section begins");
    let (_, after) = rest.split_once(&end).expect("the section ends");
    format!("{before}{begin}\n{section}\n{end}{after}")
}

/// What OpenMetrics text says.
fn parse(text: &str) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = vec![];
    for line in text.lines().filter(|line| *line != "# EOF") {
        let described = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(' '));
        if let Some(("HELP", rest)) = described {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            metrics.push(Metric {
                name: name.to_owned(),
                help: help.trim_end_matches('.').to_owned(),
                ..Metric::default()
            });
            continue;
        }
        let metric = metrics.last_mut().expect("a text comes before all else");
        match described {
            Some(("TYPE", rest)) => metric.kind = last_word(rest),
            Some(("UNIT", rest)) => metric.unit = last_word(rest),
            _ => note_labels(metric, line),
        }
    }
    metrics
}

fn last_word(text: &str) -> String {
    text.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// No value has a quotation mark in it, for each is a word of the program.
fn note_labels(metric: &mut Metric, sample: &str) {
    let Some((_, rest)) = sample.split_once('{') else {
        return;
    };
    let (labels, _) = rest.rsplit_once('}').expect("labels end");
    for label in labels.split("\",").filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once("=\"").expect("a label and its value");
        if name != "le" {
            let values = metric.labels.entry(name.to_owned()).or_default();
            values.insert(value.trim_end_matches('"').to_owned());
        }
    }
}

fn section(metrics: &[Metric]) -> String {
    let mut text =
        String::from("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    let mut sorted: Vec<&Metric> = metrics.iter().collect();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for metric in sorted {
        let Metric {
            name,
            kind,
            unit,
            help,
            ..
        } = metric;
        let total = if kind == "counter" { "_total" } else { "" };
        let has_unit = name.ends_with("_seconds") || name.ends_with("_bytes");
        assert!(!has_unit || !unit.is_empty(), "{name} says no unit");
        assert!(!help.is_empty(), "{name} says nothing");
        let labels = labels(metric);
        writeln!(
            text,
            "| `{name}{total}` | {kind} | {unit} | {labels} | {help} |"
        )
        .expect("texts take all");
    }
    text
}

fn labels(metric: &Metric) -> String {
    let labels = metric.labels.iter().map(|(label, values)| {
        let count = values.len();
        assert!(
            count <= MOST_VALUES,
            "{}: there are {count} {label}",
            metric.name
        );
        let shown: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        match &shown[..] {
            [first, .., last] if count > LISTED => {
                format!("`{label}`: {first} to {last}, {count} in all")
            }
            all => format!("`{label}`: {}", all.join(", ")),
        }
    });
    labels.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Unit;

    use super::*;

    #[test]
    fn a_section_has_what_is_scraped() {
        let mut registry = Registry::with_prefix("it");
        let family = Family::<Vec<(String, String)>, Counter>::default();
        for value in ["b", "a"] {
            let labels = vec![
                ("of".to_owned(), value.to_owned()),
                ("to".into(), "c".into()),
            ];
            family.get_or_create(&labels).inc();
        }
        registry.register("things", "Things, by what they are of", family);
        let took = Histogram::new([1.0]);
        took.observe(0.5);
        registry.register_with_unit("duration", "How long", Unit::Seconds, took);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let rows: Vec<_> = parse(&text)
            .iter()
            .map(|it| section(std::slice::from_ref(it)))
            .collect();
        let row = |text: &str| text.lines().last().unwrap().to_owned();
        assert_eq!(
            rows.iter().map(|text| row(text)).collect::<Vec<_>>(),
            [
                "| `it_things_total` | counter |  | `of`: `a`, `b`; `to`: `c` | Things, by what they are of |",
                "| `it_duration_seconds` | histogram | seconds |  | How long |",
            ]
        );
    }

    #[test]
    fn only_its_section_of_the_page_changes() {
        let page = "# Page\n<!-- a: from here -->\nold\n<!-- a: to here -->\n<!-- b: from here -->\nb\n<!-- b: to here -->\n";
        let new = with_section(page, "a", "new\n");
        assert_eq!(new, page.replace("old\n", "\nnew\n\n"));
        assert_eq!(with_section(&new, "a", "new\n"), new);
    }

    #[test]
    fn of_many_values_the_first_and_the_last_are_listed() {
        let values = (10..40).map(|value| value.to_string()).collect();
        let metric = Metric {
            labels: BTreeMap::from([("of".to_owned(), values)]),
            ..Metric::default()
        };
        assert_eq!(labels(&metric), "`of`: `10` to `39`, 30 in all");
    }

    #[test]
    #[should_panic(expected = "there are 101 of")]
    fn a_label_has_few_values() {
        let values = (100..201).map(|value| value.to_string()).collect();
        let metric = Metric {
            labels: BTreeMap::from([("of".to_owned(), values)]),
            ..Metric::default()
        };
        let _ = labels(&metric);
    }

    #[test]
    #[should_panic(expected = "says no unit")]
    fn a_unit_is_said() {
        let metric = Metric {
            name: "it_seconds".into(),
            help: "How long".into(),
            ..Metric::default()
        };
        let _ = section(&[metric]);
    }
}
