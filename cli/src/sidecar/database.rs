//! The class's database: where mounted files say it is, and what becomes of a running pod when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portside_crds::sidecar::TerminationReason as Reason;
use portside_store::postgres::{Address, Postgres};
use portside_store::{Error, Store};

use super::failure::Failure;

/// How often the files are looked at. The kubelet itself takes up to a minute and a half to change them.
const LOOK: Duration = Duration::from_secs(10);

/// Which files say where the database is.
#[derive(clap::Args, Clone)]
pub struct DatabaseArgs {
    /// The file that has the database's postgres:// URL
    #[arg(long, value_name = "FILE")]
    store_file: PathBuf,
    /// A file with the certificates, in PEM, of the authority that has signed the database's
    #[arg(long, value_name = "FILE")]
    store_ca_file: Option<PathBuf>,
}

/// The class's part of the database, opened.
pub struct Database {
    postgres: Postgres,
    /// Where it is.
    address: Address,
    files: DatabaseArgs,
}

impl DatabaseArgs {
    /// Opens the part of a class, by its namespace and name.
    pub async fn open(&self, class: &str) -> Result<Database, Failure> {
        let address = self.address()?;
        let opened = Postgres::open(&address, class).await;
        let postgres = opened.map_err(|error| match error {
            Error::Database(_) => Failure::new(Reason::DatabaseUnavailable, error.to_string()),
            Error::Incompatible(_) => Failure::new(Reason::DatabaseIncompatible, error.to_string()),
        })?;
        Ok(Database {
            postgres,
            address,
            files: self.clone(),
        })
    }

    /// What the files say. Errors never have any of it.
    fn address(&self) -> Result<Address, Failure> {
        let url = url(&self.store_file)?;
        let ca = self.store_ca_file.as_deref().map(authority).transpose()?;
        Ok(Address { url, ca })
    }
}

impl Database {
    /// What is kept there.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.postgres.clone())
    }

    /// Goes on with what the files say as soon as that is something else, and works. What does not work is told once, and tried again.
    pub async fn follow(mut self) {
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK).await;
            told = self.look(told).await;
        }
    }

    /// One look. What is wrong is told unless it was, and given.
    async fn look(&mut self, told: Option<String>) -> Option<String> {
        let wrong = match self.files.address() {
            Ok(address) if address == self.address => return None,
            Ok(address) => match self.postgres.follow(&address).await {
                Ok(()) => {
                    self.address = address;
                    tracing::info!(
                        "the database's URL or certificate authority has changed: new connections use it"
                    );
                    return None;
                }
                Err(error) => error.to_string(),
            },
            Err(failure) => failure.message().to_owned(),
        };
        if told.as_deref() != Some(&*wrong) {
            tracing::error!(
                error = wrong,
                "the database's URL or certificate authority has changed, and cannot be used: the old one stays"
            );
        }
        Some(wrong)
    }
}

fn url(file: &Path) -> Result<String, Failure> {
    let missing = || {
        let message = format!(
            "there is no database URL in {}: does the Secret of spec.storage.database exist, and has it the key?",
            file.display()
        );
        Failure::new(Reason::DatabaseMissing, message)
    };
    let url = std::fs::read_to_string(file).map_err(|_| missing())?;
    let url = url.trim();
    if url.is_empty() {
        return Err(missing());
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let message = "the database URL must begin with postgres://";
        return Err(Failure::new(Reason::DatabaseIncompatible, message));
    }
    Ok(url.to_owned())
}

fn authority(file: &Path) -> Result<Vec<u8>, Failure> {
    match std::fs::read(file) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => {
            let message = format!(
                "there are no certificates in {}: does the Secret or ConfigMap of spec.storage.database.ca exist, and has it the key?",
                file.display()
            );
            Err(Failure::new(Reason::DatabaseCaMissing, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use portside_store::testing::PostgresServer;

    use super::*;

    fn reason(outcome: Result<Address, Failure>) -> Option<Reason> {
        match outcome {
            Err(Failure::Start(termination)) => Some(termination.reason),
            _ => None,
        }
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let files = |ca: Option<&str>| DatabaseArgs {
            store_file: dir.path().join("url"),
            store_ca_file: ca.map(|ca| dir.path().join(ca)),
        };
        let write =
            |name: &str, content: &str| std::fs::write(dir.path().join(name), content).unwrap();
        assert_eq!(reason(files(None).address()), Some(Reason::DatabaseMissing));
        write("url", " \n");
        assert_eq!(reason(files(None).address()), Some(Reason::DatabaseMissing));
        write("url", "mysql://a");
        assert_eq!(
            reason(files(None).address()),
            Some(Reason::DatabaseIncompatible)
        );
        write("url", "postgres://a\n");
        assert!(
            files(None)
                .address()
                .is_ok_and(|it| it.url == "postgres://a" && it.ca.is_none())
        );
        assert_eq!(
            reason(files(Some("ca")).address()),
            Some(Reason::DatabaseCaMissing)
        );
        write("ca", "");
        assert_eq!(
            reason(files(Some("ca")).address()),
            Some(Reason::DatabaseCaMissing)
        );
        write("ca", "PEM");
        assert!(files(Some("ca")).address().is_ok_and(|it| it.ca.is_some()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_url_is_used_once_it_works_and_what_does_not_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        let url = PostgresServer::shared().database().await;
        std::fs::write(&file, &url).unwrap();
        let files = DatabaseArgs {
            store_file: file.clone(),
            store_ca_file: None,
        };
        let Ok(mut database) = files.open("team-a/chat").await else {
            panic!("it can be opened");
        };
        assert_eq!(database.look(None).await, None);

        std::fs::remove_file(&file).unwrap();
        let gone = database.look(None).await.unwrap();
        assert!(gone.contains("there is no database URL"), "{gone}");
        let elsewhere = PostgresServer::shared().database().await;
        std::fs::write(&file, elsewhere).unwrap();
        let moved = database.look(Some(gone)).await.unwrap();
        assert!(moved.contains("names another database"), "{moved}");
        assert_eq!(database.look(Some(moved.clone())).await, Some(moved));

        let better = format!("{url}&statement-cache-capacity=50");
        std::fs::write(&file, &better).unwrap();
        assert_eq!(database.look(None).await, None);
        assert!(database.address.url == better);
        assert_eq!(database.store().count_workers().await.unwrap(), 0);
    }
}
