// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Talks to the daemon: every path of `bhojpur-api`, over a unix socket or over TLS with a token.
//!
//! A [`Client`] is made from a [`Target`], which says where the daemon is and how to know it.
//! Each call is one connection: a command line makes few, and a stream that is given up must
//! end its connection anyway. Calls that the daemon answers at once have a deadline; uploads,
//! builds and streams have none, for they take what they take. Dropping a future or a stream
//! closes its connection, which is how the daemon learns that nobody waits any more.
#![forbid(unsafe_code)]

mod address;
mod connection;
mod error;
mod images;
mod instances;
mod sse;
mod stream;
mod system;
mod tls;
mod transport;
mod upload;
mod volumes;

pub use address::{Address, AddressError, Target, Token, Trust};
pub use error::{Error, Result};
pub use instances::LogOptions;
pub use stream::{ByteStream, EventStream, decode};
pub use transport::Client;
pub use upload::Upload;
