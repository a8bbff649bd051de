//! Which workers a list or a watch is of: selectors of labels and fields.

use std::collections::BTreeSet;

use portside_crds::names::CLASS_LABEL;
use portside_manage::Worker;

use crate::object::{self, Class};
use crate::pods::workers::Wanted;
use crate::status::Refusal;

/// A field by which workers are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    Class,
    Address,
    Script,
    State,
    Pod,
}

const FIELDS: [(&str, Field); 7] = [
    ("metadata.name", Field::Name),
    ("metadata.namespace", Field::Namespace),
    ("spec.class", Field::Class),
    ("spec.address", Field::Address),
    ("spec.script", Field::Script),
    ("status.state", Field::State),
    ("status.pod", Field::Pod),
];

/// A selection of workers: those that meet all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Sets of classes, of each of which the worker's must be one.
    classes: Vec<BTreeSet<String>>,
    fields: Vec<(Field, String)>,
}

impl Selector {
    /// Reads the parameters `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    ///
    /// One of them asks for what is not supported; the refusal names what is.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let mut this = Self::default();
        for requirement in label_requirements(labels) {
            let classes = label(requirement).ok_or_else(|| wrong_label(requirement))?;
            this.classes.push(classes);
        }
        for requirement in field_requirements(fields) {
            this.fields.push(field(requirement)?);
        }
        Ok(this)
    }

    /// Whether any worker of the class may be selected. Pods of others need not be asked.
    #[must_use]
    pub fn may_match(&self, class: &Class) -> bool {
        self.classes.iter().all(|it| it.contains(&class.name))
            && self.fields.iter().all(|(field, value)| match field {
                Field::Name => object::parse_name(value).is_some_and(|it| it.0 == class.name),
                Field::Namespace => *value == class.namespace,
                Field::Class => *value == class.name,
                _ => true,
            })
    }

    /// The one name that is selected, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.value(Field::Name)
    }

    /// The one address that is selected, if there is one. Each class may have such a worker.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.value(Field::Address)
    }

    /// The one class of which workers are selected, if there is one.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        let of_name = || self.name().and_then(object::parse_name).map(|it| it.0);
        let mut only = self.classes.iter().filter(|it| it.len() == 1);
        let of_label = || only.next().and_then(|it| it.first()).map(String::as_str);
        self.value(Field::Class).or_else(of_name).or_else(of_label)
    }

    /// What to ask pods for, so that they leave out most of what isn't selected.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let awake = self.value(Field::State) == Some("Awake");
        let in_pod = self.value(Field::Pod).is_some_and(|it| !it.is_empty());
        let script = self.value(Field::Script).filter(|it| !it.is_empty());
        Wanted {
            after: None,
            awake: awake || in_pod,
            script: script.map(str::to_owned),
        }
    }

    fn value(&self, wanted: Field) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(field, _)| *field == wanted)?;
        Some(value)
    }

    /// Whether that worker is selected.
    #[must_use]
    pub fn matches(&self, class: &Class, worker: &Worker) -> bool {
        self.may_match(class)
            && self.fields.iter().all(|(field, value)| match field {
                Field::Name => *value == object::name(&class.name, &worker.id),
                Field::Namespace | Field::Class => true,
                Field::Address => *value == worker.address,
                Field::Script => value == worker.script.as_deref().unwrap_or_default(),
                Field::State => value == object::state(worker.state),
                Field::Pod => value == worker.pod.as_deref().unwrap_or_default(),
            })
    }
}

/// The parts of a selector of labels: those between commas that are not within parentheses.
fn label_requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    parts(text, move |it| {
        match it {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        it == ',' && depth == 0
    })
}

/// The parts of a selector of fields: those between commas without a backslash.
fn field_requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    parts(text, move |it| {
        let ends = it == ',' && !escaped;
        escaped = it == '\\' && !escaped;
        ends
    })
}

fn parts(text: &str, ends: impl FnMut(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(ends).map(str::trim).filter(|it| !it.is_empty())
}

/// The classes of a requirement of labels.
fn label(requirement: &str) -> Option<BTreeSet<String>> {
    let rest = requirement.strip_prefix(CLASS_LABEL)?;
    if let Some(value) = equals(rest.trim_start()) {
        return is_plain(value).then(|| BTreeSet::from([value.to_owned()]));
    }
    let list = rest.trim().strip_prefix("in")?.trim_start();
    let list = list.strip_prefix('(')?.strip_suffix(')')?;
    let values = list.split(',').map(str::trim);
    values
        .map(|it| is_plain(it).then(|| it.to_owned()))
        .collect()
}

/// The value behind `=` or `==`.
fn equals(text: &str) -> Option<&str> {
    let value = text.strip_prefix("==").or_else(|| text.strip_prefix('='))?;
    Some(value.trim())
}

/// Whether it can be a label's value.
fn is_plain(value: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.');
    value.bytes().all(plain)
}

fn field(requirement: &str) -> Result<(Field, String), Refusal> {
    for (name, field) in FIELDS {
        let rest = requirement.strip_prefix(name).map(str::trim_start);
        if let Some(value) = rest.and_then(equals) {
            let value = unescape(value).ok_or_else(|| wrong_field(requirement))?;
            return Ok((field, value));
        }
    }
    Err(wrong_field(requirement))
}

/// A field's value, in which a backslash is before each comma, equals sign and backslash.
fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(it) = rest.next() {
        let escaped = it == '\\';
        plain.push(if escaped { rest.next()? } else { it });
    }
    Some(plain)
}

fn wrong_label(requirement: &str) -> Refusal {
    Refusal::bad_request(format!(
        "labelSelector has {requirement:?}: workers are selected by {CLASS_LABEL} alone, with =, == or in"
    ))
}

fn wrong_field(requirement: &str) -> Refusal {
    let names = FIELDS.map(|it| it.0).join(", ");
    Refusal::bad_request(format!(
        "fieldSelector has {requirement:?}: workers are selected by {names}, with = or =="
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn selects(labels: &str, fields: &str) -> bool {
        let selector = Selector::parse(labels, fields).unwrap();
        selector.matches(&sample::class(), &sample::worker())
    }

    #[test]
    fn labels_select_classes() {
        assert!(selects("", ""));
        assert!(selects("portside.dev/class=shop", ""));
        assert!(selects("portside.dev/class == shop", ""));
        assert!(selects(
            "portside.dev/class in (a, shop),portside.dev/class=shop",
            ""
        ));
        assert!(!selects("portside.dev/class in (a,b)", ""));
        assert!(!selects("portside.dev/class=shop,portside.dev/class=a", ""));
    }

    #[test]
    fn fields_select_workers() {
        assert!(selects(
            "",
            "metadata.name=shop.0123456789abcdef0123456789abcdef"
        ));
        assert!(!selects("", "metadata.name=shop"));
        assert!(selects(
            "",
            "status.state=Awake,status.pod==shop-1,spec.script=cart"
        ));
        assert!(!selects("", "status.state=Asleep"));
        assert!(!selects("", "metadata.namespace=other"));
        assert!(selects("", "spec.address=cart#ada"));
    }

    #[test]
    fn pods_are_asked_for_no_more_than_is_needed() {
        let parse = |labels, fields| Selector::parse(labels, fields).unwrap();
        let name = "metadata.name=shop.0123456789abcdef0123456789abcdef";
        assert_eq!(parse("", name).class(), Some("shop"));
        assert_eq!(parse("portside.dev/class=a", "").class(), Some("a"));
        assert_eq!(parse("portside.dev/class in (a,b)", "").class(), None);
        assert!(parse("", "status.pod=x").wanted().awake);
        assert!(!parse("", "status.pod=").wanted().awake);
        assert!(!parse("", "status.state=Asleep").wanted().awake);
        let script = parse("", "spec.script=cart").wanted().script;
        assert_eq!(script.as_deref(), Some("cart"));
    }

    #[test]
    fn a_comma_in_a_field_is_escaped() {
        let mut worker = sample::worker();
        worker.address = "cart#a,b=(".into();
        let selector = Selector::parse("", r"spec.address=cart#a\,b\=(,spec.script=cart").unwrap();
        assert!(selector.matches(&sample::class(), &worker));
    }

    #[test]
    fn what_is_not_supported_is_refused_with_what_is() {
        for labels in [
            "app=x",
            "portside.dev/class",
            "portside.dev/class!=a",
            "portside.dev/class in a",
        ] {
            let refusal = Selector::parse(labels, "").unwrap_err();
            assert_eq!(refusal.code, 400, "{labels}");
            assert!(refusal.message.contains("portside.dev/class alone"));
        }
        for fields in ["spec.name=x", "spec.class!=x", "status.state"] {
            let refusal = Selector::parse("", fields).unwrap_err();
            assert!(refusal.message.contains("status.pod"), "{fields}");
        }
    }
}
