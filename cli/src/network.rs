//! Arguments for what the application may reach on the network.

use portside_bundle::Manifest;
use portside_frontdoor::{IpNet, network};
use portside_runtime::surface::network::NetworkRules;

/// Networks that are out of the application's reach. The metadata services of clouds are, unless they are allowed.
#[derive(clap::Args, Debug)]
pub struct NetworkArgs {
    /// Networks that the application's fetch and WebSocket may not reach; may be given more than once
    #[arg(long, value_parser = network, value_name = "CIDR")]
    deny_network: Vec<IpNet>,
    /// Metadata services of clouds in this network are not denied; may be given more than once
    #[arg(long, value_parser = network, value_name = "CIDR")]
    allow_network: Vec<IpNet>,
}

impl NetworkArgs {
    /// Makes these and the class's the rules of this process. Before the first isolate is made.
    pub fn choose(&self, class: Option<&Manifest>) {
        self.rules(class).choose();
    }

    /// These, and the class's.
    pub fn rules(&self, class: Option<&Manifest>) -> NetworkRules {
        let with = |ours: &[IpNet], theirs: fn(&Manifest) -> &Vec<String>| {
            let theirs = class.map(theirs).into_iter().flatten();
            // Validated: each is a network.
            let theirs = theirs.filter_map(|network| network.parse().ok());
            ours.iter().copied().chain(theirs).collect()
        };
        NetworkRules {
            deny: with(&self.deny_network, |class| &class.network.deny),
            allow: with(&self.allow_network, |class| &class.network.allow),
        }
    }
}
