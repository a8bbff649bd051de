//! The stores, and what every test does with one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use portside_core::alarm::{Alarm, AlarmChange};
use portside_core::ids::PodId;
use portside_core::write::{Value, WriteBatch};
pub use portside_store::testing::worker;
use portside_store::testing::{Modelled, Owner, PostgresServer};
use portside_store::{Loaded, Store};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// A store to test, alone in its database as far as it can see.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    pub url: String,
    pub app: String,
    folder: Option<TempDir>,
    model: Models,
}

/// The URL of a model.
const MODEL: &str = "model:";

/// The applications of a model by name. As of a database, there may be several.
type Models = Arc<Mutex<HashMap<String, Modelled>>>;

async fn open(url: &str, app: &str, model: &Models) -> Arc<dyn Store> {
    if url != MODEL {
        return portside_store::open(url, app).await.unwrap();
    }
    let mut apps = model.lock().unwrap();
    // A deleted application begins anew.
    if let Some(known) = apps.get(app)
        && known.shards() == 0
    {
        apps.remove(app);
    }
    Arc::new(apps.entry(app.to_owned()).or_default().clone())
}

/// One database for all tests: applications do not see each other.
async fn postgres() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(|| PostgresServer::shared().database())
        .await
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Sqlite,
    Postgres,
    Model,
}

impl Kind {
    pub async fn open(self) -> Fixture {
        static APPS: AtomicU32 = AtomicU32::new(0);
        let app = format!("app {}", APPS.fetch_add(1, Ordering::Relaxed));
        let (url, folder) = match self {
            Self::Postgres => (postgres().await.to_owned(), None),
            Self::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("state.db");
                (format!("sqlite:{}", path.display()), Some(folder))
            }
            Self::Model => (MODEL.into(), None),
        };
        let model = Models::default();
        Fixture {
            store: open(&url, &app, &model).await,
            model,
            url,
            app,
            folder,
        }
    }
}

impl Fixture {
    /// Closes the store and opens the same database again. Nobody else may hold the store.
    pub async fn reopen(self, app: &str) -> Self {
        drop(self.store);
        Self {
            store: open(&self.url, app, &self.model).await,
            app: app.to_owned(),
            ..self
        }
    }

    /// Closes the store and keeps the database.
    pub fn close(self) -> (String, Option<TempDir>) {
        (self.url, self.folder)
    }

    /// A live pod without shards.
    pub async fn pod(&self) -> PodId {
        let pod = PodId(Uuid::new_v4().as_u128());
        self.store.register(pod, "a pod").await.unwrap();
        pod
    }

    /// A live pod that owns every free shard.
    pub async fn owner(&self) -> Owner {
        let pod = self.pod().await;
        Owner::claim(&self.store, pod).await
    }
}

pub fn value(text: &str) -> Value {
    text.as_bytes().into()
}

/// Puts keys; the values are the keys.
pub fn put(keys: &[&str]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for key in keys {
        batch.write((*key).to_owned(), Some(value(key)));
    }
    batch
}

pub fn delete(keys: &[&str]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for key in keys {
        batch.write((*key).to_owned(), None);
    }
    batch
}

pub fn clear() -> WriteBatch {
    WriteBatch {
        clear: true,
        ..WriteBatch::default()
    }
}

pub fn alarm(change: AlarmChange) -> WriteBatch {
    WriteBatch {
        alarm: change,
        ..WriteBatch::default()
    }
}

pub fn set_alarm(scheduled: i64) -> WriteBatch {
    alarm(AlarmChange::Set(Alarm::at(scheduled)))
}

pub fn keys(loaded: &Loaded) -> Vec<&str> {
    loaded.entries.keys().map(String::as_str).collect()
}

/// How many workers of the application the database has, seen past the store.
pub async fn stored_workers(fixture: &Fixture) -> i64 {
    use sqlx::Connection;
    if fixture.url == MODEL {
        return fixture.store.count_workers().await.unwrap().cast_signed();
    }
    if let Some(path) = fixture.url.strip_prefix("sqlite:") {
        let sql = "SELECT count(*) FROM worker w JOIN pool p USING (pool) WHERE p.name = $1";
        let file = rusqlite::Connection::open(path).unwrap();
        let counted = file.query_row(sql, [&fixture.app], |row| row.get(0));
        return counted.unwrap();
    }
    let sql = "SELECT count(*) FROM portside.worker w JOIN portside.pool p USING (pool) \
        WHERE p.name = $1";
    let mut server = sqlx::PgConnection::connect(&fixture.url).await.unwrap();
    let counted = sqlx::query_scalar(sql).bind(&fixture.app);
    counted.fetch_one(&mut server).await.unwrap()
}
