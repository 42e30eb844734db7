// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Firecracker's API: bodies, and requests over its unix socket.

mod client;
pub mod model;

pub use client::Client;

/// A request as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT` or `PATCH`.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// The JSON body; empty for `GET`.
    pub body: String,
}

impl Request {
    /// Makes or sets something.
    pub fn put(path: impl Into<String>, body: &impl serde::Serialize) -> Self {
        Self { method: "PUT", path: path.into(), body: json(body) }
    }

    /// Changes something.
    pub fn patch(path: impl Into<String>, body: &impl serde::Serialize) -> Self {
        Self { method: "PATCH", path: path.into(), body: json(body) }
    }

    /// Asks for something.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: String::new() }
    }
}

/// Bodies are structures of texts and numbers, which cannot fail to be written.
fn json(body: &impl serde::Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}
