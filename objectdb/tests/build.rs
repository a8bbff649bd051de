//! How SQLite is built: by `.cargo/config.toml`.
#![allow(clippy::unwrap_used, reason = "tests")]

use rusqlite::Connection;

fn options() -> Vec<String> {
    let connection = Connection::open_in_memory().unwrap();
    let mut statement = connection.prepare("PRAGMA compile_options").unwrap();
    let options = statement.query_map([], |row| row.get(0)).unwrap();
    options.collect::<Result<_, _>>().unwrap()
}

#[test]
fn it_has_what_objects_may_use_and_opens_no_uris() {
    let options = options();
    let has = |option: &str| options.iter().any(|has| has == option);
    assert!(
        has("DEFAULT_PCACHE_INITSZ=0")
            && has("ENABLE_FTS5")
            && has("ENABLE_RTREE")
            && has("ENABLE_MATH_FUNCTIONS")
    );
    for other in [
        "USE_URI",
        "ENABLE_MEMORY_MANAGEMENT",
        "ENABLE_DBSTAT_VTAB",
        "ENABLE_FTS3",
        "ENABLE_STAT4",
        "SOUNDEX",
    ] {
        assert!(!has(other), "{other}");
    }
}
