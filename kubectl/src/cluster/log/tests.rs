use std::convert::Infallible;
use std::future::ready;
use std::sync::Mutex;

use futures::stream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};

use super::*;

fn pod(name: &str, state: &Value, restarts: i32) -> Value {
    let container = |name: &str, state: &Value, restarts: i32| json!({"name": name, "state": state, "restartCount": restarts, "ready": true, "image": "", "imageID": ""});
    json!({
        "metadata": {"name": name, "uid": name, "labels": {CLASS_LABEL: "chat"}},
        "status": {"containerStatuses": [
            container("other", &json!({"running": {}}), 9),
            container("sidecar", state, restarts),
        ]},
    })
}

fn running(name: &str) -> Value {
    pod(name, &json!({"running": {}}), 0)
}

fn parsed(pod: Value) -> Pod {
    serde_json::from_value(pod).unwrap()
}

#[test]
fn each_container_that_has_begun_is_read_once() {
    let run = |state: Value, restarts| run(&parsed(pod("chat-1", &state, restarts)));
    let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
    assert_eq!(run(waiting, 0), None);
    let first = run(json!({"running": {}}), 0).unwrap();
    assert_eq!((&*first.pod, first.id.1), ("chat-1", 0));
    let again = run(json!({"terminated": {"exitCode": 1}}), 1).unwrap();
    assert_ne!(first.id, again.id);
}

/// An answer's last character, where its connection breaks after it.
const BREAKS: char = '\0';

/// A cluster that answers so, by the path and query.
fn cluster(mut answer: impl FnMut(&str) -> (u16, String) + Send + 'static) -> Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (status, text) = answer(&request.uri().to_string());
        let broken = text
            .ends_with(BREAKS)
            .then(|| Err(std::io::Error::other("it breaks")));
        let text = Bytes::from(text.trim_end_matches(BREAKS).to_owned());
        let frames = [Ok(Frame::data(text))].into_iter().chain(broken);
        let body = StreamBody::new(stream::iter(frames));
        let response = Response::builder().status(status).body(body).unwrap();
        ready(Ok::<_, Infallible>(response))
    });
    Client::new(service, "default")
}

fn no(code: u16, message: &str) -> (u16, String) {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let status = json!({"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code});
    (code, status.to_string())
}

fn two_pods(uri: &str) -> (u16, String) {
    let log = "container=sidecar&tailLines=1000";
    match uri.strip_prefix("/api/v1/namespaces/team-a/pods") {
        Some(rest) if rest.starts_with("?&labelSelector=") => {
            let items = [running("chat-2"), running("chat-1")];
            (200, json!({"metadata": {}, "items": items}).to_string())
        }
        Some("/chat-1") => (200, running("chat-1").to_string()),
        Some(rest) if rest == format!("/chat-1/log?&{log}") => (200, "[server] a\n[x] b".into()),
        Some(rest) if rest == format!("/chat-2/log?&{log}") => (200, "[y] c\n".into()),
        _ => no(404, "not found"),
    }
}

async fn lines(wanted: Wanted) -> String {
    let wanted = Wanted {
        tail: Some(TAIL),
        ..wanted
    };
    let mut lines = log(cluster(two_pods), "team-a", wanted).await.unwrap();
    let mut all = String::new();
    while let Some(line) = lines.recv().await {
        all += std::str::from_utf8(&line.unwrap()).unwrap();
    }
    all
}

#[tokio::test]
async fn each_line_says_whose_pod_it_is_of() {
    let all = lines(Wanted::default()).await;
    let first = "[pod/chat-1] [server] a\n[pod/chat-1] [x] b\n";
    assert_eq!(all, format!("{first}[pod/chat-2] [y] c\n"));
    let one = lines(Wanted {
        pod: Some("chat-1".to_owned()),
        ..Wanted::default()
    });
    assert_eq!(one.await, first);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let why = async |client: Client, class: Option<&str>, pod: Option<&str>| {
        let wanted = Wanted {
            class: class.map(str::to_owned),
            pod: pod.map(str::to_owned),
            ..Wanted::default()
        };
        log(client, "team-a", wanted).await.unwrap_err().1
    };
    let missing = why(cluster(two_pods), None, Some("chat-9")).await;
    assert!(
        missing.contains("no pod chat-9 in the namespace team-a"),
        "{missing}"
    );
    let other = why(cluster(two_pods), Some("shop"), Some("chat-1")).await;
    assert!(other.contains("of the class chat, not of shop"), "{other}");
    fn empty(uri: &str) -> (u16, String) {
        match uri.contains("/pods?") {
            true => (200, json!({"metadata": {}, "items": []}).to_string()),
            false => no(404, "not found"),
        }
    }
    let missing = why(cluster(empty), Some("shop"), None).await;
    assert!(missing.contains("there is no class shop"), "{missing}");
    let none = why(cluster(empty), None, None).await;
    assert!(none.contains("--follow waits"), "{none}");
    let refused = why(cluster(|_| no(403, "you may not")), None, None).await;
    assert!(refused.contains("get of pods/log"), "{refused}");
}

/// What is answered to each look for the pod chat-1 and to each read of its log, in order, the last one ever after; and each read's query.
struct Played {
    pods: Vec<Value>,
    logs: Vec<(u16, String)>,
    looks: usize,
    reads: Vec<String>,
}

impl Played {
    fn answer(&mut self, uri: &str) -> (u16, String) {
        let Some((_, query)) = uri.split_once("/log?") else {
            let first = &self.pods[0];
            if uri.contains("/pods?") {
                return (200, json!({"metadata": {}, "items": [first]}).to_string());
            }
            let at = self.looks.min(self.pods.len() - 1);
            self.looks += 1;
            return (200, self.pods[at].to_string());
        };
        let at = self.reads.len().min(self.logs.len() - 1);
        self.reads.push(query.to_owned());
        self.logs[at].clone()
    }
}

/// The lines that are shown of a pod that is followed, so many or until it says no more; and the queries of the reads.
async fn followed(
    pods: Vec<Value>,
    logs: &[(u16, &str)],
    lines: usize,
) -> (Vec<String>, Vec<String>) {
    let logs = logs.iter().map(|(code, text)| (*code, (*text).to_owned()));
    let played = Arc::new(Mutex::new(Played {
        pods,
        logs: logs.collect(),
        looks: 0,
        reads: vec![],
    }));
    let answering = played.clone();
    let client = cluster(move |uri| answering.lock().unwrap().answer(uri));
    let wanted = Wanted {
        follow: true,
        tail: Some(5),
        ..Wanted::default()
    };
    let mut received = log(client, "team-a", wanted).await.unwrap();
    let mut seen = vec![];
    while seen.len() < lines {
        let line = tokio::time::timeout(LOOK * 30, received.recv());
        let Ok(Some(line)) = line.await else { break };
        let line = String::from_utf8(line.unwrap().to_vec()).unwrap();
        let line = line.strip_prefix("[pod/chat-1] ").unwrap();
        seen.push(line.trim_end().to_owned());
    }
    let reads = played.lock().unwrap().reads.clone();
    (seen, reads)
}

const TAILED: &str = "&container=sidecar&follow=true&tailLines=5&timestamps=true";

#[tokio::test(start_paused = true)]
async fn an_outage_loses_no_line_and_repeats_none() {
    let away = (503, "");
    let one = "2026-01-01T12:00:07.1Z one\n";
    let cut = format!("{one}2026-01-01T12:00:07.2Z tw{BREAKS}");
    let all = format!("{one}2026-01-01T12:00:07.2Z two\n2026-01-01T12:00:09Z three\n");
    let mut logs = vec![away, away, (200, &*cut)];
    logs.extend([away; 15]);
    logs.push((200, &*all));
    let (lines, reads) = followed(vec![running("chat-1")], &logs, 4).await;
    // A line that is cut off is not shown before it is whole; and reading goes on without new ones.
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(reads[..3], [TAILED; 3]);
    let since = "&container=sidecar&follow=true&sinceTime=2026-01-01T12%3A00%3A07Z&timestamps=true";
    assert_eq!(reads[3..19], [since; 16]);
    assert!(reads[19].contains("12%3A00%3A09Z"), "{}", reads[19]);
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_of_a_container_are_read_after_its_end() {
    let one = "2026-01-01T12:00:07Z one\n";
    let crash = format!("{one}2026-01-01T12:00:08Z crash\n");
    let logs = [(200, &*format!("{one}{BREAKS}")), (503, ""), (200, &*crash)];
    let terminated = json!({"terminated": {"exitCode": 1}});
    let backing_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let running = json!({"running": {}});
    for (state, restarts, previous) in [
        (&terminated, 0, ""),
        (&backing_off, 0, ""),
        (&running, 1, "&previous=true"),
    ] {
        let pods = [(&running, 0), (state, restarts)];
        let pods = pods.map(|(state, restarts)| pod("chat-1", state, restarts));
        let (lines, reads) = followed(pods.into(), &logs, 3).await;
        assert_eq!(lines, ["one", "crash"], "{state}");
        let since = "&sinceTime=2026-01-01T12%3A00%3A07Z&timestamps=true";
        let while_running = format!("&container=sidecar&follow=true{since}");
        let after = format!("&container=sidecar{previous}{since}");
        assert_eq!(reads, [TAILED, &while_running, &after], "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn following_ends_where_a_right_is_missing() {
    let wanted = || Wanted {
        follow: true,
        ..Wanted::default()
    };
    let no_logs = cluster(|uri| match uri.contains("/log?") {
        true => no(403, "you may not read logs"),
        false => two_pods(uri),
    });
    let mut lists = 0;
    let no_pods_any_more = cluster(move |uri| {
        lists += usize::from(uri.contains("/pods?"));
        match lists {
            0 | 1 => two_pods(uri),
            _ => no(403, "you may not list pods any more"),
        }
    });
    for (client, why) in [(no_logs, "read logs"), (no_pods_any_more, "any more")] {
        let mut lines = log(client, "team-a", wanted()).await.unwrap();
        let end = async {
            loop {
                match lines.recv().await {
                    Some(Ok(_)) => {}
                    end => return end,
                }
            }
        };
        let end = tokio::time::timeout(LOOK * 10, end).await.unwrap();
        let error = end.unwrap().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(error.contains("get of pods/log"), "{error}");
    }
}

#[test]
fn pods_that_are_left_out_are_told_of_and_taken_later() {
    let runs = |names: &[&str]| -> Vec<Run> {
        let pods = names
            .iter()
            .map(|name| run(&parsed(running(name))).unwrap());
        pods.collect()
    };
    let names = |new: &[(Run, OwnedSemaphorePermit)]| -> Vec<String> {
        new.iter().map(|(run, _)| run.pod.clone()).collect()
    };
    let mut followed = Followed::new(2);
    let (mut new, why) = followed.take(&runs(&["a", "b"]));
    assert_eq!((names(&new), why), (vec!["a".into(), "b".into()], None));
    let all = runs(&["a", "b", "c"]);
    let (none, why) = followed.take(&all);
    let why = why.unwrap();
    assert!(
        none.is_empty() && why.contains("of 1 pods are left out, such as that of c"),
        "{why}"
    );
    // Once.
    assert_eq!(followed.take(&all).1, None);
    drop(new.pop());
    let (later, why) = followed.take(&runs(&["a", "b", "c"]));
    assert_eq!((names(&later), why), (vec!["c".into()], None));
}
