//! Questions to a pod as requests to an API server of workers.

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portside_crds::names::CLASS_LABEL;
use portside_manage::parse_id;
use portside_verbs::Question;
use serde_json::Value as Json;
use url::form_urlencoded;

use crate::cluster::log::{TAIL, Wanted};

/// The group and version, and the resource.
const API: &str = "/apis/runtime.portside.dev/v1alpha1";
const RESOURCE: &str = "serverlessworkers";

/// Names and values.
pub type Query = Vec<(String, String)>;

/// What is asked of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// A page of workers.
    List(Query),
    /// What happens to workers, and, if it is wanted, what Kubernetes tells of their classes.
    Follow {
        /// See above.
        kubernetes: bool,
    },
    /// What pods log.
    Log(Wanted),
    /// Something of one.
    Of(Worker, What),
}

/// Which worker.
#[derive(Debug, PartialEq, Eq)]
pub enum Worker {
    /// By its object's name, `CLASS.ID`.
    Object(String),
    /// By its address, `SCRIPT#NAME`.
    Address(String),
}

/// What of it.
#[derive(Debug, PartialEq, Eq)]
pub struct What {
    /// Nothing for the worker itself.
    pub subresource: Option<&'static str>,
    /// Of the request.
    pub query: Query,
    /// Whether the answer is its object.
    pub is_worker: bool,
    /// Whether the answer says only that it is done.
    pub says_nothing: bool,
}

/// What a question means here. `class` is the only one that is looked at.
///
/// # Errors
/// It cannot be asked here, for this reason.
pub fn ask(question: &Question, class: Option<&str>) -> Result<Ask, String> {
    let path: Vec<&str> = question.path.iter().map(String::as_str).collect();
    let given = |name: &str| {
        let mut query = question.query.iter();
        query.find_map(|(it, value)| (it == name).then_some(&**value))
    };
    match &*path {
        ["workers"] => Ok(Ask::List(chosen(given, class))),
        ["events"] => Ok(Ask::Follow {
            kubernetes: given("kubernetes") == Some("true"),
        }),
        ["log"] => Ok(Ask::Log(Wanted {
            class: class.map(str::to_owned),
            pod: given("pod").map(str::to_owned),
            follow: given("follow") == Some("true"),
            tail: Some(
                given("tail")
                    .and_then(|tail| tail.parse().ok())
                    .unwrap_or(TAIL),
            ),
        })),
        ["workers", worker] => Ok(Ask::Of(
            of(worker, class)?,
            What {
                subresource: None,
                query: vec![],
                is_worker: question.method == http::Method::GET,
                says_nothing: question.method != http::Method::GET,
            },
        )),
        ["workers", worker, part] => {
            let (subresource, names): (_, &[(&str, &str)]) = match *part {
                "keys" => (
                    "state",
                    &[("prefix", "prefix"), ("after", "after"), ("limit", "limit")],
                ),
                "key" => ("state", &[("name", "key")]),
                "log" => ("log", &[("follow", "follow"), ("tail", "tailLines")]),
                "sql" => ("sql", &[]),
                "exec" => ("exec", &[]),
                "move" => ("move", &[]),
                "inspect" => ("inspect", &[]),
                "wake" => ("wake", &[]),
                "sleep" => ("sleep", &[]),
                other => return Err(format!("{other} cannot be asked of a cluster's workers")),
            };
            let query = names
                .iter()
                .filter_map(|(name, asked)| Some(((*asked).to_owned(), given(name)?.to_owned())));
            let says_nothing = match (*part, &question.method) {
                ("wake" | "sleep", _) => true,
                ("key", method) => *method != http::Method::GET,
                _ => false,
            };
            Ok(Ask::Of(
                of(worker, class)?,
                What {
                    subresource: Some(subresource),
                    query: query.collect(),
                    is_worker: false,
                    says_nothing,
                },
            ))
        }
        other => Err(format!("{} cannot be asked of a cluster", other.join("/"))),
    }
}

/// The query of those workers that are asked for.
fn chosen<'q>(given: impl Fn(&str) -> Option<&'q str>, class: Option<&str>) -> Query {
    let mut fields = vec![];
    match given("state") {
        Some("awake") => fields.push("status.state=Awake".to_owned()),
        Some(_) => fields.push("status.state=Asleep".to_owned()),
        None => {}
    }
    fields.extend(given("script").map(|script| format!("spec.script={}", escaped(script))));
    fields.extend(given("pod").map(|pod| format!("status.pod={}", escaped(pod))));
    let mut query = vec![];
    let fields = fields.join(",");
    if !fields.is_empty() {
        query.push(("fieldSelector", &*fields));
    }
    query.extend(given("limit").map(|limit| ("limit", limit)));
    query.extend(given("after").map(|after| ("continue", after)));
    list(&query, class)
}

/// The worker that is meant.
fn of(text: &str, class: Option<&str>) -> Result<Worker, String> {
    if let Some((of, id)) = text.rsplit_once('.')
        && parse_id(id).is_some()
        && !text.contains('#')
    {
        return match class {
            Some(class) if class != of => {
                Err(format!("{text} is a worker of {of}, not of {class}"))
            }
            _ => Ok(Worker::Object(text.to_owned())),
        };
    }
    match (parse_id(text), class) {
        (None, _) => Ok(Worker::Address(text.to_owned())),
        (Some(_), Some(class)) => Ok(Worker::Object(format!("{class}.{text}"))),
        (Some(_), None) => Err(format!("of which class? Say --class, or CLASS.{text}")),
    }
}

/// The query that finds a worker by its address.
pub fn by_address(address: &str, class: Option<&str>) -> Query {
    let field = format!("spec.address={}", escaped(address));
    list(&[("fieldSelector", &field), ("limit", "500")], class)
}

/// A query of workers, of a class alone if there is one.
pub fn list(query: &[(&str, &str)], class: Option<&str>) -> Query {
    let label = class.map(|class| format!("{CLASS_LABEL}={class}"));
    let label = label.as_deref().map(|label| ("labelSelector", label));
    let all = query.iter().copied().chain(label);
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A value in a field selector, where three characters mean something.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for it in value.chars() {
        if matches!(it, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(it);
    }
    escaped
}

/// Where it is asked: `path` follows the resource's.
pub fn uri(namespace: &str, path: &str, query: &[(String, String)]) -> String {
    let namespace = utf8_percent_encode(namespace, NON_ALPHANUMERIC);
    let mut uri = format!("{API}/namespaces/{namespace}/{RESOURCE}{path}");
    if !query.is_empty() {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(query);
        uri = format!("{uri}?{}", pairs.finish());
    }
    uri
}

/// The text of a warning, as in `299 - "text"`.
pub fn warning(header: &str) -> &str {
    let quoted = header.split_once('"').map_or(header, |it| it.1);
    quoted.strip_suffix('"').unwrap_or(quoted)
}

/// What keeps the cluster from asking its API server of workers, if it is that: the API server itself answers with a Status.
pub fn is_not_served(status: StatusCode, said: &Json) -> Option<&'static str> {
    match status {
        _ if said["kind"] == "Status" => None,
        StatusCode::NOT_FOUND => Some(
            "the cluster has no API server of workers: install the chart with --set apiserver.enabled=true",
        ),
        StatusCode::SERVICE_UNAVAILABLE => Some(
            "the API server of workers does not answer: kubectl describe apiservice v1alpha1.runtime.portside.dev says why",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(method: http::Method, path: &[&str], query: &[(&str, &str)]) -> Question {
        let owned = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
        Question {
            method,
            path: path.iter().map(|it| (*it).to_owned()).collect(),
            query: query.iter().map(owned).collect(),
            body: bytes::Bytes::new(),
        }
    }

    fn pairs(query: &[(&str, &str)]) -> Query {
        list(query, None)
    }

    #[test]
    fn a_list_is_asked_with_selectors() {
        let query = [
            ("state", "awake"),
            ("script", "a,b.js"),
            ("limit", "500"),
            ("after", "x"),
        ];
        let asked = ask(
            &question(http::Method::GET, &["workers"], &query),
            Some("chat"),
        );
        let expected = [
            ("fieldSelector", "status.state=Awake,spec.script=a\\,b.js"),
            ("limit", "500"),
            ("continue", "x"),
            ("labelSelector", "portside.dev/class=chat"),
        ];
        assert_eq!(asked, Ok(Ask::List(pairs(&expected))));
        assert_eq!(
            uri("team-a", "", &by_address("room.js#a=b", None)),
            "/apis/runtime.portside.dev/v1alpha1/namespaces/team%2Da/serverlessworkers\
             ?fieldSelector=spec.address%3Droom.js%23a%5C%3Db&limit=500"
        );
    }

    #[test]
    fn a_worker_is_meant_by_its_objects_name_its_id_or_its_address() {
        let id = "0123456789abcdef0123456789abcdef";
        let object = |text: String| Ok(Worker::Object(text));
        assert_eq!(
            of(&format!("chat.{id}"), None),
            object(format!("chat.{id}"))
        );
        assert_eq!(of(id, Some("chat")), object(format!("chat.{id}")));
        assert!(of(id, None).unwrap_err().contains("--class"));
        assert!(of(&format!("chat.{id}"), Some("other")).is_err());
        for address in ["room.js#lobby".to_owned(), format!("room.js#a.{id}")] {
            assert_eq!(of(&address, None), Ok(Worker::Address(address)));
        }
    }

    #[test]
    fn what_is_asked_of_a_worker_is_a_subresource() {
        let path = ["workers", "a.js#b", "key"];
        let Ok(Ask::Of(_, what)) = ask(&question(http::Method::PUT, &path, &[("name", "k")]), None)
        else {
            panic!("it can be asked");
        };
        assert_eq!((what.subresource, what.says_nothing), (Some("state"), true));
        assert_eq!(what.query, pairs(&[("key", "k")]));
        let query = [("tail", "3"), ("pod", "chat-1")];
        let all = ask(&question(http::Method::GET, &["log"], &query), Some("chat"));
        let wanted = Wanted {
            class: Some("chat".to_owned()),
            pod: Some("chat-1".to_owned()),
            follow: false,
            tail: Some(3),
        };
        assert_eq!(all, Ok(Ask::Log(wanted)));
        assert!(
            ask(
                &question(http::Method::POST, &["workers", "a", "burn"], &[]),
                None
            )
            .is_err()
        );
    }

    #[test]
    fn warnings_are_shown_without_their_code() {
        assert_eq!(warning("299 - \"no pod answers\""), "no pod answers");
        assert_eq!(warning("odd"), "odd");
    }
}
