//! Where the verbs that ask a running application find it.

use portside_verbs::{Process, Scope, Target, Way};
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

/// All of its workers.
#[derive(Debug, clap::Args)]
pub struct Everything {}

impl Scope for Everything {
    fn query(&self) -> Vec<(&'static str, &str)> {
        vec![]
    }
}

impl Target for Dev {
    type Scope = Everything;
    const IS_CLUSTER: bool = false;

    async fn way(&self) -> anyhow::Result<Box<dyn Way>> {
        Ok(Box::new(Process::new(self.url.clone())))
    }
}
