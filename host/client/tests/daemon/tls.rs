// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TLS: good certificates, wrong ones, tokens.

use std::path::PathBuf;
use std::sync::Arc;

use crate::support::{Answer, Log, serve};
use bhojpur_client::{Address, Client, Error, Target, Token, Trust};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

struct Daemon {
    directory: tempfile::TempDir,
    port: u16,
    digest: [u8; 32],
    log: Log,
}

impl Daemon {
    /// Serves with a certificate for `localhost` that it signed itself.
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Log::default();
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), log.clone());
                tokio::spawn(async move {
                    if let Ok(socket) = acceptor.accept(socket).await {
                        serve(socket, log, Answer::ok(r#"{"version":"1","api":["v1"]}"#)).await;
                    }
                });
            }
        });
        Self { directory, port, digest: Sha256::digest(made.cert.der()).into(), log: kept }
    }

    fn client(&self, host: &str, trust: Trust) -> Client {
        let address = Address::Tls { host: host.to_owned(), port: self.port };
        Client::new(Target { address, token: Token::new("s3cret"), trust }).unwrap()
    }

    fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

#[tokio::test]
async fn an_authority_or_a_fingerprint_makes_it_trusted() {
    let daemon = Daemon::start().await;
    let pong = daemon.client("localhost", Trust::Authorities(daemon.authority())).ping().await;
    assert_eq!(pong.unwrap().api, ["v1"]);
    // The name does not matter when the certificate is known.
    daemon.client("127.0.0.1", Trust::Fingerprint(daemon.digest)).ping().await.unwrap();
    let log = daemon.log.lock().unwrap();
    assert_eq!(log[1].token.as_deref(), Some("Bearer s3cret"));
}

#[tokio::test]
async fn others_are_not_told_the_token() {
    let daemon = Daemon::start().await;
    let mut wrong = daemon.digest;
    wrong[31] ^= 1;
    let system = Trust::System;
    for (host, trust, reason) in [
        ("localhost", Trust::Fingerprint(wrong), "trusted: its certificate has the fingerprint"),
        ("127.0.0.1", Trust::Authorities(daemon.authority()), "not valid for name"),
        ("localhost", system, "trusted: none of the authorities"),
    ] {
        let address = Address::Tls { host: host.to_owned(), port: daemon.port };
        let target = Target { address, token: Token::new("s3cret"), trust };
        // A machine without any authorities says so before it connects.
        let Ok(client) = Client::new(target) else { continue };
        let error = client.ping().await.unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.advice().unwrap().contains("--fingerprint"));
    }
    assert!(daemon.log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn files_without_certificates_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let address: Address = "localhost".parse().unwrap();
    for content in [
        None,
        Some("nothing"),
        Some("-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let trust = Trust::Authorities(path.clone());
        let target = Target { address: address.clone(), token: None, trust };
        let error = Client::new(target).unwrap_err().to_string();
        assert!(error.contains("ca.pem"), "{error}");
    }
}
