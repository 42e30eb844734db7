// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images.

use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post};
use bhojpur_api as api;
use bhojpur_api::Code;
use utoipa::openapi::HttpMethod;

use super::{
    Answer, App, Body, Doc, Json, Pairs, Reference, Route, bytes_of_file, created, ok, upload,
};
use crate::{Error, Result, wire};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            method: HttpMethod::Get,
            path: "/images",
            doc: Doc {
                summary: "All images, the newest first.",
                query: &[],
                body: Body::Nothing,
                answer: Answer::List("Image"),
            },
            handler: get(list),
        },
        Route {
            method: HttpMethod::Post,
            path: "/images/import",
            doc: Doc {
                summary: "Takes a bootable ELF in.",
                query: &[
                    ("name", "string", "NAME[:TAG]."),
                    ("provider", "string", "The provider for which it is staged."),
                    ("force", "boolean", "Take the name away from another image."),
                ],
                body: Body::Bytes("application/octet-stream", "A bootable ELF."),
                answer: Answer::Created("Image"),
            },
            handler: post(import),
        },
        Route {
            method: HttpMethod::Get,
            path: "/images/{ref}",
            doc: Doc {
                summary: "One image.",
                query: &[],
                body: Body::Nothing,
                answer: Answer::Json("Image"),
            },
            handler: get(show),
        },
        Route {
            method: HttpMethod::Get,
            path: "/images/{ref}/elf",
            doc: Doc {
                summary: "The bootable ELF of an image.",
                query: &[],
                body: Body::Nothing,
                answer: Answer::Bytes("application/octet-stream"),
            },
            handler: get(elf),
        },
        Route {
            method: HttpMethod::Post,
            path: "/images/{ref}/tag",
            doc: Doc {
                summary: "Gives an image another name, taking it away from the one that has it.",
                query: &[],
                body: Body::Json("TagRequest"),
                answer: Answer::Json("Image"),
            },
            handler: post(tag),
        },
        Route {
            method: HttpMethod::Delete,
            path: "/images/{ref}",
            doc: Doc {
                summary: "Removes a name of an image, and with the last one the image; by its id, \
                          the image with all names.",
                query: &[(
                    "force",
                    "boolean",
                    "When the image itself goes, end and remove its instances first.",
                )],
                body: Body::Nothing,
                answer: Answer::Json("ImageRemoval"),
            },
            handler: delete(remove),
        },
    ]
}

async fn list(State(app): State<App>, query: Pairs) -> Result<Response> {
    query.only(&[])?;
    let images = app.engine.images().await?;
    ok(images.into_iter().map(wire::image).collect::<Vec<_>>())
}

async fn show(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    ok(wire::image(app.engine.image(name).await?))
}

async fn import(State(app): State<App>, query: Pairs, body: axum::body::Body) -> Result<Response> {
    let query = query.only(&["name", "provider", "force"])?;
    let name = query.text("name").unwrap_or_default().to_owned();
    let provider = query.text("provider").unwrap_or_default();
    app.engine.providers.named(provider)?;
    let upload = upload(&app, body).await?.ok_or_else(|| {
        Error::new(Code::BadRequest, "the request has no body").advise("send a bootable ELF")
    })?;
    let image = app.engine.import_image(upload, name, provider, query.flag("force")?).await?;
    created(wire::image(image))
}

async fn elf(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    let image = app.engine.image(name).await?;
    // An open file stays readable when its image is removed meanwhile.
    bytes_of_file(app.engine.home.image(&image.id), "application/octet-stream", ()).await
}

async fn tag(
    State(app): State<App>,
    Reference(name): Reference,
    Json(request): Json<api::TagRequest>,
) -> Result<Response> {
    ok(wire::image(app.engine.tag_image(name, &request.name).await?))
}

async fn remove(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let force = query.only(&["force"])?.flag("force")?;
    ok(wire::image_removal(app.engine.remove_image(name, force).await?))
}
