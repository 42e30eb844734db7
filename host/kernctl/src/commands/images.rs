// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl images`, `import`, `tag`, `rmi`.

use std::path::Path;

use bhojpur_api::{Image, ImportQuery, TagRequest};
use bhojpur_client::Upload;

use super::build::Bar;
use super::{each, note};
use crate::Failure;
use crate::arguments::{Images, Import, Rmi, Tag};
use crate::output::NamedImage;
use crate::session::Session;

pub(crate) async fn list(session: &Session, images: &Images) -> Result<u8, Failure> {
    let style = session.printer.style(images.format.as_deref(), images.quiet)?;
    let client = session.connect().await?;
    let mut found: Vec<Image> = client.images().await?;
    if let Some(dangling) = images.filter {
        found.retain(|image| image.names.is_empty() == dangling);
    }
    if let Some(name) = &images.name {
        found.retain(|image| {
            image.id.starts_with(name.as_str())
                || image.names.iter().any(|known| is_meant(name, known))
        });
    }
    if matches!(style, crate::output::Style::Json | crate::output::Style::Yaml) {
        let documents = found.iter().map(crate::output::value).collect::<Result<Vec<_>, _>>()?;
        session.printer.documents(&documents, &style)?;
        return Ok(0);
    }
    // A line for each name; for `-q` one for each image.
    let lines: Vec<NamedImage> = found
        .into_iter()
        .flat_map(|image| {
            // By its name, it is shown under that one alone.
            let meant = |known: &&String| match &images.name {
                Some(name) if !image.id.starts_with(name.as_str()) => is_meant(name, known),
                _ => true,
            };
            let names: Vec<Option<String>> = match (images.quiet, image.names.is_empty()) {
                (false, false) => image.names.iter().filter(meant).cloned().map(Some).collect(),
                _ => vec![None],
            };
            names.into_iter().map(move |name| NamedImage { image: image.clone(), name })
        })
        .collect();
    session.printer.list(&lines, images.no_trunc, &style)?;
    Ok(0)
}

/// `web` means all of its tags, `web:1` one.
fn is_meant(name: &str, known: &str) -> bool {
    known == name || known.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
}

pub(crate) async fn import(session: &Session, import: &Import) -> Result<u8, Failure> {
    let standard_input = import.file == Path::new("-");
    let upload = if standard_input {
        Upload::reader(tokio::io::stdin())
    } else {
        Upload::file(&import.file).await.map_err(|error| {
            let what = format!("cannot read {}", import.file.display());
            match error.kind() {
                std::io::ErrorKind::NotFound => Failure::not_found(format!("{what}: {error}")),
                _ => Failure::io(what, &error),
            }
        })?
    };
    let named = import.name.clone().or_else(|| import.tag.clone());
    let name = match (named, standard_input) {
        (Some(name), _) => name,
        (None, true) => {
            return Err(Failure::usage("an image from standard input needs a name")
                .advise("write kernctl import - NAME"));
        }
        (None, false) => import
            .file
            .file_stem()
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default(),
    };
    let client = session.connect().await?;
    let bar = Bar::new(!import.quiet, "sending", upload.size().unwrap_or(0));
    let query =
        ImportQuery { name, provider: import.provider.clone().unwrap_or_default(), force: true };
    let image = client.import(&query, bar.follow(upload)).await;
    bar.finish();
    let image = image?;
    session.printer.one(&image, || image.id.clone())?;
    Ok(0)
}

pub(crate) async fn tag(session: &Session, tag: &Tag) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let image = client.tag(&tag.image, &TagRequest { name: tag.name.clone() }).await?;
    if session.printer.format.is_some() {
        session.printer.one(&image, String::new)?;
    }
    Ok(0)
}

pub(crate) async fn remove(session: &Session, rmi: &Rmi) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let names: Vec<String> = rmi.images.iter().chain(&rmi.image).cloned().collect();
    each(session, &names, |name| {
        let client = client.clone();
        async move {
            let removed = client.delete_image(&name, rmi.force).await?;
            if !removed.instances.is_empty() {
                note(&format!("removed with {name}: {}", removed.instances.join(", ")));
            }
            Ok(name)
        }
    })
    .await
}
