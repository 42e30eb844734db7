// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use bhojpur_api as api;
use bhojpur_api::Code;
use utoipa::openapi::HttpMethod;

use super::{
    Answer, App, Body, Doc, Json, Pairs, Reference, Route, bytes_of_file, created, ok, upload,
};
use crate::engine::volumes::Content;
use crate::{Error, Result, wire};

const TAR: &str = "application/x-tar";

pub(super) fn routes() -> Vec<Route> {
    let route = |method, path, summary, query, body, answer, handler| Route {
        method,
        path,
        doc: Doc { summary, query, body, answer },
        handler,
    };
    let nothing: &'static [super::route::Parameter] = &[];
    vec![
        route(
            HttpMethod::Get,
            "/volumes",
            "All volumes.",
            nothing,
            Body::Nothing,
            Answer::List("Volume"),
            get(list),
        ),
        route(
            HttpMethod::Post,
            "/volumes",
            "Makes a volume: empty, with the content of a tar, or of a disk image.",
            &[
                ("name", "string", "Its name."),
                ("provider", "string", "The provider."),
                ("size_bytes", "integer", "Its size; as large as the content needs when absent."),
                ("labels", "string", "Labels, a JSON object of strings."),
                (
                    "raw",
                    "boolean",
                    "The body is a disk image with an ext4 file system, taken as it is.",
                ),
            ],
            Body::Bytes(TAR, "A tar of its content, plain or gzip; a disk image; or nothing."),
            Answer::Created("Volume"),
            post(make),
        ),
        route(
            HttpMethod::Get,
            "/volumes/{ref}",
            "One volume.",
            nothing,
            Body::Nothing,
            Answer::Json("Volume"),
            get(show),
        ),
        route(
            HttpMethod::Delete,
            "/volumes/{ref}",
            "Removes a volume.",
            &[("force", "boolean", "Detach it from stopped instances first.")],
            Body::Nothing,
            Answer::Nothing,
            delete(remove),
        ),
        route(
            HttpMethod::Post,
            "/volumes/{ref}/attach",
            "Attaches a volume to a stopped instance.",
            nothing,
            Body::Json("AttachRequest"),
            Answer::Json("Volume"),
            post(attach),
        ),
        route(
            HttpMethod::Post,
            "/volumes/{ref}/detach",
            "Detaches a volume from a stopped instance.",
            &[("instance", "string", "The instance, when several have it.")],
            Body::Nothing,
            Answer::Json("Volume"),
            post(detach),
        ),
        route(
            HttpMethod::Get,
            "/volumes/{ref}/files",
            "A tar of a file or directory of a volume that no running instance has.",
            &[("path", "string", "What to take; everything when absent.")],
            Body::Nothing,
            Answer::Bytes(TAR),
            get(take),
        ),
        route(
            HttpMethod::Get,
            "/volumes/{ref}/files/stat",
            "What is at a path of a volume that no running instance has; links are followed.",
            &[("path", "string", "What to look at; the root when absent.")],
            Body::Nothing,
            Answer::Json("FileStat"),
            get(look),
        ),
        route(
            HttpMethod::Put,
            "/volumes/{ref}/files",
            "Puts the content of a tar into a volume that no running instance has.",
            &[("path", "string", "The directory; the root when absent.")],
            Body::Bytes(TAR, "A tar, plain or gzip."),
            Answer::Json("Written"),
            put(give),
        ),
    ]
}

async fn list(State(app): State<App>, query: Pairs) -> Result<Response> {
    query.only(&[])?;
    let volumes = app.engine.volumes().await?;
    ok(volumes.into_iter().map(wire::volume).collect::<Vec<_>>())
}

async fn make(State(app): State<App>, query: Pairs, body: axum::body::Body) -> Result<Response> {
    let query = query.only(&["name", "provider", "size_bytes", "labels", "raw"])?;
    let name = query.text("name").unwrap_or_default().to_owned();
    crate::engine::names::check("a volume", &name)?;
    let provider = query.text("provider").unwrap_or_default();
    app.engine.providers.named(provider)?;
    let labels = wire::map("labels", query.text("labels").unwrap_or_default())?;
    let size = query.number("size_bytes")?;
    let raw = query.flag("raw")?;
    if raw && size.is_some() {
        return Err(
            Error::invalid("a disk image has a size of its own").advise("leave the size out")
        );
    }
    let content = match (upload(&app, body).await?, raw) {
        (None, true) => {
            return Err(Error::new(Code::BadRequest, "the request has no body")
                .advise("send the disk image"));
        }
        (None, false) => Content::Nothing,
        (Some(image), true) => Content::Image(image),
        (Some(tar), false) => Content::Tar(tar),
    };
    let (volume, warnings) =
        app.engine.create_volume(name, provider, size, labels, content).await?;
    created(api::Volume { warnings, ..wire::volume(volume) })
}

async fn show(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    ok(wire::volume(app.engine.volume(name).await?))
}

async fn remove(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let force = query.only(&["force"])?.flag("force")?;
    app.engine.remove_volume(name, force).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn attach(
    State(app): State<App>,
    Reference(name): Reference,
    Json(request): Json<api::AttachRequest>,
) -> Result<Response> {
    let place = &request.mount_point;
    let attached =
        app.engine.attach_volume(name, &request.instance, place, request.read_only).await?;
    ok(wire::volume(attached))
}

async fn detach(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let query = query.only(&["instance"])?;
    ok(wire::volume(app.engine.detach_volume(name, query.text("instance")).await?))
}

/// A path in a volume.
fn path(query: Pairs) -> Result<String> {
    let query = query.only(&["path"])?;
    let path = query.text("path").filter(|path| !path.is_empty()).unwrap_or("/");
    if path.contains('\0') || path.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("{path:?} leads out of the volume")));
    }
    Ok(path.to_owned())
}

async fn take(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let packed = app.engine.pack_volume(name, path(query)?).await?;
    bytes_of_file(packed.path, TAR, packed.scratch).await
}

async fn look(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    ok(wire::file_stat(&app.engine.stat_in_volume(name, path(query)?).await?))
}

async fn give(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
    body: axum::body::Body,
) -> Result<Response> {
    let path = path(query)?;
    app.engine.volume(name.clone()).await?;
    let upload = upload(&app, body).await?.ok_or_else(|| {
        Error::new(Code::BadRequest, "the request has no body").advise("send a tar")
    })?;
    let warnings = app.engine.unpack_volume(name, path, upload).await?;
    ok(api::Written { warnings })
}
