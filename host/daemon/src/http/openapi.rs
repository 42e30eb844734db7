// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The OpenAPI document, made from the table of routes and the types on the wire.

use bhojpur_api as api;
use utoipa::OpenApi;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Ref, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, HttpMethod, RefOr, Required, Response, ResponseBuilder};

use super::{Answer, Body, Route};

/// The types on the wire.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bhojpur Kernel daemon",
        description = "Images, instances and volumes on all providers. Over the unix socket the \
            caller is the owner; over TCP a token says who it is.",
        license(name = "Apache-2.0 OR MIT"),
    ),
    components(schemas(
        api::ErrorBody,
        api::Pong,
        api::Info,
        api::Provider,
        api::Compiler,
        api::Image,
        api::ImageRemoval,
        api::BuildEvent,
        api::TagRequest,
        api::RunRequest,
        api::Instance,
        api::RenameRequest,
        api::Stats,
        api::SnapshotRequest,
        api::Snapshot,
        api::LogChunk,
        api::Volume,
        api::FileStat,
        api::Written,
        api::AttachRequest,
        api::Event,
        api::Token,
        api::TokenRequest,
        api::NewToken,
    ))
)]
struct Types;

/// The document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Types::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    if let Some(components) = &mut document.components {
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
    document.security = Some(vec![
        SecurityRequirement::new("token", Vec::<String>::new()),
        SecurityRequirement::default(),
    ]);
    for route in super::routes() {
        let path = route.full_path();
        let item = PathItem::new(route.method.clone(), operation(&route));
        match document.paths.paths.get_mut(&path) {
            Some(known) => known.merge_operations(item),
            None => {
                document.paths.paths.insert(path, item);
            }
        }
    }
    document
}

fn operation(route: &Route) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .summary(Some(route.doc.summary))
        .operation_id(Some(operation_id(route)))
        .tag(tag(route.path))
        .parameters(Some(parameters(route)));
    let sent = match route.doc.body {
        Body::Nothing => None,
        Body::Json(name) => Some(("application/json", reference(name), None)),
        Body::Bytes(media, what) => Some((media, bytes(), Some(what))),
    };
    if let Some((media, schema, what)) = sent {
        let body = RequestBodyBuilder::new()
            .content(media, Content::new(Some(schema)))
            .required(Some(Required::True));
        let body = what.into_iter().fold(body, |body, what| body.description(Some(what)));
        operation = operation.request_body(Some(body.build()));
    }
    let (status, response) = answer(route.doc.answer);
    let failed = ResponseBuilder::new()
        .description("It failed: what failed, why, and what to do.")
        .content("application/json", Content::new(Some(reference("ErrorBody"))));
    operation.response(status, response).response("default", failed.build())
}

fn operation_id(route: &Route) -> String {
    let method = match route.method {
        HttpMethod::Get => "get",
        HttpMethod::Post => "post",
        HttpMethod::Put => "put",
        HttpMethod::Delete => "delete",
        _ => "other",
    };
    let words = route.path.split('/').map(|word| word.trim_matches(['{', '}']));
    words.filter(|word| !word.is_empty()).fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

fn tag(path: &str) -> &str {
    match path.split('/').nth(1) {
        Some(first @ ("images" | "instances" | "volumes" | "tokens")) => first,
        _ => "system",
    }
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let what = match name {
            "ref" => "A name, an id, or a prefix of an id that only one thing has.",
            _ => "A name.",
        };
        Some(parameter(name, ParameterIn::Path, Required::True, Type::String, what))
    });
    let in_query = route.doc.query.iter().map(|(name, kind, what)| {
        let kind = match *kind {
            "boolean" => Type::Boolean,
            "integer" => Type::Integer,
            _ => Type::String,
        };
        parameter(name, ParameterIn::Query, Required::False, kind, what)
    });
    in_path.chain(in_query).collect()
}

fn parameter(
    name: &str,
    place: ParameterIn,
    required: Required,
    kind: Type,
    what: &str,
) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(kind)).build();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(what))
        .schema(Some(Schema::Object(schema)))
        .build()
}

fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

fn bytes() -> RefOr<Schema> {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    let binary = utoipa::openapi::SchemaFormat::Custom("binary".to_owned());
    RefOr::T(Schema::Object(schema.format(Some(binary)).build()))
}

fn answer(answer: Answer) -> (&'static str, Response) {
    let (status, what, content) = match answer {
        Answer::Nothing => ("204", "It is done.", None),
        Answer::Json(name) => ("200", "It is done.", Some(("application/json", reference(name)))),
        Answer::Created(name) => {
            ("201", "It was made.", Some(("application/json", reference(name))))
        }
        Answer::List(name) => {
            let list = Schema::Array(ArrayBuilder::new().items(reference(name)).build());
            ("200", "All of them.", Some(("application/json", RefOr::T(list))))
        }
        Answer::Bytes(media) => ("200", "The bytes.", Some((media, bytes()))),
        Answer::Events(name) => (
            "200",
            "Events as they come, JSON in the data of each.",
            Some(("text/event-stream", reference(name))),
        ),
    };
    let mut response = ResponseBuilder::new().description(what);
    if let Some((media, schema)) = content {
        response = response.content(media, Content::new(Some(schema)));
    }
    (status, response.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set it to write the document anew.
    const REWRITE: &str = "BHOJPUR_REWRITE_OPENAPI";

    #[test]
    fn the_committed_document_is_what_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let mut made = document().to_pretty_json().unwrap();
        made.push('\n');
        if std::env::var_os(REWRITE).is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == made, "docs/openapi.json is old: run this test with {REWRITE}=1");
    }

    #[test]
    fn everything_that_is_referred_to_is_there_and_ids_are_unique() {
        let text = document().to_json().unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let schemas = json["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let mut ids: Vec<&str> = json["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        assert_eq!(all, 44);
    }
}
