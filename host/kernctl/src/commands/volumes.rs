// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl volume`.

use std::collections::BTreeMap;
use std::path::Path;

use bhojpur_api::{AttachRequest, Volume, VolumeQuery};
use bhojpur_client::Upload;

use super::build::Bar;
use super::filters::{Filters, Keys, labelled};
use super::{each, inspect, note};
use crate::Failure;
use crate::arguments::{
    AttachVolume, CreateVolume, Listing, VolumeAttach, VolumeCommand, VolumeCreate,
};
use crate::context::{self, Ignored, Keep, Packed};
use crate::session::Session;

pub(crate) async fn execute(session: &Session, command: VolumeCommand) -> Result<u8, Failure> {
    match command {
        VolumeCommand::Create(create) => self::create(session, &create).await,
        VolumeCommand::Ls { listing, filter } => list(session, &listing, &filter).await,
        VolumeCommand::Rm { volumes, force } => remove(session, &volumes, force).await,
        VolumeCommand::Inspect { volumes, format } => {
            let style = session.printer.style(format.as_deref(), false)?;
            let client = session.connect().await?;
            let mut documents = Vec::new();
            for name in &volumes {
                documents.push(inspect::find(&client, name, Some("volume")).await?);
            }
            session.printer.documents(&documents, &style)?;
            Ok(0)
        }
        VolumeCommand::Attach(attach) => self::attach(session, &attach).await,
        VolumeCommand::Detach { volume, instance } => {
            detach(session, &volume, instance.as_deref()).await
        }
    }
}

async fn create(session: &Session, create: &VolumeCreate) -> Result<u8, Failure> {
    let labels: BTreeMap<&str, &str> =
        create.label.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let query = VolumeQuery {
        name: create.name.clone(),
        provider: create.provider.clone().unwrap_or_default(),
        size_bytes: create.size,
        labels: if labels.is_empty() {
            String::new()
        } else {
            serde_json::json!(labels).to_string()
        },
        raw: create.raw,
    };
    let content = match &create.from {
        Some(path) if create.raw && path.is_dir() => {
            return Err(Failure::usage(format!(
                "{} is a directory, no disk image",
                path.display()
            ))
            .advise("leave --raw out, and its files go into the volume"));
        }
        Some(path) => Some(content(path).await?),
        None => None,
    };
    let client = session.connect().await?;
    let (content, bar, left_out) = match content {
        Some(Content { upload, size, left_out }) => {
            let bar = Bar::new(!session.printer.is_json(), "sending", size);
            (Some(bar.follow(upload)), Some(bar), left_out)
        }
        None => (None, None, Vec::new()),
    };
    let volume = client.create_volume(&query, content).await;
    bar.inspect(Bar::finish);
    let mut volume = volume?;
    volume.warnings.splice(0..0, left_out);
    volume.warnings.iter().for_each(|warning| note(warning));
    session.printer.one(&volume, || volume.name.clone())?;
    Ok(0)
}

/// What goes into a volume.
struct Content {
    upload: Upload,
    /// About how large it is.
    size: u64,
    /// What of it does not, a sentence for each.
    left_out: Vec<String>,
}

/// A tar of a directory, or one that is there already.
async fn content(path: &Path) -> Result<Content, Failure> {
    if path == Path::new("-") {
        let upload = Upload::reader(tokio::io::stdin());
        return Ok(Content { upload, size: 0, left_out: Vec::new() });
    }
    if path.is_dir() {
        let packed = context::pack(path, Path::new(""), &Ignored::nothing(), Keep::Everything)?;
        let Packed { upload, size, left_out, .. } = packed;
        return Ok(Content { upload, size, left_out });
    }
    let upload = Upload::file(path).await.map_err(|error| {
        let what = format!("cannot read {}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found(format!("{what}: {error}")),
            _ => Failure::io(what, &error),
        }
    })?;
    let size = upload.size().unwrap_or(0);
    Ok(Content { upload, size, left_out: Vec::new() })
}

pub(crate) async fn create_as_ancestor(
    session: &Session,
    old: CreateVolume,
) -> Result<u8, Failure> {
    if let Some(kind) = old.r#type.as_deref().filter(|kind| *kind != "ext4") {
        note(&format!("--type {kind} has no meaning: volumes are ext4"));
    }
    let create = VolumeCreate {
        name: old.name,
        // The ancestor took an image as large as it is.
        size: old.size.filter(|_| !old.raw),
        from: old.data,
        raw: old.raw,
        provider: old.provider,
        label: Vec::new(),
    };
    self::create(session, &create).await
}

const KEYS: Keys = &[
    ("name", "name"),
    ("label", "label"),
    ("dangling", "dangling"),
    ("provider", "provider"),
    ("driver", "provider"),
];

pub(crate) async fn list(
    session: &Session,
    listing: &Listing,
    filters: &[String],
) -> Result<u8, Failure> {
    let style = session.printer.style(listing.format.as_deref(), listing.quiet)?;
    let filters = Filters::parse(filters, KEYS)?;
    if let Some(wrong) = filters.values("dangling").find(|value| truth(value).is_none()) {
        return Err(Failure::usage(format!("dangling={wrong:?} is neither true nor false")));
    }
    let mut volumes = session.connect().await?.volumes().await?;
    volumes.retain(|volume| filters.admit(|key, value| fits(volume, key, value)));
    session.printer.list(&volumes, false, &style)?;
    Ok(0)
}

fn fits(volume: &Volume, key: &str, wanted: &str) -> bool {
    match key {
        "name" => volume.name.contains(wanted),
        "label" => labelled(&volume.labels, wanted),
        "dangling" => truth(wanted) == Some(volume.attachments.is_empty()),
        _ => volume.provider == wanted,
    }
}

/// docker's words for yes and no.
fn truth(word: &str) -> Option<bool> {
    match word {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

pub(crate) async fn remove(
    session: &Session,
    volumes: &[String],
    force: bool,
) -> Result<u8, Failure> {
    let client = session.connect().await?;
    each(session, volumes, |name| {
        let client = client.clone();
        async move {
            client.delete_volume(&name, force).await?;
            Ok(name)
        }
    })
    .await
}

impl From<AttachVolume> for VolumeAttach {
    fn from(old: AttachVolume) -> Self {
        Self { volume: old.volume, instance: old.instance, place: old.place, read_only: false }
    }
}

pub(crate) async fn attach(session: &Session, attach: &VolumeAttach) -> Result<u8, Failure> {
    let (mount_point, read_only) = attach.place.clone();
    let request = AttachRequest {
        instance: attach.instance.clone(),
        mount_point,
        read_only: attach.read_only || read_only,
    };
    let volume = session.connect().await?.attach_volume(&attach.volume, &request).await?;
    session.printer.one(&volume, || volume.name.clone())?;
    Ok(0)
}

pub(crate) async fn detach(
    session: &Session,
    volume: &str,
    instance: Option<&str>,
) -> Result<u8, Failure> {
    let volume = session.connect().await?.detach_volume(volume, instance).await?;
    session.printer.one(&volume, || volume.name.clone())?;
    Ok(0)
}
