//! `portside workers`, `portside state`, `portside logs` and `portside exec`: looks at the workers of a running application, and manages them.

pub mod client;
pub mod exec;
pub mod logs;
mod output;
pub mod state;
pub mod workers;

use client::Client;
use output::Output;

/// Where the application runs, and how to say what it answers.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Where portside dev listens
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        env = "PORTSIDE_URL"
    )]
    url: url::Url,
    /// How to write the answer
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Output,
}

impl Common {
    fn client(&self) -> Client {
        Client::new(self.url.clone())
    }
}

/// Runs what asks the application.
fn block_on(
    asking: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<std::process::ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(asking)?;
    Ok(std::process::ExitCode::SUCCESS)
}
