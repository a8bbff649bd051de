//! `portside-gateway`: sends clients' requests to the pods of ServerlessWorkerClasses.

use clap::Parser;
use portside_gateway::Args;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Two providers may be linked in; without a choice the first TLS connection would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Args::parse().run().await
}
