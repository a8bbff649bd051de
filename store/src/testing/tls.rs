//! A server's certificate, and the authority that has signed it.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use uuid::Uuid;

use super::server::User;

/// How clients reach a server of [`super::PostgresServer::start_with_tls`], and believe it.
#[derive(Debug)]
pub struct Tls {
    /// Its port, at `localhost`, the name in its certificate.
    pub port: u16,
    /// The authority's certificate, in PEM.
    pub authority: String,
    certificate: String,
    key: String,
}

impl Tls {
    /// A new authority, and a port that was free a moment ago.
    pub(super) fn new() -> io::Result<Self> {
        let (authority, certificate, key) = certificates().map_err(io::Error::other)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self {
            port,
            authority,
            certificate,
            key,
        })
    }

    /// The certificate of an authority that has signed nothing of this.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn another_authority() -> io::Result<String> {
        let (authority, ..) = certificates().map_err(io::Error::other)?;
        Ok(authority)
    }
}

/// An authority's certificate, that of a server called `localhost`, and its key.
fn certificates() -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![])?;
    // Authorities are told apart by their names.
    let name = Uuid::new_v4().to_string();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let server = CertificateParams::new(vec!["localhost".to_owned()])?;
    let server = server.signed_by(&key, &authority)?;
    Ok((authority.pem(), server.pem(), key.serialize_pem()))
}

/// Has the server of this data listen for TLS, to roles that know their passwords.
pub(super) fn set_up(tls: &Tls, data: &Path, user: Option<User>) -> io::Result<()> {
    let files = [("server.crt", &tls.certificate), ("server.key", &tls.key)];
    for (name, content) in files {
        let path = data.join(name);
        fs::write(&path, content)?;
        // It refuses a key that others may read.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some(user) = user {
            chown(&path, Some(user.uid), Some(user.gid))?;
        }
    }
    append(
        &data.join("postgresql.conf"),
        "ssl = on\npassword_encryption = 'scram-sha-256'\n",
    )?;
    let access = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(data.join("pg_hba.conf"), access)
}

fn append(file: &Path, text: &str) -> io::Result<()> {
    let before = fs::read_to_string(file)?;
    fs::write(file, before + text)
}
