//! Which addresses outgoing requests and sockets may reach.

use std::sync::{Arc, OnceLock};

use deno_permissions::{
    Host, NetDescriptor, Permissions, PermissionsContainer, RuntimePermissionDescriptorParser,
};
use ipnet::IpNet;

/// Where clouds serve the machine's own credentials: link-local addresses, and others that lead nowhere else. (IPv6's
/// link-local addresses need a zone, which no URL can have. An IPv4 address written as an IPv6 one counts as itself.)
const METADATA: [&str; 6] = [
    "169.254.0.0/16",
    "fd00:ec2::254/128",  // AWS
    "fd00:ec2::23/128",   // AWS, for pods
    "fd20:ce::254/128",   // Google Cloud
    "168.63.129.16/32",   // Azure
    "100.100.100.200/32", // Alibaba Cloud
];

/// Networks that JavaScript may not reach, or may although it could not by default. The same for a whole process.
#[derive(Debug, Clone, Default)]
pub struct NetworkRules {
    /// Denied, beside the metadata services.
    pub deny: Vec<IpNet>,
    /// Metadata services in or around these are not denied. What is in `deny` stays denied.
    pub allow: Vec<IpNet>,
}

impl NetworkRules {
    /// Makes these the rules of all isolates. Must be called before the first one is made: later calls, and those
    /// behind another, change nothing.
    pub fn choose(&self) {
        let _ = PERMISSIONS.set(self.permissions());
    }

    fn denied(&self) -> impl Iterator<Item = IpNet> {
        let metadata = METADATA.iter().filter_map(|text| text.parse().ok());
        metadata
            .filter(|net: &IpNet| {
                let overlaps = |other: &IpNet| other.contains(net) || net.contains(other);
                !self.allow.iter().any(overlaps)
            })
            .chain(self.deny.iter().copied())
    }

    fn permissions(&self) -> PermissionsContainer {
        let parser = Arc::new(RuntimePermissionDescriptorParser::new(
            sys_traits::impls::RealSys,
        ));
        // Not made from text: deno_permissions cannot read IPv6 networks.
        let denied: Vec<_> = self.denied().map(descriptor).collect();
        let mut permissions = Permissions::none_without_prompt();
        permissions.net = Permissions::new_unary(
            Some(vec![]),                           // everything
            (!denied.is_empty()).then_some(denied), // an empty list would be everything here, too
            false,
        );
        PermissionsContainer::new(parser, permissions)
    }
}

/// A network, on any port.
fn descriptor(net: IpNet) -> NetDescriptor {
    NetDescriptor(Host::IpSubnet(net), None)
}

static PERMISSIONS: OnceLock<PermissionsContainer> = OnceLock::new();

/// What every isolate may do: nothing but use the network, and of that what the rules leave. Names are checked again once
/// they are resolved.
pub(crate) fn permissions() -> PermissionsContainer {
    PERMISSIONS
        .get_or_init(|| NetworkRules::default().permissions())
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(rules: &NetworkRules, address: &str) -> bool {
        let ip = address.parse().unwrap();
        let mut permissions = rules.permissions();
        permissions.check_net_resolved(&ip, 80, "test").is_ok()
    }

    #[test]
    fn metadata_services_are_out_of_reach_unless_they_are_allowed() {
        let mut rules = NetworkRules::default();
        for address in [
            "169.254.169.254",
            "169.254.170.23",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "100.100.100.200",
        ] {
            assert!(!reached(&rules, address), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "100.100.100.201", "fd20:ce::255"] {
            assert!(reached(&rules, address), "{address}");
        }
        rules.allow = vec!["169.254.169.254/32".parse().unwrap()];
        assert!(reached(&rules, "169.254.169.254"));
        assert!(!reached(&rules, "fd20:ce::254"));
    }

    #[test]
    fn further_networks_are_denied() {
        let deny = ["10.0.0.0/8", "fc00::/7", "192.0.2.1/32"];
        let rules = NetworkRules {
            deny: deny.iter().map(|net| net.parse().unwrap()).collect(),
            allow: vec!["10.0.0.0/8".parse().unwrap()],
        };
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "192.0.2.1"] {
            assert!(!reached(&rules, address), "{address}");
        }
        let open = NetworkRules {
            deny: vec![],
            allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        };
        assert!(reached(&open, "169.254.169.254"));
        assert!(reached(&rules, "11.0.0.1"));
        assert!(reached(&rules, "2001:db8::1"));
    }
}
