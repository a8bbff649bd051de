//! The class's routes for the Gateway API.

use std::collections::{BTreeMap, BTreeSet};

use portside_crds::names;
use serde_json::json;

use super::{gateway_service, meta};
use crate::class::code::short_hash;
use crate::class::http_routes::{
    BackendRef, HTTPRoute, HttpRouteSpec, Match, PathMatch, Rule, Timeouts,
};
use crate::class::validate::Valid;

/// The most host names that an HTTPRoute takes. Of paths it takes as many as a class can have routes.
const MAX_HOSTS: usize = 16;

/// The HTTPRoutes for the routes the class has, if it asks for them and the cluster has them.
///
/// Every host of an HTTPRoute has all its paths: hosts with other paths need another one.
pub(super) fn http_routes(valid: &Valid) -> Vec<HTTPRoute> {
    let Some(wanted) = &valid.class.spec.http_route else {
        return vec![];
    };
    if valid.routing.has_http_routes != Some(true) {
        return vec![];
    }
    let mut hosts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for route in &valid.routing.routes {
        hosts.entry(&route.host).or_default().insert(&route.path);
    }
    // The empty host stands for all, and cannot share with others.
    let mut groups: BTreeMap<(bool, BTreeSet<&str>), Vec<String>> = BTreeMap::new();
    for (host, paths) in hosts {
        let names = groups.entry((host.is_empty(), paths)).or_default();
        names.extend((!host.is_empty()).then(|| host.to_owned()));
    }
    let mut routes = vec![];
    for ((_, paths), hosts) in groups {
        // No host at all is a part, too.
        let parts = match hosts.is_empty() {
            true => vec![&hosts[..]],
            false => hosts.chunks(MAX_HOSTS).collect(),
        };
        for hosts in parts {
            let name = match routes.is_empty() {
                true => names::ingress(&valid.key.name),
                false => another_name(valid, hosts, &paths),
            };
            routes.push(HTTPRoute {
                metadata: meta(valid, name),
                spec: HttpRouteSpec {
                    parent_refs: wanted.parent_refs.clone(),
                    hostnames: hosts.to_vec(),
                    rules: vec![rule(valid, &paths)],
                },
            });
        }
    }
    routes
}

/// What no class is named, or hardly any: `chat-2` would be the first HTTPRoute of a class of that name.
fn another_name(valid: &Valid, hosts: &[String], paths: &BTreeSet<&str>) -> String {
    let hash = short_hash(&json!([hosts, paths]));
    format!("{}-{hash}", names::ingress(&valid.key.name))
}

fn rule(valid: &Valid, paths: &BTreeSet<&str>) -> Rule {
    let prefix = |path: &&str| Match {
        path: PathMatch {
            kind: "PathPrefix".to_owned(),
            value: (*path).to_owned(),
        },
    };
    Rule {
        matches: paths.iter().map(prefix).collect(),
        backend_refs: vec![BackendRef {
            name: names::gateway(&valid.key.name),
            port: gateway_service::PORT,
        }],
        timeouts: Timeouts {
            request: "0s".to_owned(),
        },
    }
}
