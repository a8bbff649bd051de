//! `portside state`

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use http::Method;
use portside_manage::{Entries, Entry, Rows, Sql};
use serde_json::Value as Json;

use crate::output::{Output, printable};
use crate::{Common, Target, block_on};

/// Arguments of `portside state`.
#[derive(clap::Args)]
#[command(after_help = "\
A worker is SCRIPT#NAME, a Durable Object CLASS#NAME or CLASS#ID, and either its ID of 32 hexadecimal digits.
Values are JSON. What JSON lacks has a key with $: {\"$date\": \"2026-01-01T00:00:00Z\"}, {\"$map\": [[\"a\", 1]]}, {\"$bigint\": \"1\"}.

Examples:
  portside state list room.js#lobby
  portside state put 'Room#lobby' limit 100
  portside state sql 'Room#lobby' 'SELECT name, sql FROM sqlite_schema'")]
pub struct Args<T: Target> {
    #[command(flatten)]
    common: Common<T>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the keys of a worker, with their values
    ///
    /// Example: portside state list room.js#lobby --prefix user:
    List {
        /// Whose
        worker: String,
        /// Only keys that begin so
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
    },
    /// Show the value of a key
    ///
    /// Example: portside state get room.js#lobby count
    Get {
        /// Whose
        worker: String,
        /// Which
        key: String,
    },
    /// Give a key a value; if the worker is awake its instance ends first
    ///
    /// Example: portside state put room.js#lobby count 3
    Put {
        /// Whose
        worker: String,
        /// Which
        key: String,
        /// What, in JSON; - reads it from standard input
        #[arg(allow_negative_numbers = true)]
        value: String,
    },
    /// Delete a key; if the worker is awake its instance ends first
    ///
    /// Example: portside state delete room.js#lobby count
    Delete {
        /// Whose
        worker: String,
        /// Which
        key: String,
    },
    /// Ask the database of a Durable Object; what the statements change is not kept
    ///
    /// Example: portside state sql 'Room#lobby' 'SELECT * FROM messages LIMIT 10'
    Sql {
        /// Whose
        object: String,
        /// One or more statements; the rows of the last are shown
        query: String,
    },
}

impl<T: Target> Args<T> {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let client = self.common.client().await?;
            match &self.verb {
                Verb::List { worker, prefix } => self.list(worker, prefix.as_deref()).await,
                Verb::Get { worker, key } => {
                    let path = ["workers", worker, "key"];
                    let entry: Entry = client.get(&path, &[("name", key)]).await?;
                    if let (Some(why), Output::Table) = (&entry.unreadable, self.common.output) {
                        bail!(printable(why));
                    }
                    // The value alone is what a script can go on with.
                    self.common
                        .output
                        .write(&entry, || vec![vec![value(&entry)]])
                }
                Verb::Put { worker, key, value } => {
                    let text = match &**value {
                        "-" => std::io::read_to_string(std::io::stdin())?,
                        text => text.to_owned(),
                    };
                    let json: Json = serde_json::from_str(&text).context(
                        "the value is no JSON: a text is given in quotes, as '\"text\"'",
                    )?;
                    let (path, name) = (["workers", worker, "key"], [("name", &**key)]);
                    let body = Some(serde_json::to_vec(&json)?);
                    client.order(&Method::PUT, &path, &name, body).await
                }
                Verb::Delete { worker, key } => {
                    let (path, name) = (["workers", worker, "key"], [("name", &**key)]);
                    client.order(&Method::DELETE, &path, &name, None).await
                }
                Verb::Sql { object, query } => self.sql(object, query).await,
            }
        })
    }

    async fn list(&self, worker: &str, prefix: Option<&str>) -> anyhow::Result<()> {
        let query: Vec<_> = prefix
            .map(|prefix| ("prefix", prefix))
            .into_iter()
            .collect();
        let client = self.common.client().await?;
        let all: Entries = client.list(&["workers", worker, "keys"], &query).await?;
        self.common.output.write(&all, || {
            let header = ["KEY", "BYTES", "VALUE"].map(String::from).to_vec();
            let rows = all
                .items
                .iter()
                .map(|entry| vec![printable(&entry.key), entry.bytes.to_string(), value(entry)]);
            [header].into_iter().chain(rows).collect()
        })
    }

    async fn sql(&self, object: &str, query: &str) -> anyhow::Result<()> {
        let question = Sql {
            query: query.to_owned(),
        };
        let path = ["workers", object, "sql"];
        let rows: Rows = self.common.client().await?.ask(&path, &question).await?;
        if rows.truncated {
            eprintln!(
                "portside: there are more rows than the {} that are shown",
                rows.rows.len()
            );
        }
        self.common.output.write(&rows, || {
            let cells = |row: &Vec<Json>| row.iter().map(cell).collect();
            let header = rows.columns.iter().map(|name| printable(name)).collect();
            [header]
                .into_iter()
                .chain(rows.rows.iter().map(cells))
                .collect()
        })
    }
}

fn value(entry: &Entry) -> String {
    match &entry.unreadable {
        Some(why) => format!("<{}>", printable(why)),
        None => printable(&entry.value.to_string()),
    }
}

/// A text without quotes, as `sqlite3` shows it.
fn cell(field: &Json) -> String {
    match field {
        Json::String(text) => printable(text),
        Json::Null => "NULL".to_owned(),
        other => printable(&other.to_string()),
    }
}
