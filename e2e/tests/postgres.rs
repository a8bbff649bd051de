//! The start of the chart's Postgres, on this machine. Needs `helm`, as `charts.rs` does, and PostgreSQL's programs; without them the
//! test says so and passes.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The script as the chart has it, if there is helm.
fn script() -> Option<String> {
    let program = std::env::var_os("HELM").unwrap_or_else(|| "helm".into());
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/portside");
    let output = Command::new(program)
        .args(["template", "portside"])
        .arg(chart)
        .args([
            "--kube-version=1.33",
            "--show-only=templates/postgres/postgres.yaml",
        ])
        .args(["--set=postgres.enabled=true,postgres.password=correct-horse"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text.trim_start_matches("---\n").split("\n---\n");
    let objects = documents.map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    let mut scripts = objects.filter_map(|object| {
        let script = object["data"]["start.sh"].as_str();
        script.map(ToOwned::to_owned)
    });
    Some(scripts.next().expect("the chart has a start.sh"))
}

/// Where PostgreSQL's programs are, `psql` among them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.flatten().map(|version| version.path().join("bin"));
    on_path.chain(debian).find(|folder| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| folder.join(program).is_file())
    })
}

/// The user and group that may run a server, if it is not the present one: root may not.
fn other_user(folder: &Path) -> Option<(u32, u32)> {
    let own = fs::metadata(folder).unwrap().uid();
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            ["postgres" | "nobody", _, uid, gid, ..] => {
                Some((uid.parse().ok()?, gid.parse().ok()?))
            }
            _ => None,
        }
    });
    user.filter(|_| own == 0)
}

struct Server {
    folder: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    process: Option<Child>,
}

impl Server {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::join_paths([self.programs.clone(), "/usr/bin".into(), "/bin".into()]);
        command
            .env("PATH", path.unwrap())
            .env("PGDATA", self.folder.join("cluster"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts with that password in the Secret.
    fn start(&mut self, password: &str) {
        fs::write(self.folder.join("password"), password).unwrap();
        let process = self
            .command("sh")
            .arg(self.folder.join("start.sh"))
            .args(["-c", &format!("port={}", self.port), "-c", "fsync=off"])
            .spawn();
        self.process = Some(process.unwrap());
        let started = Instant::now();
        while !self.lets_in(password) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "it does not start"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn lets_in(&self, password: &str) -> bool {
        let port = self.port.to_string();
        let asked = self
            .command("psql")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "portside",
                "-c",
                "SELECT 1",
            ])
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "5")
            .status();
        asked.unwrap().success()
    }

    /// As a container ends: asked to, or killed.
    fn end(&mut self, signal: &str) {
        let mut process = self.process.take().unwrap();
        let id = process.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.end("-QUIT");
        }
    }
}

#[test]
fn a_password_that_has_changed_is_set_at_the_start() {
    let (Some(script), Some(programs)) = (script(), programs()) else {
        eprintln!("skipped: helm, or PostgreSQL's initdb, postgres and psql, are not here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let user = other_user(folder.path());
    if let Some((uid, gid)) = user {
        chown(folder.path(), Some(uid), Some(gid)).unwrap();
    }
    let secret = folder.path().join("password");
    let script = script
        .replace("/etc/portside/password", secret.to_str().unwrap())
        .replace("unix_socket_directories=/tmp", "unix_socket_directories=''");
    fs::write(folder.path().join("start.sh"), script).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server {
        folder: folder.path().to_owned(),
        programs,
        user,
        port: listener.local_addr().unwrap().port(),
        process: None,
    };
    drop(listener);
    server.start("first-password");
    assert!(!server.lets_in("second-password"));
    // What a crash leaves is no obstacle.
    server.end("-QUIT");
    server.start("second-password");
    assert!(!server.lets_in("first-password"));
    server.end("-INT");
    server.start("second-password");
}
