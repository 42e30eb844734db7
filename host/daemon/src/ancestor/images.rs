// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images, the ancestor's way.

use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bhojpur_api::Code;

use super::types;
use crate::engine::Upload;
use crate::engine::build::{Order, Told};
use crate::http::{App, Pairs, Reference, created, ok};
use crate::{Error, Result};

/// A field of a form has not more.
const FIELD_MAX: usize = 64 << 10;

pub(super) async fn list(State(app): State<App>) -> Result<Response> {
    let images = app.engine.images().await?;
    ok(images.into_iter().map(types::Image::from).collect::<Vec<_>>())
}

pub(super) async fn show(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    ok(types::Image::from(app.engine.image(name).await?))
}

pub(super) async fn remove(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    app.engine.remove_image(name, query.flag("force")?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A form, or an upload with its fields in the query.
pub(super) struct Form {
    fields: Vec<(String, String)>,
    pub(super) file: Option<Upload>,
}

impl Form {
    /// Reads a request to its end.
    pub(super) async fn read(app: &App, request: Request) -> Result<Self> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
            let file = crate::http::upload(app, request.into_body()).await?;
            return Ok(Self { fields: Vec::new(), file });
        }
        let bad = |error: &dyn std::fmt::Display| Error::new(Code::BadRequest, error);
        let mut form = Multipart::from_request(request, app).await.map_err(|error| bad(&error))?;
        let mut read = Self { fields: Vec::new(), file: None };
        while let Some(mut field) = form.next_field().await.map_err(|error| bad(&error))? {
            let name = field.name().unwrap_or_default().to_owned();
            if name == "tarfile" {
                let upload = app.engine.receive(field).await?;
                read.file = Some(upload).filter(|upload| upload.size > 0);
                continue;
            }
            let mut value = Vec::new();
            while let Some(piece) = field.chunk().await.map_err(|error| bad(&error))? {
                if value.len() + piece.len() > FIELD_MAX || read.fields.len() > 64 {
                    return Err(Error::new(Code::TooLarge, "the form is too large"));
                }
                value.extend_from_slice(&piece);
            }
            read.fields.push((name, String::from_utf8_lossy(&value).into_owned()));
        }
        Ok(read)
    }

    /// A value of the form, or of the query: clients of the ancestor send either.
    pub(super) fn text(&self, query: &Pairs, name: &str) -> String {
        let field = self.fields.iter().find(|(known, _)| known == name);
        let value = field.map(|(_, value)| value.as_str()).or_else(|| query.text(name));
        value.unwrap_or_default().to_owned()
    }

    pub(super) fn flag(&self, query: &Pairs, name: &str) -> bool {
        matches!(self.text(query, name).to_ascii_lowercase().as_str(), "true" | "1" | "t" | "yes")
    }
}

pub(super) async fn create(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
    request: Request,
) -> Result<Response> {
    let mut form = Form::read(&app, request).await?;
    let upload = form.file.take().ok_or_else(|| {
        Error::new(Code::BadRequest, "the form has no tarfile")
            .advise("send a tar.gz of the sources")
    })?;
    if !form.text(&query, "mounts").is_empty() {
        // The ancestor fixed mount points when it built; here they are named when one runs.
        tracing::debug!("mount points of a build are named by `run` now");
    }
    let order = Order {
        name,
        language: form.text(&query, "lang"),
        provider: form.text(&query, "provider").to_ascii_lowercase(),
        args: form.text(&query, "args").split_whitespace().map(str::to_owned).collect(),
        force: form.flag(&query, "force"),
        ..Order::default()
    };
    let mut build = app.engine.build(order, upload)?;
    while let Some(told) = build.told.recv().await {
        match told {
            Told::Done(image) => return created(types::Image::from(*image)),
            Told::Failed(error) => return Err(error),
            _ => {}
        }
    }
    Err(Error::internal("the build ended without a word"))
}
