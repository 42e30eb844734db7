// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes, the ancestor's way.

use std::collections::BTreeMap;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::images::Form;
use super::types;
use crate::engine::volumes::Content;
use crate::http::{App, Pairs, Reference, created, ok};
use crate::{Error, Result};

pub(super) async fn list(State(app): State<App>) -> Result<Response> {
    let volumes = app.engine.volumes().await?;
    ok(volumes.into_iter().map(types::Volume::from).collect::<Vec<_>>())
}

pub(super) async fn show(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    ok(types::Volume::from(app.engine.volume(name).await?))
}

pub(super) async fn create(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
    request: Request,
) -> Result<Response> {
    let mut form = Form::read(&app, request).await?;
    let provider = form.text(&query, "provider").to_ascii_lowercase();
    let raw = form.flag(&query, "raw");
    let kind = form.text(&query, "type");
    if !matches!(kind.as_str(), "" | "ext2" | "ext4") {
        let message = format!("volumes are ext4, and {kind:?} was asked for");
        return Err(Error::invalid(message).advise("leave the type out"));
    }
    let size = match form.text(&query, "size").as_str() {
        "" | "0" => None,
        text => Some(
            text.parse::<u64>()
                .map_err(|_| Error::invalid(format!("the size is a number of MB, not {text:?}")))?,
        ),
    };
    let size = size.map(|megabytes| megabytes.saturating_mul(1 << 20));
    let content = match (form.file.take(), raw) {
        (None, true) => return Err(Error::invalid("no disk image was sent")),
        (None, false) => Content::Nothing,
        // A size was never looked at when there was an image.
        (Some(image), true) => Content::Image(image),
        (Some(tar), false) => Content::Tar(tar),
    };
    let size = size.filter(|_| !raw);
    let (volume, _) =
        app.engine.create_volume(name, &provider, size, BTreeMap::new(), content).await?;
    created(types::Volume::from(volume))
}

pub(super) async fn remove(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    app.engine.remove_volume(name, query.flag("force")?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn attach(
    State(app): State<App>,
    Path((name, instance)): Path<(String, String)>,
    query: Pairs,
) -> Result<Response> {
    let place = query.text("mount").unwrap_or_default();
    let volume = app.engine.attach_volume(name, &instance, place, false).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(volume.name)).into_response())
}

pub(super) async fn detach(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    let volume = app.engine.detach_volume(name, None).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(volume.name)).into_response())
}
