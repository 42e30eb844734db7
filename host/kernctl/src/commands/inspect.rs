// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl inspect`: everything about instances, images and volumes.

use bhojpur_client::Client;
use serde_json::Value;

use crate::Failure;
use crate::arguments::Inspect;
use crate::output::value;
use crate::session::Session;

/// What a name can be; asked in this order.
const KINDS: &[&str] = &["instance", "image", "volume"];

pub(crate) async fn execute(session: &Session, inspect: &Inspect) -> Result<u8, Failure> {
    let style = session.printer.style(inspect.format.as_deref(), false)?;
    let client = session.connect().await?;
    let kind = inspect.r#type.as_deref();
    let mut wanted: Vec<(&str, Option<&str>)> =
        inspect.names.iter().map(|name| (name.as_str(), kind)).collect();
    // The ancestor's flags say what is meant.
    for (names, kind) in
        [(&inspect.instance, "instance"), (&inspect.image, "image"), (&inspect.volume, "volume")]
    {
        wanted.extend(names.iter().map(|name| (name.as_str(), Some(kind))));
    }
    let (mut documents, mut failure) = (Vec::new(), None);
    for (name, kind) in wanted {
        match find(&client, name, kind).await {
            Ok(document) => documents.push(document),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    if !documents.is_empty() || failure.is_none() {
        session.printer.documents(&documents, &style)?;
    }
    failure.map_or(Ok(0), Err)
}

/// Looks for a thing of one kind, or of any.
pub(crate) async fn find(
    client: &Client,
    name: &str,
    kind: Option<&str>,
) -> Result<Value, Failure> {
    for candidate in KINDS.iter().filter(|candidate| kind.is_none_or(|kind| kind == **candidate)) {
        let found = match *candidate {
            "instance" => client.instance(name).await.map(|found| value(&found)),
            "image" => client.image(name).await.map(|found| value(&found)),
            _ => client.volume(name).await.map(|found| value(&found)),
        };
        match found {
            Ok(document) => return document,
            Err(error) if kind.is_none() && error.code() == Some(bhojpur_api::Code::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::not_found(format!("there is no instance, image or volume {name:?}"))
        .advise("`kernctl ps -a`, `kernctl images` and `kernctl volume ls` show what there is"))
}
