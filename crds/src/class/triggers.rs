//! What runs the server's handlers apart from requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// What runs the server's handlers apart from requests.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Triggers {
    /// Cron expressions, in UTC, for the server's scheduled handler. Each of their times is run once, by one of the
    /// class's pods; what was missed while there was none is one run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(max = 128)),
        extend("x-kubernetes-validations" = rules::schema(rules::CRONS))
    )]
    pub crons: Vec<String>,
}
