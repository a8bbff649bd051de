//! The class's routes for the Gateway API.

use std::collections::{BTreeMap, BTreeSet};

use portside_crds::names;

use super::{gateway_service, meta};
use crate::class::http_routes::{
    BackendRef, HTTPRoute, HttpRouteSpec, Match, PathMatch, Rule, Timeouts,
};
use crate::class::validate::Valid;

/// The HTTPRoutes for the routes the class has, if it asks for them and the cluster has them.
///
/// Every host of an HTTPRoute has all its paths: hosts with other paths need another one.
pub(super) fn http_routes(valid: &Valid) -> Vec<HTTPRoute> {
    let Some(wanted) = &valid.class.spec.http_route else {
        return vec![];
    };
    if !valid.routing.has_http_routes {
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
    let numbered = groups.into_iter().enumerate();
    numbered
        .map(|(index, ((_, paths), hostnames))| {
            let mut name = names::ingress(&valid.key.name);
            if index > 0 {
                name = format!("{name}-{}", index + 1);
            }
            HTTPRoute {
                metadata: meta(valid, name),
                spec: HttpRouteSpec {
                    parent_refs: wanted.parent_refs.clone(),
                    hostnames,
                    rules: vec![rule(valid, &paths)],
                },
            }
        })
        .collect()
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
