//! `portside logs`

use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::bail;
use futures::TryStreamExt;

use crate::{Client, Scope, Target, block_on};

/// Arguments of `portside logs`.
#[derive(clap::Args)]
#[command(after_help = "\
A worker is SCRIPT#NAME, a Durable Object CLASS#NAME or CLASS#ID, and either its ID of 32 hexadecimal digits.

Examples:
  portside logs --follow
  portside logs room.js#lobby --tail 20")]
pub struct Args<T: Target> {
    // Without --output: a log is text.
    #[command(flatten)]
    target: T,
    #[command(flatten)]
    scope: T::Scope,
    /// Only what this worker has logged; else all workers and the server
    worker: Option<String>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// So many lines of what there is: of each process the last 1000 are known
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
}

impl<T: Target> Args<T> {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let tail = self.tail.map(|tail| tail.to_string());
            let follow = self.follow.then_some(("follow", "true"));
            let tail = tail.as_deref().map(|tail| ("tail", tail));
            let scope = self.scope.query();
            if let (Some(_), Some((name, _))) = (&self.worker, scope.first()) {
                bail!("a worker is in one {name} at a time: leave --{name} out");
            }
            let query = follow.into_iter().chain(tail).chain(scope);
            let query: Vec<_> = query.collect();
            let path = match &self.worker {
                Some(worker) => vec!["workers", worker, "log"],
                None => vec!["log"],
            };
            let client = Client::by(self.target.way().await?);
            let lines = client.lines(&path, &query).await?;
            let mut lines = pin!(lines);
            while let Some(line) = lines.try_next().await? {
                let mut out = std::io::stdout().lock();
                out.write_all(&line)?;
                out.flush()?;
            }
            Ok(())
        })
    }
}
