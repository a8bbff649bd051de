//! The server's `env`: from the manifest or wrangler's configuration, `.dev.vars`, an environment file, and the command
//! line, the later over the earlier.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::anyhow;
use portside_bundle::{EnvValue, Manifest, Problem};
use portside_core::variable::{Value, Variables};

/// `KEY=VALUE` from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    key: String,
    value: String,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            // The text may be a secret: it is not repeated.
            _ => Err("it must have the form KEY=VALUE".to_owned()),
        }
    }
}

/// What is provided besides the manifest.
pub struct Provided(BTreeMap<String, String>);

impl Provided {
    /// Reads the environment file, if there is one, and puts the command line's variables over it.
    ///
    /// # Errors
    /// The file cannot be read or parsed. The message names the file, never a value.
    pub fn read(file: Option<&Path>, variables: Vec<Variable>) -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        if let Some(file) = file {
            let shown = file.display();
            // Not as a source: this error shows its own source itself.
            let entries = dotenvy::from_path_iter(file)
                .map_err(|error| anyhow!("{shown} cannot be read: {error}"))?;
            for entry in entries {
                let (key, value) = entry.map_err(|error| match error {
                    dotenvy::Error::LineParse(..) => {
                        anyhow!("{shown} has a line that is not KEY=VALUE")
                    }
                    _ => anyhow!("{shown} cannot be read"),
                })?;
                all.insert(key, value);
            }
        }
        all.extend(
            variables
                .into_iter()
                .map(|variable| (variable.key, variable.value)),
        );
        Ok(Self(all))
    }

    /// The whole `env`. `secrets` go over what the manifest gives.
    ///
    /// # Errors
    /// The manifest's entries whose values are kept elsewhere and were not provided.
    pub fn over(
        &self,
        manifest: Option<&Manifest>,
        secrets: BTreeMap<String, String>,
    ) -> Result<Variables, Vec<Problem>> {
        let mut provided = secrets;
        provided.extend(self.0.clone());
        let mut env: BTreeMap<String, Value> = (provided.into_iter())
            .map(|(key, value)| (key, value.into()))
            .collect();
        let mut missing = vec![];
        for (key, value) in manifest.into_iter().flat_map(|manifest| &manifest.env) {
            if env.contains_key(key) {
                continue;
            }
            match value {
                EnvValue::Plain(value) => {
                    env.insert(key.clone(), value.clone().into());
                }
                EnvValue::Json(value) => {
                    env.insert(key.clone(), Value::Json(value.to_string()));
                }
                // As in a cluster, an optional entry is left out.
                EnvValue::Elsewhere(elsewhere) if elsewhere.optional => {}
                EnvValue::Elsewhere(elsewhere) => missing.push(elsewhere.problem.clone()),
            }
        }
        if missing.is_empty() {
            Ok(env.into_iter().collect())
        } else {
            Err(missing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_a_key() {
        let parse = |text: &str| {
            text.parse::<Variable>()
                .map(|variable| (variable.key, variable.value))
        };
        assert_eq!(parse("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse("A="), Ok(("A".into(), String::new())));
        assert!(parse("=b").is_err());
        let refused = parse("secret").unwrap_err();
        assert!(!refused.contains("secret"));
    }
}
