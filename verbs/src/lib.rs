//! What both command lines have: what people ask of workers, `workers`, `state`, `logs`, `events`, `top` and `exec`, how shells complete it,
//! and how an application's folder is read.
//!
//! `portside` asks `portside dev`, and `kubectl portside` a cluster: the same verbs and the same answers, by another [`Way`]. Needs neither V8
//! nor a database.

mod client;
pub mod completion;
pub mod events;
pub mod exec;
pub mod logs;
mod output;
pub mod problems;
mod seen;
pub mod source;
pub mod state;
pub mod top;
pub mod workers;
mod yaml;

use std::process::ExitCode;

pub use client::{Body, Client, Process, Question, Way, lines};
pub use output::{Output, printable};

/// Arguments that say where the application runs.
pub trait Target: clap::Args {
    /// Arguments of the verbs that look at many workers.
    type Scope: Scope;
    /// Whether it is a cluster, which tells of classes and pods as well.
    const IS_CLUSTER: bool;

    /// The way there.
    ///
    /// # Errors
    /// It cannot be known from the arguments, and from where they lead.
    fn way(&self) -> impl Future<Output = anyhow::Result<Box<dyn Way>>>;
}

/// Which of the application's workers are looked at.
pub trait Scope: clap::Args {
    /// What is asked, then.
    fn query(&self) -> Vec<(&'static str, &str)>;
}

/// Where the application runs, and how to say what it answers.
#[derive(Debug, clap::Args)]
struct Common<T: Target> {
    #[command(flatten)]
    target: T,
    /// How to write the answer
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Output,
}

impl<T: Target> Common<T> {
    async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::by(self.target.way().await?))
    }
}

/// Runs what asks the application.
///
/// # Errors
/// Those of what it runs, and that there is no runtime for it.
pub fn block_on(asking: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(asking)?;
    Ok(ExitCode::SUCCESS)
}
