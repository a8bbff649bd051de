//! What clients talk to and faults happen to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use hyper::Method;
use portside_testkit::Site;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::databases::Stored;
use crate::history::Micros;
use crate::process::Guard;
use crate::schedule::{Fault, Schedule};

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `portside`.
    pub portside: PathBuf,
    /// `portside-gateway`.
    pub gateway: PathBuf,
}

impl Programs {
    /// Those in a folder.
    ///
    /// # Errors
    /// One is missing.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let programs = Self {
            portside: folder.join("portside"),
            gateway: folder.join("portside-gateway"),
        };
        for program in [&programs.portside, &programs.gateway] {
            let shown = program.display();
            ensure!(program.is_file(), "there is no {shown}: make build");
        }
        Ok(programs)
    }
}

/// What an application is started with.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What to start.
    pub programs: Programs,
    /// Who ends it, and has its folder.
    pub guard: Guard,
    /// Where its processes' output goes.
    pub logs: PathBuf,
    /// What it is made of.
    pub app: App,
    /// What is wrong with it; nothing, usually.
    pub lie: &'static str,
    /// The last byte of its address, for several at once.
    pub host: u8,
}

/// A running application, and what can go wrong with it.
pub trait System {
    /// Where clients send requests, for as long as it lives.
    fn site(&self) -> Site;

    /// Where they may send requests besides: to pods, of which one answers and the others say 421.
    fn pods(&self) -> watch::Receiver<Vec<Site>>;

    /// What the processes said of themselves that cannot be.
    fn contradictions(&self) -> Vec<String>;

    /// How often a process has ended by itself, and was started again.
    fn restarts(&self) -> usize;

    /// How long each shard was nobody's that a pod has given to another in order.
    ///
    /// # Errors
    /// The logs that say so cannot be read.
    fn handed_over(&self) -> Result<Vec<Micros>>;

    /// Waits until a request is answered.
    async fn ready(&mut self) -> Result<()>;

    /// Waits until a request sent to [`System::site`] is answered, for as long as `within`. `logs` is where to look if none
    /// is.
    async fn answered(&mut self, within: Duration, logs: &Path) -> Result<()> {
        let site = self.site();
        let deadline = Instant::now() + within;
        loop {
            let asking = site.try_request(Method::GET, "/version", &[], "");
            if let Ok(Ok(reply)) = timeout(Duration::from_secs(5), asking).await
                && reply.status == 200
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("nothing is answered: see {}", logs.display());
            }
            self.rest(Duration::from_millis(100)).await?;
        }
    }

    /// Lets some time pass, in which whatever ends by itself is started again.
    async fn rest(&mut self, time: Duration) -> Result<()>;

    /// Lets something go wrong, and returns when the cause is over. Its consequences may not be.
    async fn inflict(&mut self, fault: Fault, schedule: &mut Schedule) -> Result<()>;

    /// Kills every process of the application, and returns when a request is answered again.
    async fn kill_all(&mut self) -> Result<()>;

    /// The same for good. Who asks has the store for itself.
    async fn end(&mut self) -> Result<Stored>;

    /// What the application is made of.
    fn app(&self) -> App;
}

/// What the application is made of. Both do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum App {
    /// `ServerlessWorker`s.
    Workers,
    /// Durable Objects.
    Objects,
}

impl App {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Objects => "objects",
        }
    }

    /// Its files, as text of the lab's program: it needs no source tree.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Workers => &WORKERS,
            Self::Objects => &OBJECTS,
        }
    }
}

const OBJECTS: [(&str, &str); 7] = [
    ("asked.js", include_str!("../objects/asked.js")),
    ("class.yaml", include_str!("../objects/class.yaml")),
    ("server.js", include_str!("../objects/server.js")),
    ("book.js", include_str!("../objects/book.js")),
    ("count.js", include_str!("../objects/count.js")),
    ("list.js", include_str!("../objects/list.js")),
    ("mirror.js", include_str!("../objects/mirror.js")),
];

const WORKERS: [(&str, &str); 6] = [
    ("answer.js", include_str!("../app/answer.js")),
    ("class.yaml", include_str!("../app/class.yaml")),
    ("server.js", include_str!("../app/server.js")),
    ("book.js", include_str!("../app/book.js")),
    ("list.js", include_str!("../app/list.js")),
    ("mirror.js", include_str!("../app/mirror.js")),
];

/// Writes the application as of a version, whose instances lie so.
///
/// # Errors
/// A file cannot be written.
pub fn copy_app(folder: &Path, app: App, version: u32, lie: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in app.files() {
        let text = text
            .replace("const VERSION = 1;", &format!("const VERSION = {version};"))
            .replace("const LIE = \"\";", &format!("const LIE = \"{lie}\";"));
        // Whole or not at all: somebody may be watching.
        let new = folder.join(format!(".{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, folder.join(name))?;
    }
    Ok(())
}
