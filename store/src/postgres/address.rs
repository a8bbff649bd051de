//! Where a database is, and what of that may change while a store is open.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::bouncer;
use crate::{Error, Result};

/// What certificates in PEM begin with.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// The parameters of a URL that mean something to the driver, beside `options[NAME]`.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Where a database is, and whom its server's certificate is believed.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `postgres://…`, with libpq's parameters.
    pub url: String,
    /// The certificates of the authority that has signed the server's, in PEM. With it the server's is verified: as the URL says, else
    /// as `sslmode=verify-full` does, or as `verify-ca` where the URL says `require`. Public authorities are believed as well.
    ///
    /// For `verify-ca` the process must have installed rustls' default provider of cryptography.
    pub ca: Option<Vec<u8>>,
}

impl Address {
    /// A URL by itself.
    pub fn new(url: impl Into<String>) -> Self {
        let (url, ca) = (url.into(), None);
        Self { url, ca }
    }

    /// # Errors
    /// [`Error::Database`] if the URL cannot be read, [`Error::Incompatible`] if it does not go with the authority. Neither has any of
    /// the URL that could be a credential.
    pub(super) fn target(&self) -> Result<Target> {
        let (url, is_bounced) = bouncer::of(&self.url);
        let mut options = PgConnectOptions::from_str(&known(&url))?
            .application_name("portside")
            // No number here is a fraction, and poolers do not know it.
            .extra_float_digits(None);
        if let Some(ca) = &self.ca {
            options = verifying(options, ca)?;
        }
        Ok(Target {
            options,
            is_bounced,
        })
    }
}

/// The URL without the parameters that the driver does not know. It would log their values, which may be secrets.
fn known(url: &str) -> String {
    keeping(url, |parameter| {
        let name = parameter.split_once('=').map_or(parameter, |it| it.0);
        let is_known = PARAMETERS.contains(&name) || name.starts_with("options[");
        if !is_known && !name.is_empty() {
            tracing::warn!(
                parameter = name,
                "the database's URL has a parameter that is not known: it is left out"
            );
        }
        is_known
    })
}

/// The URL with some of its parameters.
pub(super) fn keeping(url: &str, mut is_kept: impl FnMut(&str) -> bool) -> String {
    let Some((server, parameters)) = url.split_once('?') else {
        return url.to_owned();
    };
    let parameters = parameters.split('&').filter(|parameter| is_kept(parameter));
    let parameters: Vec<&str> = parameters.collect();
    format!("{server}?{}", parameters.join("&"))
}

fn verifying(options: PgConnectOptions, ca: &[u8]) -> Result<PgConnectOptions> {
    let wrong = |message: &str| Err(Error::Incompatible(message.to_owned()));
    if !ca
        .windows(CERTIFICATE.len())
        .any(|it| it == CERTIFICATE.as_bytes())
    {
        return wrong(
            "the certificate authority's file has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----",
        );
    }
    let mode = match options.get_ssl_mode() {
        // The default, which verifies nothing.
        PgSslMode::Prefer | PgSslMode::VerifyFull => PgSslMode::VerifyFull,
        PgSslMode::Require | PgSslMode::VerifyCa => PgSslMode::VerifyCa,
        PgSslMode::Disable | PgSslMode::Allow => {
            return wrong(
                "there is a certificate authority, but the database's URL asks for no TLS: let it say \
                 sslmode=verify-full, or leave the authority out",
            );
        }
    };
    let options = options.ssl_mode(mode);
    Ok(options.ssl_root_cert_from_pem(ca.to_vec()))
}

/// An address that was read.
#[derive(Clone)]
pub(super) struct Target {
    /// How to connect.
    pub options: PgConnectOptions,
    /// Whether a PgBouncer is in between.
    pub is_bounced: bool,
}

/// Without the password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.options.get_host())
            .field("is_bounced", &self.is_bounced)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// What makes another one another database, where the state of this one would be missed; nothing if it is the same.
    pub(super) fn differs(&self, other: &Self) -> Option<&'static str> {
        let place = |it: &Self| -> (String, Option<PathBuf>) {
            let socket = it.options.get_socket().cloned();
            (it.options.get_host().to_owned(), socket)
        };
        if place(self) != place(other) {
            return Some("another host");
        }
        if self.options.get_port() != other.options.get_port() {
            return Some("another port");
        }
        if self.database() != other.database() {
            return Some("another database");
        }
        (self.is_bounced != other.is_bounced).then_some("a PgBouncer, or none any more")
    }

    /// The database's name: the role's if the URL has none.
    fn database(&self) -> &str {
        let named = self.options.get_database();
        named.unwrap_or_else(|| self.options.get_username())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn target(url: &str) -> Target {
        Address::new(url).target().unwrap()
    }

    #[test]
    fn a_password_a_role_and_parameters_may_change_and_the_place_may_not() {
        let is = target("postgres://a:b@host/db");
        for same in [
            "postgres://a:c@host/db",
            "postgresql://other:c@host:5432/db?sslmode=require",
        ] {
            assert_eq!(is.differs(&target(same)), None, "{same}");
        }
        for (other, what) in [
            ("postgres://a:b@elsewhere/db", "another host"),
            ("postgres://a:b@host/db?host=/tmp", "another host"),
            ("postgres://a:b@host:6432/db", "another port"),
            ("postgres://a:b@host/db2", "another database"),
            ("postgres://a:b@host", "another database"),
            (
                "postgres://a:b@host/db?pgbouncer=true",
                "a PgBouncer, or none any more",
            ),
        ] {
            assert_eq!(is.differs(&target(other)), Some(what), "{other}");
        }
        // Without a name the database is the role's.
        let unnamed = target("postgres://db:b@host");
        assert_eq!(unnamed.differs(&is), None);
    }

    #[test]
    fn what_the_driver_would_log_is_left_out() {
        assert_eq!(known("postgres://a:b@host/db"), "postgres://a:b@host/db");
        assert_eq!(
            known(
                "postgres://a/c?sslmode=require&passwort=s3cret&options[geqo]=off&channel_binding=require&x"
            ),
            "postgres://a/c?sslmode=require&options[geqo]=off"
        );
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let shown = format!("{:?}", target("postgres://a:s3cret@host/db"));
        assert!(
            shown.contains("host") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn with_an_authority_certificates_are_verified() {
        let with = |parameters: &str, ca: &str| {
            let url = format!("postgres://a:s3cret@host/db{parameters}");
            let ca = Some(ca.as_bytes().to_vec());
            Address { url, ca }.target()
        };
        for (parameters, mode) in [
            ("", "VerifyFull"),
            ("?sslmode=verify-full", "VerifyFull"),
            ("?sslmode=verify-ca", "VerifyCa"),
            ("?sslmode=require", "VerifyCa"),
        ] {
            let options = with(parameters, PEM).unwrap().options;
            assert_eq!(
                format!("{:?}", options.get_ssl_mode()),
                mode,
                "{parameters}"
            );
        }
        for (parameters, ca, wrong) in [
            ("?sslmode=disable", PEM, "asks for no TLS"),
            ("?sslmode=allow", PEM, "asks for no TLS"),
            ("", "", "no certificate in PEM"),
            ("", "-----BEGIN PRIVATE KEY-----", "no certificate in PEM"),
        ] {
            let message = with(parameters, ca).unwrap_err().to_string();
            assert!(message.contains(wrong), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}
