// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TLS: by an authority, or by the one certificate that is known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};

use crate::{Error, Result, Trust};

/// Where distributions keep the authorities that the machine trusts.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a connection needs to know.
pub(crate) fn config(trust: &Trust) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setup(format!("TLS cannot be set up: {error}")))?;
    let config = match trust {
        Trust::System => builder.with_root_certificates(authorities(&system_bundle()?)?),
        Trust::Authorities(path) => builder.with_root_certificates(authorities(path)?),
        Trust::Fingerprint(digest) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { digest: *digest, provider })),
    };
    Ok(Arc::new(config.with_no_client_auth()))
}

fn system_bundle() -> Result<PathBuf> {
    // The variable of OpenSSL, which many tools follow.
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file())).ok_or_else(
        || {
            Error::Setup(
                "this machine has no list of certificate authorities; name one with --ca, or the \
                 daemon's certificate with --fingerprint"
                    .to_owned(),
            )
        },
    )
}

fn authorities(path: &Path) -> Result<RootCertStore> {
    let unreadable = |reason: String| {
        Error::Setup(format!("cannot read the authorities in {}: {reason}", path.display()))
    };
    let mut store = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        // A bundle of a distribution may hold some that this library does not know; the others
        // still serve.
        let _ = store.add(certificate);
    }
    if store.is_empty() {
        return Err(unreadable("there is no certificate in it".to_owned()));
    }
    Ok(store)
}

/// Why a daemon is not trusted, for people.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match inner {
        Some(TlsError::General(said)) => said.clone(),
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "none of the authorities that are trusted here signed its certificate".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Takes one certificate and no other, whatever its names and dates are.
#[derive(Debug)]
struct Pinned {
    digest: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let found: [u8; 32] = Sha256::digest(certificate).into();
        if found == self.digest {
            return Ok(ServerCertVerified::assertion());
        }
        let hex: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(TlsError::General(format!(
            "its certificate has the fingerprint {hex}, which is not the one that is expected"
        )))
    }

    // That the daemon has the key of the certificate is checked as ever.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
