// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One table for the router and for the OpenAPI document, so that they cannot disagree.

use axum::routing::MethodRouter;
use utoipa::openapi::HttpMethod;

use super::App;

/// One method of one path.
pub(crate) struct Route {
    pub(crate) method: HttpMethod,
    /// Below `/v1`.
    pub(crate) path: &'static str,
    pub(crate) doc: Doc,
    pub(crate) handler: MethodRouter<App>,
}

impl Route {
    pub(crate) fn full_path(&self) -> String {
        format!("/v1{}", self.path)
    }
}

/// A parameter of a query: name, JSON type, what it says.
pub(crate) type Parameter = (&'static str, &'static str, &'static str);

/// What the document says about it.
pub(crate) struct Doc {
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [Parameter],
    pub(crate) body: Body,
    pub(crate) answer: Answer,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    Nothing,
    /// The schema of this name.
    Json(&'static str),
    /// Bytes of a media type, and what they are.
    Bytes(&'static str, &'static str),
}

/// What comes back.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// 204.
    Nothing,
    /// 200 with the schema of this name.
    Json(&'static str),
    /// 201 with the schema of this name.
    Created(&'static str),
    /// 200 with a list of it.
    List(&'static str),
    /// 200 with bytes of a media type.
    Bytes(&'static str),
    /// 200 with server-sent events, the data of each of this schema.
    Events(&'static str),
}
