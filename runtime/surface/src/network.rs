//! Which addresses outgoing requests and sockets may reach.

use std::sync::{Arc, LazyLock};

use deno_permissions::{
    Permissions, PermissionsContainer, PermissionsOptions, RuntimePermissionDescriptorParser,
};

/// Link-local addresses, where clouds serve the machine's own credentials, and AWS' IPv6 address for the same. (IPv6's
/// link-local addresses need a zone, which no URL can have.)
const DENIED: [&str; 2] = ["169.254.0.0/16", "[fd00:ec2::254]"];

static PERMISSIONS: LazyLock<PermissionsContainer> = LazyLock::new(|| {
    let parser = Arc::new(RuntimePermissionDescriptorParser::new(
        sys_traits::impls::RealSys,
    ));
    let options = PermissionsOptions {
        allow_net: Some(vec![]), // everything
        deny_net: Some(DENIED.map(str::to_owned).to_vec()),
        ..PermissionsOptions::default()
    };
    let permissions = Permissions::from_options(parser.as_ref(), &options)
        .expect("the list above is well-formed");
    PermissionsContainer::new(parser, permissions)
});

/// What every isolate may do: nothing but use the network, and of that everything but [`DENIED`]. Names are checked
/// again once they are resolved.
pub fn permissions() -> PermissionsContainer {
    PERMISSIONS.clone()
}
