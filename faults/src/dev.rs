//! One `portside dev` on SQLite.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use portside_testkit::Site;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::api::CLASS;
use crate::databases::Stored;
use crate::history::Micros;
use crate::process::{Guard, Process};
use crate::schedule::{Fault, Schedule};
use crate::system::{App, Programs, Setting, System, copy_app};

const PORT: u16 = 7480;
const PATIENCE: Duration = Duration::from_secs(60);

/// The process, and the folder it serves.
#[derive(Debug)]
pub struct Dev {
    programs: Programs,
    guard: Guard,
    log: PathBuf,
    address: IpAddr,
    app: App,
    lie: &'static str,
    version: u32,
    process: Process,
    restarts: usize,
}

impl Dev {
    /// Starts it. It need not answer yet.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(setting: Setting) -> Result<Self> {
        let Setting {
            programs,
            guard,
            logs,
            app,
            lie,
            host,
        } = setting;
        let pid = std::process::id().to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, pid[2].max(1), pid[3], host));
        let log = logs.join("dev.log");
        copy_app(&guard.folder().join("app"), app, 1, lie)?;
        let process = serve(&programs, &guard, &log, address)?;
        Ok(Self {
            programs,
            guard,
            log,
            address,
            app,
            lie,
            version: 1,
            process,
            restarts: 0,
        })
    }

    fn start_again(&mut self) -> Result<()> {
        self.process = serve(&self.programs, &self.guard, &self.log, self.address)?;
        Ok(())
    }

    async fn stop(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal);
        ensure!(
            self.process.wait(PATIENCE).await,
            "portside dev does not end"
        );
        Ok(())
    }

    async fn restart(&mut self, signal: Signal, pause: Duration) -> Result<()> {
        self.stop(signal).await?;
        sleep(pause).await;
        self.start_again()
    }
}

fn store_url(guard: &Guard) -> String {
    format!("sqlite:{}", guard.folder().join("state.sqlite").display())
}

fn serve(programs: &Programs, guard: &Guard, log: &Path, address: IpAddr) -> Result<Process> {
    let mut command = Command::new(&programs.portside);
    command
        .arg("dev")
        .arg(guard.folder().join("app"))
        .args(["--host", &address.to_string(), "--port", &PORT.to_string()])
        .args(["--store", &store_url(guard)])
        .env("PORTSIDE_LOG", "info,sqlx=warn")
        .current_dir(guard.folder());
    guard.spawn(command, Signal::KILL, log)
}

impl System for Dev {
    fn site(&self) -> Site {
        Site::at(&format!("{}:{PORT}", self.address))
    }

    fn pods(&self) -> watch::Receiver<Vec<Site>> {
        watch::channel(Vec::new()).1
    }

    fn contradictions(&self) -> Vec<String> {
        Vec::new()
    }

    fn restarts(&self) -> usize {
        self.restarts
    }

    fn handed_over(&self) -> Result<Vec<Micros>> {
        Ok(Vec::new())
    }

    async fn ready(&mut self) -> Result<()> {
        let logs = self.log.clone();
        self.answered(PATIENCE, &logs).await
    }

    async fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(Duration::from_millis(200).min(end.saturating_duration_since(Instant::now())))
                .await;
            if self.process.ended().is_some() {
                self.restarts += 1;
                self.start_again()?;
            }
        }
        Ok(())
    }

    async fn inflict(&mut self, fault: Fault, schedule: &mut Schedule) -> Result<()> {
        match fault {
            Fault::Kill => self.restart(Signal::KILL, schedule.time(0..1000)).await,
            Fault::Drain => self.restart(Signal::TERM, schedule.time(0..1000)).await,
            Fault::Pause | Fault::PauseShortly => {
                let time = match fault {
                    Fault::Pause => schedule.time(3500..6000),
                    _ => schedule.time(200..2800),
                };
                self.process.signal(Signal::STOP);
                sleep(time).await;
                self.process.signal(Signal::CONT);
                Ok(())
            }
            Fault::Reload => {
                self.version += 1;
                copy_app(
                    &self.guard.folder().join("app"),
                    self.app,
                    self.version,
                    self.lie,
                )
            }
            Fault::Break => {
                let folder = self.guard.folder().join("app");
                fs::write(folder.join("list.js"), "export default {{ connect() {")?;
                self.rest(schedule.time(500..2500)).await?;
                copy_app(&folder, self.app, self.version, self.lie)
            }
            _ => bail!("{} is for pods", fault.name()),
        }
    }

    async fn kill_all(&mut self) -> Result<()> {
        self.restart(Signal::KILL, Duration::ZERO).await?;
        self.ready().await
    }

    async fn end(&mut self) -> Result<Stored> {
        self.stop(Signal::KILL).await?;
        Ok(Stored {
            url: store_url(&self.guard),
            app: CLASS.to_owned(),
        })
    }

    fn app(&self) -> App {
        self.app
    }
}
