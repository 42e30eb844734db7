// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One connection: a socket, TLS on it where it is due, and HTTP/1.1 on top.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::upload::Body;
use crate::{Address, Error, Result};

/// How long the other side may take to say hello.
const LIMIT: Duration = Duration::from_secs(15);

/// Connects. The connection lives in a task that ends when the answer is read or dropped.
pub(crate) async fn open(
    address: &Address,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<SendRequest<Body>> {
    let attempt = async {
        match address {
            Address::Unix(path) => {
                let socket =
                    UnixStream::connect(path).await.map_err(|e| unreachable(address, e))?;
                http(address, socket).await
            }
            Address::Tls { host, port } => {
                let socket = TcpStream::connect((host.as_str(), *port))
                    .await
                    .map_err(|e| unreachable(address, e))?;
                // Requests are small and wait for their answers: nothing to collect.
                let _ = socket.set_nodelay(true);
                let config = tls.ok_or_else(|| Error::Setup("TLS is not set up".to_owned()))?;
                http(address, secure(address, host, config, socket).await?).await
            }
        }
    };
    tokio::time::timeout(LIMIT, attempt).await.unwrap_or_else(|_| {
        let reason = io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        Err(unreachable(address, reason))
    })
}

fn unreachable(address: &Address, reason: io::Error) -> Error {
    Error::Unreachable { address: address.clone(), reason }
}

async fn secure(
    address: &Address,
    host: &str,
    config: &Arc<ClientConfig>,
    socket: TcpStream,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Error::Setup(format!("{host:?} cannot be the name in a certificate")))?;
    let connected = TlsConnector::from(Arc::clone(config)).connect(name, socket).await;
    connected.map_err(|error| match error.kind() {
        // The library wraps what it found out about the certificate, or about the protocol.
        io::ErrorKind::InvalidData => {
            Error::Untrusted { address: address.clone(), reason: error.to_string() }
        }
        _ => unreachable(address, error),
    })
}

async fn http<S>(address: &Address, socket: S) -> Result<SendRequest<Body>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(socket))
        .await
        .map_err(|error| Error::Broken { address: address.clone(), reason: error.to_string() })?;
    // Its errors reach whoever waits for the answer.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
