//! Choosing a store by URL.

use std::sync::Arc;

use crate::postgres::{Address, Postgres};
use crate::sqlite::Sqlite;
use crate::{Error, Result, Store};

/// Opens the store that `url` names, for the application `app`, and brings its schema up to date.
///
/// `sqlite:PATH` is a file, made if missing. `postgres://…` or `postgresql://…` is a server, version 15 or newer, with
/// libpq's parameters (`?sslmode=verify-full&sslrootcert=…`). Applications in one database do not see each other.
///
/// # Errors
/// [`Error::Database`] if the URL is neither or the database cannot be opened, [`Error::Incompatible`] if another
/// version made it. The messages have no part of the URL that could be a credential.
pub async fn open(url: &str, app: &str) -> Result<Arc<dyn Store>> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Arc::new(Sqlite::open(path.as_ref(), app).await?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Arc::new(Postgres::open(&Address::new(url), app).await?));
    }
    Err(Error::Database(
        "the store's URL must begin with sqlite: (then a path), postgres:// or postgresql://"
            .into(),
    ))
}
