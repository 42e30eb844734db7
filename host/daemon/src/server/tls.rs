// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The certificate of the TCP side: a given one, or one of our own making that is kept.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tcp;
use crate::{Error, Result};

/// Ready to accept.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// SHA-256 of the certificate, as openssl-x509(1) shows it.
    pub(super) fingerprint: String,
    pub(super) certificate: PathBuf,
}

/// Reads the certificate, after making one when none is given and none was made before.
pub(super) fn prepare(tcp: &Tcp, directory: &Path) -> Result<Tls> {
    let (certificate, key) = match (&tcp.certificate, &tcp.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => own(directory, &tcp.names, tcp.address.ip())?,
    };
    let unusable = |path: &Path, why: &dyn std::fmt::Display| {
        Error::invalid(format!("cannot use {}: {why}", path.display()))
            .advise("it has to be PEM; leave certificate and key out for one of the daemon's own")
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&certificate, &error))?;
    let first =
        chain.first().ok_or_else(|| unusable(&certificate, &"there is no certificate in it"))?;
    let fingerprint = fingerprint(first);
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| unusable(&certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint, certificate })
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// Our own certificate and key, made once.
fn own(directory: &Path, names: &[String], address: IpAddr) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    if certificate.is_file() && key.is_file() {
        return Ok((certificate, key));
    }
    let made = make(names, address)
        .map_err(|error| Error::internal(format!("cannot make a certificate: {error}")))?;
    // The key first: the certificate says that both are there.
    write(&key, &made.1)?;
    write(&certificate, &made.0)?;
    Ok((certificate, key))
}

fn make(names: &[String], address: IpAddr) -> std::result::Result<(String, String), rcgen::Error> {
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !address.is_unspecified() {
        all.push(address.to_string());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    all.extend(Some(host).filter(|host| !host.is_empty()));
    all.extend(names.iter().cloned());
    all.sort();
    all.dedup();
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name.push(DnType::CommonName, "Bhojpur Kernel daemon");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let partial = path.with_extension("part");
    let written = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    written().map_err(|error| Error::io(format!("cannot write {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_own_certificate_is_made_once_and_its_key_is_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let mut tcp = Tcp::new("127.0.0.1:0".parse().unwrap());
        tcp.names = vec!["daemon.example".to_owned()];
        let first = prepare(&tcp, directory.path()).unwrap();
        let second = prepare(&tcp, directory.path()).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(first.fingerprint.len(), 32 * 3 - 1);
        let key = fs::metadata(directory.path().join("key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.pem");
        fs::write(&path, "hello").unwrap();
        let mut tcp = Tcp::new("127.0.0.1:0".parse().unwrap());
        (tcp.certificate, tcp.key) = (Some(path.clone()), Some(path));
        let error = prepare(&tcp, directory.path()).err().unwrap();
        assert!(error.to_string().contains("c.pem"), "{error}");
    }
}
