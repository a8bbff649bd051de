//! Whose class gets a request.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use portside_testkit::Site;
use serde_json::json;

use crate::apps;
use crate::cluster::until;
use crate::test::Test;

/// Which class answers a request with this `Host`, and these headers.
async fn answers(test: &Test, host: &str, headers: &[(&str, &str)]) -> String {
    let site = Site {
        address: test.cluster.settings.entry.clone(),
        host: host.to_owned(),
    };
    let reply = site.request(Method::GET, "/", headers, "").await;
    match reply.status {
        200 => reply.json()["version"].as_str().unwrap().to_owned(),
        status => format!("{status} {}", reply.text()),
    }
}

/// The host of a request decides, however it is written, and no other header; also beside a class that has every host.
pub async fn a_request_goes_by_its_host_alone(test: Arc<Test>) {
    let tenant = test.tenant("b").await;
    let shop = test.class("shop", apps::ledger("ours")).await;
    shop.ready().await;
    let greedy = tenant.class("greedy", apps::ledger("theirs")).await;
    let (ours, theirs) = (test.host("shop"), tenant.host("greedy"));
    let routes = json!([{ "host": theirs }, { "host": "" }]);
    greedy.patch(&json!({ "spec": { "routes": routes } })).await;
    greedy.ready().await;
    until(
        "every other host",
        Duration::from_secs(60),
        async || match answers(&test, "nobodys.example", &[]).await {
            it if it == "theirs" => Ok(()),
            it => Err(it),
        },
    )
    .await;
    for host in [
        ours.clone(),
        ours.to_uppercase(),
        format!("{ours}."),
        format!("{ours}:80"),
        format!("{ours}.:80"),
    ] {
        let answered = answers(&test, &host, &[]).await;
        assert_eq!(answered, "ours", "{host}");
    }
    let forwarded = format!("host={theirs}");
    for (name, value) in [
        ("x-forwarded-host", theirs.as_str()),
        ("x-original-host", &theirs),
        ("x-host", &theirs),
        ("forwarded", &forwarded),
        ("x-forwarded-prefix", "/login"),
        ("x-original-url", "/login"),
    ] {
        let answered = answers(&test, &ours, &[(name, value)]).await;
        assert_eq!(answered, "ours", "{name}: {value}");
    }
    let answered = answers(&test, &theirs, &[("x-forwarded-host", &ours)]).await;
    assert_eq!(answered, "theirs");
}
