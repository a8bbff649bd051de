//! One `portside dev` process on a copy of an example.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use hyper::Method;
use portside_testkit::{Reply, Site, Socket};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::{eventually, within};

/// An example that is being served. Dropping it ends the process and deletes its data.
pub struct App {
    folder: TempDir,
    options: Vec<String>,
    group: Option<PathBuf>,
    /// Its user and group, if it is not to have ours.
    user: Option<(u32, u32)>,
    log: &'static str,
    process: Option<Child>,
    port: u16,
    output: Output,
}

/// What the process wrote since it was started, standard output and error together.
type Output = Arc<Mutex<String>>;

impl App {
    /// Serves a copy of `examples/<name>`, with data of its own, on a free port.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// The same, with more options for `portside dev`.
    pub async fn start_with(name: &str, options: &[&str]) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples")
            .join(name);
        let folder = tempfile::tempdir().unwrap();
        copy(&example, folder.path());
        Self::serve(folder, options).await
    }

    /// Serves a folder, on a free port.
    pub async fn serve(folder: TempDir, options: &[&str]) -> Self {
        Self::serve_in(None, folder, options).await
    }

    /// The same with this much of Portside's own log.
    pub async fn serve_with(folder: TempDir, options: &[&str], log: &'static str) -> Self {
        let mut app = Self::new(None, folder, options);
        app.log = log;
        app.run().await;
        app
    }

    /// The same in that control group, whose folder this is.
    pub async fn serve_in(group: Option<&Path>, folder: TempDir, options: &[&str]) -> Self {
        let mut app = Self::new(group, folder, options);
        app.run().await;
        app
    }

    /// The same as another user.
    pub async fn serve_as(user: Option<(u32, u32)>, folder: TempDir, options: &[&str]) -> Self {
        let mut app = Self::new(None, folder, options);
        app.user = user;
        app.run().await;
        app
    }

    fn new(group: Option<&Path>, folder: TempDir, options: &[&str]) -> Self {
        Self {
            folder,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            group: group.map(Path::to_owned),
            user: None,
            log: "error",
            process: None,
            port: 0,
            output: Output::default(),
        }
    }

    /// Starts the process that [`App::kill`] ended, on the same data and the same port.
    pub async fn run(&mut self) {
        assert!(self.process.is_none(), "the process is still running");
        self.output = Output::default();
        let mut command = match &self.group {
            // In the group before it is the program: that looks for its group when it starts.
            Some(group) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
                    .arg(group.join("cgroup.procs"))
                    .arg(env!("CARGO_BIN_EXE_portside"));
                shell
            }
            None => Command::new(env!("CARGO_BIN_EXE_portside")),
        };
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let mut process = command
            .arg("dev")
            .arg(self.folder.path())
            .args(["--port", &self.port.to_string()])
            .args(&self.options)
            .env("PORTSIDE_LOG", self.log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        collect(process.stdout.take().unwrap(), &self.output);
        collect(process.stderr.take().unwrap(), &self.output);
        self.port = eventually("the line with the address", async || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("ended at once with {status}:\n{}", self.output());
            }
            port_in(&self.output())
        })
        .await;
        self.process = Some(process);
    }

    /// Ends the process with SIGKILL: what it had not stored is lost, as in a crash.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("the process is running");
        process.kill().await.unwrap();
    }

    /// Ends the process as Ctrl-C does.
    ///
    /// # Panics
    /// When it does not end, or not successfully.
    pub async fn stop(&mut self) {
        self.interrupt();
        let status = self.ended().await;
        assert!(status.success(), "{status} after SIGINT");
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        let process = self.process.as_ref().expect("the process is running");
        process.id().expect("not waited for yet")
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the process is running");
        within("the end", process.wait()).await.unwrap()
    }

    /// Waits until the process has written `text` since it was last started.
    pub async fn wrote(&self, text: &str) {
        let what = format!("{text:?} in the output");
        eventually(&what, async || self.output().contains(text).then_some(())).await;
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a request and waits for the whole response.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.site().request(method, path, headers, body).await
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.site().get(path).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.site().post(path, body).await
    }

    /// Opens a WebSocket.
    pub async fn socket(&self, path: &str) -> Socket {
        self.site().socket(path).await
    }

    fn site(&self) -> Site {
        Site::at(&self.address())
    }

    /// The folder it is served from.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the process has written since it was last started.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }
}

/// A failed test shows what the process had to say.
impl Drop for App {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- portside dev wrote:\n{}---", self.output());
        }
    }
}

/// Copies a folder, but for what a developer's own run left in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, output: &Output) {
    let output = Arc::clone(output);
    let mut lines = BufReader::new(stream).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    });
}

fn port_in(output: &str) -> Option<u16> {
    let (_, rest) = output.split_once("http://127.0.0.1:")?;
    // The character after the port has to be there, or the number may be half written.
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}
