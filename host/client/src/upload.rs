// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is sent with a request: nothing, JSON, or a stream of any length.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

/// Read at once.
const PIECE: usize = 64 << 10;

/// Told how many bytes went out so far.
type Progress = Box<dyn FnMut(u64) + Send>;

/// A stream that is sent as the body of a request.
pub struct Upload {
    source: Source,
    size: Option<u64>,
    sent: u64,
    progress: Option<Progress>,
}

enum Source {
    Reader { reader: Pin<Box<dyn AsyncRead + Send>>, buffer: Box<[u8]> },
    Channel(mpsc::Receiver<io::Result<Bytes>>),
    Whole(Option<Bytes>),
}

impl Upload {
    /// No bytes at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// Bytes that are there already.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let size = Some(bytes.len() as u64);
        Self { source: Source::Whole(Some(bytes)), size, sent: 0, progress: None }
    }

    /// All that a reader gives.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        let buffer = vec![0; PIECE].into_boxed_slice();
        let source = Source::Reader { reader: Box::pin(reader), buffer };
        Self { source, size: None, sent: 0, progress: None }
    }

    /// What a thread makes; an error that it sends ends the request.
    #[must_use]
    pub fn channel(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { source: Source::Channel(pieces), size: None, sent: 0, progress: None }
    }

    /// A file, with its size.
    pub async fn file(path: &Path) -> io::Result<Self> {
        let file = tokio::fs::File::open(path).await?;
        let metadata = file.metadata().await?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let mut upload = Self::reader(file);
        // Only of a regular file the size is known before its end.
        upload.size = metadata.is_file().then_some(metadata.len());
        Ok(upload)
    }

    /// Calls this with the number of bytes that went out, each time some did.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// How many bytes there are, when that is known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.source {
            Source::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok))
            }
            Source::Channel(pieces) => pieces.poll_recv(context),
            Source::Reader { reader, buffer } => {
                let mut into = ReadBuf::new(buffer);
                match reader.as_mut().poll_read(context, &mut into) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Ready(Ok(())) if into.filled().is_empty() => Poll::Ready(None),
                    Poll::Ready(Ok(())) => {
                        Poll::Ready(Some(Ok(Bytes::copy_from_slice(into.filled()))))
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("size", &self.size)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Upload);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let upload = &mut self.0;
        let polled = upload.poll(context);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            upload.sent += bytes.len() as u64;
            let sent = upload.sent;
            if let Some(progress) = &mut upload.progress {
                progress(sent);
            }
        }
        polled.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.size == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
