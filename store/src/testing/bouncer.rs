//! A PgBouncer before the server of tests.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, PgConnection};

use super::server::{User, command, run};

/// What a URL has more than one that leads to the server itself, in whose folder the socket is.
pub(super) const PARAMETERS: &str = "&port=6432&pgbouncer=true";

/// Starts it with that folder for its files; it ends when it is told to by the process id there.
///
/// # Errors
/// The program is not there, or older than 1.21: those cannot keep statements prepared.
pub(super) fn start(wanted: &OsStr, folder: &Path, user: Option<User>) -> io::Result<bool> {
    let program =
        program(wanted).ok_or_else(|| io::Error::other("there is no pgbouncer: install it"))?;
    let said = command(&program, user).arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    if minor(&said).is_none_or(|minor| minor < 21) {
        return Err(io::Error::other(format!(
            "PgBouncer 1.21 or newer is needed, and this is {said}"
        )));
    }
    let shown = folder.display();
    let settings = format!(
        "[databases]\n* = host={shown} port=5432\n[pgbouncer]\nlisten_port = 6432\nunix_socket_dir = {shown}\n\
         auth_type = trust\nauth_file = {shown}/users\npool_mode = transaction\nmax_prepared_statements = 200\n\
         default_pool_size = 60\nmax_client_conn = 1000\nserver_login_retry = 1\nignore_startup_parameters = extra_float_digits\n\
         logfile = {shown}/bouncer.log\npidfile = {shown}/bouncer.pid\n"
    );
    std::fs::write(folder.join("bouncer.ini"), settings)?;
    std::fs::write(folder.join("users"), "\"postgres\" \"\"\n")?;
    run(command(&program, user)
        .args(["-q", "-d"])
        .arg(folder.join("bouncer.ini")))?;
    Ok(true)
}

/// Gives a database what sessions cannot set for themselves.
pub(super) async fn prepare(connection: &mut PgConnection, database: &str) {
    for setting in [
        "plan_cache_mode = force_generic_plan",
        "jit = off",
        "enable_seqscan = off",
    ] {
        let set = AssertSqlSafe(format!("ALTER DATABASE {database} SET {setting}"));
        sqlx::query(set)
            .execute(&mut *connection)
            .await
            .expect("the test server lets us set it");
    }
}

fn program(wanted: &OsStr) -> Option<PathBuf> {
    if wanted != "1" {
        return Some(PathBuf::from(wanted));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join("pgbouncer"));
    programs.find(|program| program.is_file())
}

/// Of `PgBouncer 1.25.2`.
fn minor(said: &str) -> Option<u32> {
    let version = said.lines().next()?.strip_prefix("PgBouncer 1.")?;
    version.split('.').next()?.parse().ok()
}
