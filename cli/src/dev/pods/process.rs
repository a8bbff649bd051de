//! A pod's process, as the one that started it has it.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::message::{Order, Said, Start};

/// A running pod. Once this is dropped it ends.
pub struct Process {
    orders: Option<mpsc::UnboundedSender<String>>,
    kill: CancellationToken,
}

/// What is heard of a pod.
pub enum News {
    /// It says something.
    Said(Said),
    /// Its process has ended. Nothing comes after this.
    Ended(io::Result<ExitStatus>),
}

impl Process {
    /// Starts a pod. What it writes is written with its name before each line; `tell` gets its news.
    ///
    /// # Errors
    /// There can be no more processes.
    pub fn start<C: Serialize>(
        start: &Start<C>,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let mut child = Command::new(program()?)
            .arg0("portside")
            .arg("dev-pod")
            // It is told of the store, and what it runs is not.
            .env_remove("PORTSIDE_STORE")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (orders, told) = mpsc::unbounded_channel();
        // The receiver is here still.
        let _ = orders.send(line(start)?);
        let (hears, tells) = ours.into_split();
        tokio::spawn(pass_on(told, tells));
        let kill = CancellationToken::new();
        let (name, killed) = (start.pod.clone(), kill.clone());
        tokio::spawn(async move {
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let (status, ..) = tokio::join!(
                ended(&mut child, killed),
                forward(out, &name, |line| io::stdout().lock().write_all(line)),
                forward(err, &name, |line| io::stderr().lock().write_all(line)),
                listen(hears, &tell),
            );
            tell(News::Ended(status));
        });
        Ok(Self {
            orders: Some(orders),
            kill,
        })
    }

    /// Has it hand its workers over to the others, and then end.
    pub fn leave(&self) {
        if let (Some(orders), Ok(line)) = (&self.orders, line(&Order::Leave)) {
            // It may have ended.
            let _ = orders.send(line);
        }
    }

    /// Has it end: after the writes under way, for nobody has anything to ask it any more.
    pub fn stop(&mut self) {
        self.orders = None;
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.kill.cancel();
    }
}

/// This program, even if another one has taken its file's place since.
fn program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

fn line(message: &impl Serialize) -> io::Result<String> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    Ok(line)
}

/// Sends what it is told, and then the end.
async fn pass_on(mut told: mpsc::UnboundedReceiver<String>, mut tells: OwnedWriteHalf) {
    while let Some(line) = told.recv().await {
        if tells.write_all(line.as_bytes()).await.is_err() {
            // It has ended, which is noticed elsewhere.
            return;
        }
    }
    let _ = tells.shutdown().await;
}

async fn listen(hears: OwnedReadHalf, tell: &impl Fn(News)) {
    let mut lines = BufReader::new(hears).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(said) = serde_json::from_str(&line) {
            tell(News::Said(said));
        }
    }
}

async fn ended(child: &mut Child, killed: CancellationToken) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = killed.cancelled() => {}
    }
    child.kill().await?;
    child.wait().await
}

/// Writes what it writes, with its name before each line.
async fn forward(
    stream: Option<impl AsyncRead + Unpin>,
    name: &str,
    write: impl Fn(&[u8]) -> io::Result<()>,
) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(text)) = lines.next_segment().await {
        let mut line = format!("{name} ").into_bytes();
        line.extend(text);
        line.push(b'\n');
        // Nobody may be reading.
        let _ = write(&line);
    }
}
