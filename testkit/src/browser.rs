//! A headless Chromium, driven over the DevTools protocol.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Socket, eventually, within};

const FLAGS: &[&str] = &[
    "--headless",
    "--remote-debugging-port=0",
    // Containers have neither the namespaces of the sandbox nor a GPU, and often a small /dev/shm.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    // Nothing is to leave the machine.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-proxy-server",
    // A tab behind another one has to run at full speed.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
];

/// A browser with a profile of its own. Dropping it ends all of its processes.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    devtools: Socket,
    last_id: u64,
    _profile: TempDir,
}

/// One page of a [`Browser`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tab(String);

impl Browser {
    /// Starts Chromium: the program in `CHROMIUM`, else the first one on `PATH`.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more options for Chromium.
    pub async fn start_with(options: &[String]) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new(program())
            .args(FLAGS)
            .args(options)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Chromium is many processes; a group lets them end together.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = within("the DevTools address of Chromium", async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    return url.to_owned();
                }
            }
            panic!("Chromium ended before it was ready");
        })
        .await;
        // Read on, or a full pipe would stop the browser.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            process,
            devtools: Socket::open(&url).await,
            last_id: 0,
            _profile: profile,
        }
    }

    /// Opens a tab and leads it to `url`.
    pub async fn open(&mut self, url: &str) -> Tab {
        let target = self
            .call(None, "Target.createTarget", json!({ "url": url }))
            .await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach).await;
        Tab(session["sessionId"].as_str().unwrap().to_owned())
    }

    /// Loads a tab's page again.
    pub async fn reload(&mut self, tab: &Tab) {
        // The old document must be gone before the next condition is asked.
        self.evaluate(tab, "window.stale = true").await;
        self.call(Some(tab), "Page.reload", json!({})).await;
        self.wait_for(tab, "window.stale === undefined").await;
    }

    /// The value of an expression in a tab; promises are awaited.
    ///
    /// # Panics
    /// When it throws.
    pub async fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let outcome = self.try_evaluate(tab, expression).await;
        outcome.unwrap_or_else(|problem| panic!("{expression}: {problem}"))
    }

    /// Waits until an expression is true in a tab. Throwing counts as not yet: the page may be loading.
    pub async fn wait_for(&mut self, tab: &Tab, expression: &str) {
        eventually(expression, async || {
            let outcome = self.try_evaluate(tab, expression).await;
            outcome.is_ok_and(|value| value == true).then_some(())
        })
        .await;
    }

    async fn try_evaluate(&mut self, tab: &Tab, expression: &str) -> Result<Value, Value> {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let outcome = self.try_call(Some(tab), "Runtime.evaluate", params).await?;
        match outcome.get("exceptionDetails") {
            Some(exception) => Err(exception.clone()),
            None => Ok(outcome["result"]["value"].clone()),
        }
    }

    async fn call(&mut self, tab: Option<&Tab>, method: &str, params: Value) -> Value {
        let outcome = self.try_call(tab, method, params).await;
        outcome.unwrap_or_else(|problem| panic!("{method}: {problem}"))
    }

    async fn try_call(
        &mut self,
        tab: Option<&Tab>,
        method: &str,
        params: Value,
    ) -> Result<Value, Value> {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(Tab(session)) = tab {
            message["sessionId"] = json!(session);
        }
        self.devtools.send(&message).await;
        loop {
            // Events come between; they have no id.
            let mut reply = self.devtools.receive().await;
            if reply["id"] == self.last_id {
                return match reply.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(reply["result"].take()),
                };
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It may have ended on its own, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn program() -> PathBuf {
    if let Some(given) = env::var_os("CHROMIUM") {
        return given.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .expect(
            "this test needs Chromium: apt-get install chromium, or set CHROMIUM to its program",
        )
}
