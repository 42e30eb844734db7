// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One connection: a socket, TLS on it where it is due, and HTTP/1.1 on top.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::upload::Body;
use crate::{Address, Error, Result, tls};

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
            Error::Untrusted { address: address.clone(), reason: tls::reason(&error) }
        }
        _ => unreachable(address, error),
    })
}

async fn http<S>(address: &Address, socket: S) -> Result<SendRequest<Body>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(Patient { socket, broken: false }))
        .await
        .map_err(|error| Error::Broken { address: address.clone(), reason: error.to_string() })?;
    // Its errors reach whoever waits for the answer.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// A socket whose other side may stop listening in the middle of an upload, because it knows the
/// answer: what it said is still read. RFC 9112, section 9.6, asks servers to make that possible,
/// and the library would give up with the failed write.
#[derive(Debug)]
struct Patient<S> {
    socket: S,
    broken: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S> Patient<S> {
    /// A write that failed for good waits; the end of what can be read ends it.
    fn keep<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.broken = true;
                Poll::Pending
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.keep(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Pending;
        }
        let result = Pin::new(&mut self.socket).poll_flush(context);
        self.keep(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
