//! `portside exec`

use std::process::ExitCode;

use portside_manage::{Evaluated, Exec};

use crate::client::in_lines;
use crate::{Common, Target, block_on};

/// Arguments of `portside exec`.
#[derive(clap::Args)]
#[command(after_help = "\
A worker is SCRIPT#NAME, a Durable Object CLASS#NAME or CLASS#ID, and either its ID of 32 hexadecimal digits. It is woken if it sleeps.
`this` is the object, or what a worker's script exports by default, and `module` has all that it exports. Limits are those of events.

Examples:
  portside exec room.js#lobby 'await storage.get(\"history\")'
  portside exec 'Room#lobby' 'this.ctx.getWebSockets().length'")]
pub struct Args<T: Target> {
    #[command(flatten)]
    common: Common<T>,
    /// Which
    worker: String,
    /// In JavaScript; `await` may be in it. What is no expression is statements, of which `return` gives the value
    #[arg(allow_hyphen_values = true)]
    expression: String,
}

impl<T: Target> Args<T> {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let Self {
                common,
                worker,
                expression,
            } = self;
            let path = ["workers", &worker, "exec"];
            let answer: Evaluated = common
                .client()
                .await?
                .ask(&path, &Exec { expression })
                .await
                .map_err(in_lines)?;
            common.output.write_text(&answer, &answer.text)
        })
    }
}
