//! Arguments for what the application may reach on the network.

use portside_frontdoor::IpNet;
use portside_runtime::surface::network::NetworkRules;

/// Networks that are out of the application's reach. The metadata services of clouds are, unless they are allowed.
#[derive(clap::Args, Debug)]
pub struct NetworkArgs {
    /// Networks that the application's fetch and WebSocket may not reach; may be given more than once
    #[arg(long, value_name = "CIDR")]
    deny_network: Vec<IpNet>,
    /// Metadata services of clouds in this network are not denied; may be given more than once
    #[arg(long, value_name = "CIDR")]
    allow_network: Vec<IpNet>,
}

impl NetworkArgs {
    /// Makes these the rules of this process. Before the first isolate is made.
    pub fn choose(&self) {
        let rules = NetworkRules {
            deny: self.deny_network.clone(),
            allow: self.allow_network.clone(),
        };
        rules.choose();
    }
}
