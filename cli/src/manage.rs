//! Where `portside workers`, `portside state`, `portside logs` and `portside exec` find the application.

use portside_verbs::{Process, Target, Way};
use url::Url;

/// A `portside dev`.
#[derive(Debug, clap::Args)]
pub struct Dev {
    /// Where portside dev listens
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        env = "PORTSIDE_URL"
    )]
    url: Url,
}

impl Target for Dev {
    async fn way(&self) -> anyhow::Result<Box<dyn Way>> {
        Ok(Box::new(Process::new(self.url.clone())))
    }
}
