//! The fields of an `env`.

use super::literal;
use crate::{EnvValue, Manifest};

/// A variable, a secret or a binding of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    name: String,
    what: String,
    /// Whether it may be missing.
    optional: bool,
}

/// Those of an environment, in the configuration's order. Secrets go over variables of the same name; `main` is what the main
/// module is imported by.
pub(super) fn variables(
    manifest: Option<&Manifest>,
    secrets: &[String],
    main: &str,
    is_strict: bool,
) -> Vec<Variable> {
    let mut variables: Vec<Variable> = vec![];
    for (name, value) in manifest.iter().flat_map(|manifest| &manifest.env) {
        let (what, optional) = match value {
            EnvValue::Plain(text) if is_strict => (literal::text(text), false),
            EnvValue::Plain(_) => ("string".to_owned(), false),
            EnvValue::Json(value) if is_strict => (literal::exact(value), false),
            EnvValue::Json(value) => (literal::loose(value), false),
            EnvValue::Elsewhere(elsewhere) => ("string".to_owned(), elsewhere.optional),
        };
        variables.push(Variable {
            name: name.clone(),
            what,
            optional,
        });
    }
    let bindings = manifest
        .iter()
        .flat_map(|manifest| &manifest.objects.bindings);
    let assets = manifest.and_then(|manifest| manifest.assets.as_ref()?.binding.as_ref());
    let others = secrets
        .iter()
        .map(|name| (name, "string".to_owned()))
        .chain(bindings.map(|binding| {
            let class = literal::text(main);
            let class = format!("import({class}).{}", binding.class);
            (&binding.name, format!("DurableObjectNamespace<{class}>"))
        }))
        .chain((assets.iter().copied()).map(|binding| (binding, "Fetcher".to_owned())));
    for (name, what) in others {
        match variables.iter_mut().find(|known| known.name == *name) {
            Some(known) => known.what = what,
            None => variables.push(Variable {
                name: name.clone(),
                what,
                optional: false,
            }),
        }
    }
    variables
}

/// What the `env` of several environments may have.
#[derive(Debug)]
pub(super) struct Fields(Vec<Field>);

#[derive(Debug)]
struct Field {
    name: String,
    /// Each of its types once.
    types: Vec<String>,
    optional: bool,
}

impl Fields {
    /// What is in all of these has each of its types; what is not in one of them may be missing.
    pub fn of<'v>(environments: impl IntoIterator<Item = &'v Vec<Variable>>) -> Self {
        let mut fields: Vec<Field> = vec![];
        let environments: Vec<_> = environments.into_iter().collect();
        for variable in environments.iter().copied().flatten() {
            let lacks = |all: &&Vec<Variable>| all.iter().all(|one| one.name != variable.name);
            let field = match fields.iter().position(|one| one.name == variable.name) {
                Some(at) => &mut fields[at],
                None => {
                    fields.push(Field {
                        name: variable.name.clone(),
                        types: vec![],
                        optional: environments.iter().any(lacks),
                    });
                    fields.last_mut().expect("pushed")
                }
            };
            field.optional |= variable.optional;
            if !field.types.contains(&variable.what) {
                field.types.push(variable.what.clone());
            }
        }
        Self(fields)
    }

    /// As an interface, whose lines begin with `indent`.
    pub fn interface(&self, name: &str, indent: &str) -> String {
        if self.0.is_empty() {
            return format!("{indent}interface {name} {{}}\n");
        }
        let mut text = format!("{indent}interface {name} {{\n");
        for Field {
            name,
            types,
            optional,
        } in &self.0
        {
            let mark = if *optional { "?" } else { "" };
            let (name, types) = (literal::name(name), types.join(" | "));
            text.push_str(&format!("{indent}  {name}{mark}: {types};\n"));
        }
        text.push_str(&format!("{indent}}}\n"));
        text
    }
}
