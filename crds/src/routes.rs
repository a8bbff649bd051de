//! Which class a request belongs to.
//!
//! The host decides first: an exact name, else a wildcard, else the routes for every host. Then the longest path by
//! whole segments. `*.example.com` stands for one label, as in an Ingress and in certificates. Nothing is found where
//! the host's routes do not have the path, as with an Ingress's controller, which would answer 404 itself.
//!
//! A namespace has a host as a whole, so that nobody else gets requests, and their cookies, by a longer path, by an exact
//! name under a wildcard or by a wildcard over a name. It is the namespace of the oldest class with the host; others have
//! routes of the host where a class of that namespace allows them. Every host, the empty one, covers only itself: it takes
//! nothing from who names a host.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::class::Route;

/// A class by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ClassKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A class and the routes it asks for.
#[derive(Debug, Clone)]
pub struct Claim<'c> {
    /// The class.
    pub class: ClassKey,
    /// `metadata.creationTimestamp`.
    pub created: Option<Time>,
    /// `spec.routes`.
    pub routes: &'c [Route],
}

/// A route that a class asks for and does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The route, as the class writes it.
    pub route: Route,
    /// The class that has it, or its host.
    pub owner: ClassKey,
    /// What the owner has.
    pub taken: Taken,
}

/// What stands in a route's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The same route.
    Route,
    /// This host, or one that it covers or is covered by: it is another namespace's, which does not allow the route.
    Host(String),
}

/// Every route and the class that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// By normal host; paths longest first.
    hosts: HashMap<String, Vec<(String, ClassKey)>>,
    conflicts: BTreeMap<ClassKey, Vec<Conflict>>,
}

/// Which namespace has which host, while routes are given.
#[derive(Default)]
struct Hosts<'c> {
    /// The oldest class with the host, by normal host.
    owners: HashMap<String, ClassKey>,
    /// The owned names that a wildcard covers, by the wildcard.
    covered: HashMap<String, Vec<String>>,
    /// Namespace, normal host, and a namespace that is allowed there.
    allowed: HashSet<(&'c str, String, &'c str)>,
}

impl<'c> Hosts<'c> {
    /// Nobody has anything yet. What a namespace allows counts wherever it has the host, now or later.
    fn new(claims: &'c [Claim<'c>]) -> Self {
        let mut hosts = Self::default();
        for claim in claims {
            for route in claim.routes {
                let guests = route.allow_namespaces.iter();
                hosts.allowed.extend(guests.map(|guest| {
                    let host = normal_host(&route.host);
                    (&*claim.class.namespace, host, &**guest)
                }));
            }
        }
        hosts
    }

    /// Lets the class have routes of a host; or says which host is another namespace's, and its owner.
    fn enter(&mut self, class: &ClassKey, host: &str) -> Result<(), (String, ClassKey)> {
        let wildcard = wildcard_over(host);
        let parent = wildcard
            .as_ref()
            .and_then(|name| self.owners.get_key_value(name));
        // Where both are there, the name is the older one: it is not kept where its wildcard has an owner.
        if let Some((name, owner)) = self.owners.get_key_value(host).or(parent) {
            if self.allows(owner, host, class) {
                return Ok(());
            }
            return Err((name.clone(), owner.clone()));
        }
        for name in self.covered.get(host).into_iter().flatten() {
            let owner = &self.owners[name];
            if !self.allows(owner, name, class) {
                return Err((name.clone(), owner.clone()));
            }
        }
        self.owners.insert(host.to_owned(), class.clone());
        if let Some(wildcard) = wildcard {
            self.covered
                .entry(wildcard)
                .or_default()
                .push(host.to_owned());
        }
        Ok(())
    }

    /// Whether the namespace of a host's owner lets the class in: it is its own, or allowed at the host or the wildcard over
    /// it.
    fn allows(&self, owner: &ClassKey, host: &str, class: &ClassKey) -> bool {
        let at = |host: String| {
            [&*class.namespace, EVERY_NAMESPACE]
                .into_iter()
                .any(|guest| {
                    let entry = (&*owner.namespace, host.clone(), guest);
                    self.allowed.contains(&entry)
                })
        };
        owner.namespace == class.namespace
            || at(host.to_owned())
            || wildcard_over(host).is_some_and(at)
    }
}

/// In a route's `allowNamespaces`.
const EVERY_NAMESPACE: &str = "*";

impl Routes {
    /// Gives every route to the oldest class that asks for it, of equally old ones to the first by namespace and name, as far
    /// as their namespaces have the hosts.
    #[must_use]
    pub fn new<'c>(claims: impl IntoIterator<Item = Claim<'c>>) -> Self {
        let mut claims: Vec<Claim<'c>> = claims.into_iter().collect();
        // A class without a time is not in the cluster yet: younger than any.
        claims.sort_by_key(|claim| {
            let created = claim.created.as_ref().map(|time| time.0);
            (created.is_none(), created, claim.class.clone())
        });
        let mut routes = Self::default();
        let mut hosts = Hosts::new(&claims);
        for claim in &claims {
            for route in claim.routes {
                let given = match hosts.enter(&claim.class, &normal_host(&route.host)) {
                    Ok(()) => routes.give(&claim.class, route),
                    Err((host, owner)) => Err((Taken::Host(host), owner)),
                };
                if let Err((taken, owner)) = given {
                    let conflicts = routes.conflicts.entry(claim.class.clone()).or_default();
                    conflicts.push(Conflict {
                        route: route.clone(),
                        owner,
                        taken,
                    });
                }
            }
        }
        for paths in routes.hosts.values_mut() {
            paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        }
        routes
    }

    fn give(&mut self, class: &ClassKey, route: &Route) -> Result<(), (Taken, ClassKey)> {
        let paths = self.hosts.entry(normal_host(&route.host)).or_default();
        let path = normal_path(&route.path);
        match paths.iter().find(|(taken, _)| *taken == path) {
            None => paths.push((path, class.clone())),
            // The same twice is one route.
            Some((_, owner)) if owner == class => {}
            Some((_, owner)) => return Err((Taken::Route, owner.clone())),
        }
        Ok(())
    }

    /// The class for a request. `host` is the Host header, with or without a port; `path` is the target's path.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&ClassKey> {
        let host = normal_host(host);
        let wildcard = || self.hosts.get(&wildcard_over(&host)?);
        let paths = (self.hosts.get(&host).filter(|_| !host.is_empty()))
            .or_else(wildcard)
            .or_else(|| self.hosts.get(""))?;
        paths
            .iter()
            .find(|(prefix, _)| has_prefix(path, prefix))
            .map(|(_, class)| class)
    }

    /// The routes that the class asks for and others have, in its order.
    #[must_use]
    pub fn conflicts(&self, class: &ClassKey) -> &[Conflict] {
        self.conflicts.get(class).map_or(&[], Vec::as_slice)
    }

    /// The classes that have a route, each once, sorted.
    #[must_use]
    pub fn classes(&self) -> std::collections::BTreeSet<&ClassKey> {
        self.hosts
            .values()
            .flatten()
            .map(|(_, class)| class)
            .collect()
    }
}

/// Whether one of two hosts, as classes write them, is the other or covers it: who has which of their routes may depend on
/// both.
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (normal_host(one), normal_host(other));
    one == other
        || wildcard_over(&one).is_some_and(|wildcard| wildcard == other)
        || wildcard_over(&other).is_some_and(|wildcard| wildcard == one)
}

/// The wildcard that covers a normal host. None covers a wildcard.
fn wildcard_over(host: &str) -> Option<String> {
    let (label, parent) = host.split_once('.')?;
    (label != "*").then(|| format!("*.{parent}"))
}

/// In lower case, without port and trailing dot.
fn normal_host(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        // An IPv6 address keeps its brackets.
        Some(rest) => rest.find(']').map_or(host, |end| &host[..end + 2]),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Without trailing slashes: the root is empty.
fn normal_path(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}

fn has_prefix(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        || prefix.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> ClassKey {
        let (namespace, name) = name.split_once('/').unwrap();
        ClassKey {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// A class, the second it was made in, and its routes as host and path.
    type Asked<'a> = (&'a str, i64, &'a [(&'a str, &'a str)]);

    fn routes(classes: &[Asked<'_>]) -> Routes {
        let routes: Vec<Vec<Route>> = classes
            .iter()
            .map(|(_, _, routes)| {
                let route = |(host, path): &(&str, &str)| {
                    // A host may be followed by the namespaces that it allows.
                    let mut words = host.split(' ').map(str::to_owned);
                    Route {
                        host: words.next().unwrap(),
                        path: (*path).into(),
                        allow_namespaces: words.collect(),
                    }
                };
                routes.iter().map(route).collect()
            })
            .collect();
        Routes::new(
            classes
                .iter()
                .zip(&routes)
                .map(|((name, created, _), routes)| Claim {
                    class: class(name),
                    created: Some(Time(
                        k8s_openapi::jiff::Timestamp::from_second(*created).unwrap(),
                    )),
                    routes,
                }),
        )
    }

    #[test]
    fn the_host_decides_then_the_longest_path() {
        let routes = routes(&[
            ("a/root", 1, &[("chat.example.com", "/")]),
            (
                "a/deep",
                2,
                &[
                    ("chat.example.com", "/rooms/vip"),
                    ("only.example.com", "/x/"),
                ],
            ),
            ("a/rooms", 3, &[("CHAT.example.com", "/rooms")]),
            ("a/wild", 4, &[("*.example.com", "/")]),
            ("a/any", 5, &[("", "/any")]),
        ]);
        let found = |host, path| routes.find(host, path).map(ToString::to_string);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(found("chat.example.com", "/"), some("a/root"));
        assert_eq!(found("chat.example.com", "/roomsy"), some("a/root"));
        assert_eq!(found("chat.example.com", "/rooms"), some("a/rooms"));
        assert_eq!(found("Chat.Example.com.:8080", "/rooms/1"), some("a/rooms"));
        assert_eq!(found("chat.example.com", "/rooms/vip/1"), some("a/deep"));
        assert_eq!(found("only.example.com", "/x"), some("a/deep"));
        assert_eq!(found("only.example.com", "/y"), None);
        assert_eq!(found("other.example.com", "/y"), some("a/wild"));
        assert_eq!(found("a.b.example.com", "/any"), some("a/any"));
        assert_eq!(found("example.com", "/any"), some("a/any"));
        assert_eq!(found("[::1]:80", "/any/1"), some("a/any"));
        assert_eq!(found("", "/any"), some("a/any"));
        assert_eq!(found("[::1]", "/"), None);
        assert_eq!(found("chat.example.com", "*"), some("a/root"));
    }

    /// What a class does not get, and why.
    fn conflicts(routes: &Routes, name: &str) -> Vec<String> {
        let told = |conflict: &Conflict| {
            let Conflict {
                route,
                owner,
                taken,
            } = conflict;
            format!("{}{}: {taken:?} {owner}", route.host, route.path)
        };
        routes.conflicts(&class(name)).iter().map(told).collect()
    }

    #[test]
    fn one_namespace_has_a_host() {
        let routes = routes(&[
            ("shop/web", 1, &[("shop.com", "/")]),
            ("shop/login", 2, &[("shop.com", "/login")]),
            (
                "evil/web",
                3,
                &[("shop.com", "/login/form"), ("SHOP.com", "/x")],
            ),
            ("evil/own", 4, &[("evil.com", "/")]),
        ]);
        assert_eq!(conflicts(&routes, "shop/login"), [""; 0]);
        assert_eq!(
            conflicts(&routes, "evil/web"),
            [
                "shop.com/login/form: Host(\"shop.com\") shop/web",
                "SHOP.com/x: Host(\"shop.com\") shop/web",
            ]
        );
        let found = |host, path| routes.find(host, path).map(ToString::to_string);
        assert_eq!(found("shop.com", "/login/form").unwrap(), "shop/login");
        assert_eq!(found("shop.com", "/x").unwrap(), "shop/web");
        assert_eq!(found("evil.com", "/").unwrap(), "evil/own");
    }

    #[test]
    fn a_wildcard_has_the_names_under_it() {
        let routes = routes(&[
            ("a/wild", 1, &[("*.a.com", "/")]),
            (
                "b/exact",
                2,
                &[("x.a.com", "/"), ("x.y.a.com", "/"), ("a.com", "/")],
            ),
            ("a/exact", 3, &[("x.a.com", "/")]),
            ("b/name", 4, &[("x.b.com", "/")]),
            ("a/over", 5, &[("*.b.com", "/")]),
            ("c/other", 6, &[("y.b.com", "/")]),
            ("b/over", 7, &[("*.b.com", "/")]),
        ]);
        assert_eq!(
            conflicts(&routes, "b/exact"),
            ["x.a.com/: Host(\"*.a.com\") a/wild"]
        );
        assert_eq!(conflicts(&routes, "a/exact"), [""; 0]);
        let over = "*.b.com/: Host(\"x.b.com\") b/name";
        assert_eq!(conflicts(&routes, "a/over"), [over]);
        // Who does not get a wildcard keeps nobody from the names under it.
        assert_eq!(conflicts(&routes, "c/other"), [""; 0]);
        let over = "*.b.com/: Host(\"y.b.com\") c/other";
        assert_eq!(conflicts(&routes, "b/over"), [over]);
    }

    #[test]
    fn every_host_covers_only_itself() {
        let routes = routes(&[
            ("a/any", 1, &[("", "/")]),
            ("b/named", 2, &[("b.com", "/")]),
            ("b/any", 3, &[("", "/b")]),
        ]);
        assert_eq!(conflicts(&routes, "b/named"), [""; 0]);
        assert_eq!(conflicts(&routes, "b/any"), ["/b: Host(\"\") a/any"]);
        assert_eq!(routes.find("b.com", "/"), Some(&class("b/named")));
    }

    #[test]
    fn a_host_is_shared_with_those_that_are_allowed() {
        let routes = routes(&[
            ("b/early", 1, &[("b.a.com", "/")]),
            ("a/wild", 2, &[("*.a.com b", "/")]),
            ("a/wilder", 3, &[("*.c.com", "/")]),
            ("b/late", 4, &[("b.c.com", "/"), ("*.c.com", "/b")]),
            ("a/late", 5, &[("b.c.com c", "/a"), ("*.c.com b", "/a")]),
            ("c/late", 6, &[("b.c.com", "/c"), ("c.c.com", "/c")]),
            ("d/open", 7, &[("d.com *", "/")]),
            ("c/open", 8, &[("d.com", "/"), ("d.com", "/c")]),
        ]);
        // The name is older, and its namespace does not allow the wildcard's.
        let over = "*.a.com/: Host(\"b.a.com\") b/early";
        assert_eq!(conflicts(&routes, "a/wild"), [over]);
        // What is allowed by whichever class of the namespace counts, and makes no owners.
        assert_eq!(conflicts(&routes, "b/late"), [""; 0]);
        assert_eq!(conflicts(&routes, "a/late"), [""; 0]);
        assert_eq!(
            conflicts(&routes, "c/late"),
            ["c.c.com/c: Host(\"*.c.com\") a/wilder"]
        );
        assert_eq!(conflicts(&routes, "c/open"), ["d.com/: Route d/open"]);
    }

    #[test]
    fn hosts_overlap_where_one_covers_the_other() {
        for (one, other, expected) in [
            ("a.com", "A.com.", true),
            ("*.a.com", "b.a.com", true),
            ("*.a.com", "c.b.a.com", false),
            ("*.a.com", "a.com", false),
            ("*.a.com", "*.a.com", true),
            ("*.b.a.com", "*.a.com", false),
            ("", "a.com", false),
            ("", "", true),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn the_oldest_class_has_the_route() {
        let routes = routes(&[
            ("b/new", 9, &[("x.com", "/"), ("x.com", "/new")]),
            ("b/old", 3, &[("X.com", "/"), ("x.com", "")]),
            ("a/old", 3, &[("y.com", "/")]),
            ("a/older", 3, &[("y.com", "/")]),
        ]);
        assert_eq!(routes.find("x.com", "/"), Some(&class("b/old")));
        assert_eq!(routes.find("x.com", "/new"), Some(&class("b/new")));
        assert_eq!(routes.find("y.com", "/"), Some(&class("a/old")));
        assert_eq!(routes.conflicts(&class("b/old")), []);
        let [conflict] = routes.conflicts(&class("b/new")) else {
            panic!("{routes:?}");
        };
        assert_eq!(
            (&*conflict.route.path, &conflict.owner),
            ("/", &class("b/old"))
        );
        assert_eq!(routes.conflicts(&class("a/older")).len(), 1);
        let classes: Vec<_> = routes
            .classes()
            .into_iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(classes, ["a/old", "b/new", "b/old"]);
    }
}
