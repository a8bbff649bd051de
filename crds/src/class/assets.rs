//! Static assets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::rules;

/// Files that are served as they are, before the server is asked.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Assets {
    /// The folder with the files, among those of the code, such as public. Without effect where the code is a bundle: the
    /// assets are in an archive beside it, as portside push and portside bundle make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::ASSETS_DIRECTORY)))]
    pub directory: Option<String>,
    /// The field of the server's env by which the code reaches them: its fetch answers as they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::ENV_NAME)))]
    pub binding: Option<String>,
    /// Where HTML files are. AutoTrailingSlash has a.html at /a and a/index.html at /a/, ForceTrailingSlash both at /a/,
    /// DropTrailingSlash both at /a. None has each where its name says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub html_handling: HtmlHandling,
    /// What is answered where no file is meant and the server is not asked. NotFoundPage is 404 with the nearest 404.html,
    /// SinglePageApplication 200 with /index.html, None an empty 404.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_found_handling: NotFoundHandling,
    /// Paths for which the server is asked and not the assets, such as /api/*, in which a star stands for anything. Those
    /// that begin with ! are exceptions. /* is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(length(max = 100)),
        extend("x-kubernetes-validations" = rules::schema(rules::SERVER_FIRST))
    )]
    pub server_first: Vec<String>,
}

/// Where HTML files are.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HtmlHandling {
    /// `a.html` at `/a`, `a/index.html` at `/a/`.
    #[default]
    AutoTrailingSlash,
    /// Both at `/a/`.
    ForceTrailingSlash,
    /// Both at `/a`.
    DropTrailingSlash,
    /// Each where its name says.
    None,
}

/// What is answered where no file is meant.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NotFoundHandling {
    /// An empty 404.
    #[default]
    None,
    /// 404 with the nearest `404.html`.
    NotFoundPage,
    /// 200 with `/index.html`.
    SinglePageApplication,
}
