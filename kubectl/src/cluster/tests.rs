use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::Method;
use portside_manage::{Evaluated, Event, Exec, Worker as Shown, Workers};
use portside_verbs::Client as Asker;
use serde_json::json;

use super::*;

const LOBBY: &str = "chat.0123456789abcdef0123456789abcdef";

fn lobby(class: &str) -> Json {
    json!({
        "metadata": {"name": LOBBY.replace("chat", class)},
        "spec": {"class": class, "id": &LOBBY[5..], "address": "room.js#lobby", "script": "room.js", "name": "lobby"},
        "status": {"state": "Awake", "bytes": 7},
    })
}

/// An API server that gives the answer to each request, and what it was asked.
fn server(
    answer: impl Fn(&str) -> (u16, Json) + Clone + Send + Sync + 'static,
) -> (Asker, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let path = request.uri().to_string();
        let (path, _) = path
            .split_once("serverlessworkers")
            .map_or(("", ""), |it| (it.1, it.0));
        seen.lock()
            .unwrap()
            .push(format!("{} {path}", request.method()));
        let (status, json) = answer(path);
        async move {
            let text = match &json {
                Json::Array(lines) => lines.iter().map(|line| format!("{line}\n")).collect(),
                json => json.to_string(),
            };
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(
                response
                    .body(kube::client::Body::from(text.into_bytes()))
                    .unwrap(),
            )
        }
    });
    let client = Client::new(service, "default");
    let way = ToWorkers::new(client, "team-a", None);
    (Asker::by(Box::new(way)), asked)
}

#[tokio::test]
async fn a_worker_is_found_by_its_address_and_asked() {
    let (client, asked) = server(|path| match path {
        path if path.starts_with("?fieldSelector=spec.address") => {
            (200, json!({"items": [lobby("chat")]}))
        }
        path if path.ends_with("/exec") => (200, json!({"text": "2", "value": 2})),
        _ => (200, json!({"kind": "Status", "status": "Success"})),
    });
    let question = Exec {
        expression: "1 + 1".to_owned(),
    };
    let path = ["workers", "room.js#lobby", "exec"];
    let answer: Evaluated = client.ask(&path, &question).await.unwrap();
    assert_eq!(answer.text, "2");
    let path = ["workers", LOBBY, "wake"];
    client.order(&Method::POST, &path, &[], None).await.unwrap();
    let expected = [
        "GET ?fieldSelector=spec.address%3Droom.js%23lobby&limit=500".to_owned(),
        format!("POST /{LOBBY}/exec"),
        format!("POST /{LOBBY}/wake"),
    ];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let (client, asked) = server(|path| {
        let next = if path.contains("continue") {
            ""
        } else {
            "more"
        };
        (
            200,
            json!({"metadata": {"continue": next}, "items": [lobby("chat")]}),
        )
    });
    let all: Workers = client
        .list(&["workers"], &[("state", "awake")])
        .await
        .unwrap();
    assert_eq!(all.items.len(), 2);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_the_next_step() {
    let address = |class: &'static [&'static str]| {
        let items: Vec<Json> = class.iter().map(|class| lobby(class)).collect();
        server(move |_| (200, json!({"items": items}))).0
    };
    let ask = async |client: Asker| {
        let got: anyhow::Result<Shown> = client.get(&["workers", "room.js#lobby"], &[]).await;
        got.unwrap_err().to_string()
    };
    let missing = ask(address(&[])).await;
    assert!(
        missing.contains("there is no worker room.js#lobby in the namespace team-a"),
        "{missing}"
    );
    let several = ask(address(&["chat", "chat2"])).await;
    assert!(several.contains("say --class"), "{several}");
    let forbidden = json!({"kind": "Status", "message": "you may not", "code": 403});
    let refused = ask(server(move |_| (403, forbidden.clone())).0).await;
    assert!(
        refused.starts_with("you may not") && refused.contains("portside-workers-view"),
        "{refused}"
    );
    // As Kubernetes says it of a path that it does not know.
    let none = ask(server(move |_| (404, json!("404 page not found"))).0).await;
    assert!(none.contains("apiserver.enabled=true"), "{none}");
    let silent = ask(server(move |_| (503, json!("service unavailable"))).0).await;
    assert!(silent.contains("describe apiservice"), "{silent}");
    let status = json!({"kind": "Status", "message": "there is no key", "code": 404});
    assert_eq!(
        ask(server(move |_| (404, status.clone())).0).await,
        "there is no key"
    );
}

#[tokio::test]
async fn what_happens_is_followed_from_the_list_on() {
    let (client, asked) = server(|path| {
        if path.contains("resourceVersion=43") {
            return (
                410,
                json!({"kind": "Status", "message": "it is too long ago"}),
            );
        }
        if path.contains("watch") {
            let change = |kind: &str| json!({"type": kind, "object": lobby("chat")});
            let mark =
                json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "43"}}});
            return (200, json!([change("ADDED"), change("DELETED"), mark]));
        }
        (
            200,
            json!({"metadata": {"resourceVersion": "42"}, "items": []}),
        )
    });
    let lines = client.lines(&["events"], &[]).await.unwrap();
    let lines: Vec<anyhow::Result<_>> = lines.collect().await;
    let gone = |line: &anyhow::Result<Bytes>| match serde_json::from_slice(line.as_ref().unwrap())
        .unwrap()
    {
        Event::Change { gone, .. } => gone,
        other => panic!("{other:?}"),
    };
    assert_eq!([gone(&lines[0]), gone(&lines[1])], [false, true]);
    // It went on where the bookmark was, and then could not.
    let end = lines[2].as_ref().unwrap_err().to_string();
    assert_eq!(end, "it is too long ago");
    let watch = "GET ?watch=true&allowWatchBookmarks=true&resourceVersion=";
    let asked = asked.lock().unwrap();
    assert_eq!(asked[1..], [format!("{watch}42"), format!("{watch}43")]);
}
