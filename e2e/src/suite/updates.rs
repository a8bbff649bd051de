//! New code and new configuration.

use std::sync::Arc;
use std::time::Duration;

use portside_testkit::{PATIENCE, Site};
use serde_json::{Value, json};

use crate::apps;
use crate::class::{condition, uid};
use crate::cluster::until;
use crate::load::{self, Load};
use crate::test::Test;

/// Somebody in a chat room who says one thing after another, again after a broken connection where it was not
/// confirmed, and hears everything exactly once.
async fn chatter(site: Site, name: &'static str, last: u32) {
    let path = format!("/rooms/lobby/socket?name={name}");
    let mut said = 0;
    'connection: while said < last {
        let Ok(mut socket) = site.try_socket(&path).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while said < last {
            let say = json!({ "type": "say", "id": format!("{name}-{said}"), "text": format!("{name} {said}") });
            if socket.try_send(&say.to_string()).await.is_err() {
                continue 'connection;
            }
            loop {
                let Ok(Ok(heard)) = tokio::time::timeout(PATIENCE, socket.try_receive()).await
                else {
                    continue 'connection;
                };
                assert_ne!(heard["type"], "error", "{heard}");
                if heard["message"]["id"] == say["id"] {
                    break;
                }
            }
            said += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Three new versions while clients write: no request fails, and nothing that was confirmed is lost.
pub async fn new_code_under_load(test: Arc<Test>) {
    let class = test.class("ledger", apps::ledger("v1")).await;
    test.config_map("chat-source", &Test::example("chat-room"))
        .await;
    let chat_spec = |greeting: &str| {
        json!({
            "code": { "configMap": { "name": "chat-source" } },
            "env": [{ "name": "GREETING", "value": greeting }],
        })
    };
    let chat = test.class("chat", chat_spec("one")).await;
    class.ready().await;
    chat.ready().await;

    let load = Load::start(&class.site(), 4);
    let people = ["Ada", "Grace"].map(|name| tokio::spawn(chatter(chat.site(), name, 45)));
    for (version, greeting) in [("v2", "two"), ("v3", "three"), ("v4", "four")] {
        let before = class.digest().await;
        class.apply(apps::ledger(version)).await;
        chat.apply(chat_spec(greeting)).await;
        class.code_other_than(&before).await;
        let site = class.site();
        until(version, Duration::from_secs(60), async || {
            let answer = site.get("/probe").await.json();
            if answer["version"] == version {
                Ok(())
            } else {
                Err(answer.to_string())
            }
        })
        .await;
        chat.current().await;
    }
    let outcome = load.finish().await;
    outcome.flawless();
    assert!(
        outcome.versions.contains("v1") && outcome.versions.contains("v4"),
        "{:?}",
        outcome.versions
    );

    for person in people {
        person.await.unwrap();
    }
    // Everything was said once, in each one's order, and is kept.
    let mut socket = chat.site().socket("/rooms/lobby/socket?name=Zoe").await;
    let history = socket.receive().await;
    let messages = history["messages"].as_array().unwrap();
    for name in ["Ada", "Grace"] {
        let heard: Vec<_> = messages
            .iter()
            .filter(|message| message["name"] == name)
            .map(|message| &message["text"])
            .collect();
        let expected: Vec<_> = (0..45).map(|n| json!(format!("{name} {n}"))).collect();
        assert_eq!(heard, expected.iter().collect::<Vec<_>>());
    }
    until("old code to go with its pods", PATIENCE, async || {
        let of = ["-l", "portside.dev/class=ledger", "-o", "name"];
        let maps = class
            .kubectl(&[&["get", "configmaps"], &of[..]].concat())
            .await;
        let of_code = maps.lines().filter(|name| name.contains("-code-"));
        match of_code.count() {
            0..=2 => Ok(()),
            _ => Err(maps),
        }
    })
    .await;
}

/// A version that cannot work is named, by file and line, while the one before keeps serving.
pub async fn broken_code_leaves_the_old_one(test: Arc<Test>) {
    let class = test.class("ledger", apps::ledger("good")).await;
    class.ready().await;
    let digest = class.digest().await;
    let load = Load::start(&class.site(), 2);
    let with_server = |server: &str| {
        let mut code = apps::ledger_code("bad");
        code["inline"]["server.js"] = json!(server);
        json!({ "code": code })
    };

    class
        .apply(with_server("export default {\n  fetch( {\n};\n"))
        .await;
    let object = class.failed().await;
    let message = condition(&object, "Stalled")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("server.js:"), "{message}");
    assert_eq!(
        condition(&object, "Available")["status"],
        "True",
        "{object}"
    );
    assert_eq!(object["status"]["code"]["observedDigest"], digest.as_str());

    class
        .apply(with_server(
            "const table = {};\ntable.missing.field;\nexport default { fetch() {} };\n",
        ))
        .await;
    until("the next problem", Duration::from_secs(120), async || {
        let object = class.get().await;
        let message = condition(&object, "Stalled")["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if message.contains("server.js:2:") && message.contains("TypeError") {
            assert_eq!(condition(&object, "Available")["status"], "True");
            return Ok(());
        }
        Err(object["status"]["conditions"].to_string())
    })
    .await;

    // Back to what there was.
    class.apply(apps::ledger("good")).await;
    class.ready().await;
    assert_eq!(class.digest().await, digest);
    let outcome = load.finish().await;
    outcome.flawless();
    assert_eq!(outcome.versions.into_iter().collect::<Vec<_>>(), ["good"]);

    // With nothing before it, there is nothing to serve.
    let broken = test
        .class("broken", with_server("export default 1;;;("))
        .await;
    let object = broken.failed().await;
    assert_eq!(
        condition(&object, "Ready")["reason"],
        "CodeInvalid",
        "{object}"
    );
    assert_ne!(condition(&object, "Available")["status"], "True");
}

/// Secrets and ConfigMaps that come later than the class.
pub async fn what_is_missing_is_named_and_waited_for(test: Arc<Test>) {
    let class = test.class("early", json!({
        "code": { "configMap": { "name": "early-source" } },
        "storage": { "database": { "secretKeyRef": { "name": "early-database" } } },
        "env": [{ "name": "GREETING", "valueFrom": { "secretKeyRef": { "name": "early-env", "key": "greeting" } } }],
    }))
    .await;
    let missing = class.condition("Ready", "False", "CodeMissing").await;
    assert!(
        missing["message"]
            .as_str()
            .unwrap()
            .contains("early-source"),
        "{missing}"
    );
    let files = apps::ledger_code("1")["inline"].clone();
    test.apply("v1", "ConfigMap", "early-source", json!({ "data": files }))
        .await;

    let secret = async |name: &str, data: Value| {
        test.apply("v1", "Secret", name, json!({ "stringData": data }))
            .await;
    };
    let missing = class.condition("Ready", "False", "EnvMissing").await;
    assert!(
        missing["message"].as_str().unwrap().contains("early-env"),
        "{missing}"
    );
    secret("early-env", json!({ "greeting": "hello" })).await;

    let missing = class.condition("Ready", "False", "DatabaseMissing").await;
    assert!(
        missing["message"]
            .as_str()
            .unwrap()
            .contains("early-database"),
        "{missing}"
    );
    // However long it waits, no probe ends it, and the reason stays.
    until(
        "a pod that is started",
        Duration::from_secs(60),
        async || {
            let status = class.pods().await[0]["status"]["containerStatuses"][0].clone();
            match status["started"] == true && status["ready"] == false {
                true => Ok(()),
                false => Err(status.to_string()),
            }
        },
    )
    .await;
    class.condition("Ready", "False", "DatabaseMissing").await;
    secret(
        "early-database",
        json!({ "url": crate::release::database_url() }),
    )
    .await;
    class.ready().await;
    load::add(&class.site(), "/a", "one").await;
    assert_eq!(class.site().get("/a").await.json()["greeting"], "hello");

    // A new value comes without a restart.
    let before: Vec<_> = class.pods().await.iter().map(uid).collect();
    secret("early-env", json!({ "greeting": "good evening" })).await;
    until("the new greeting", Duration::from_secs(150), async || {
        let answer = class.site().get("/a").await.json();
        if answer["greeting"] == "good evening" {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
    assert_eq!(
        class.pods().await.iter().map(uid).collect::<Vec<_>>(),
        before
    );
    assert_eq!(load::entries(&class.site(), "/a").await.len(), 1);
}
