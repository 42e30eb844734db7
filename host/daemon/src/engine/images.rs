// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images: taken in by their digest, named, staged, removed.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bhojpur_api::Code;
use bhojpur_formats::image::{self, KernelFile};
use bhojpur_provider::{Artifact, ImageId, Kind, Progress, Silent, StagedImage};
use sha2::{Digest as _, Sha256};

use super::{Engine, blocking, names};
use crate::clock::Timestamp;
use crate::home::{self, Scratch};
use crate::instance::Command;
use crate::model::{About, Exposed, Image, Subject};
use crate::{Error, Result, store};

/// What a program gets beyond the least that its image needs.
const USUAL_BESIDE_MIB: u64 = 128;

/// A bootable ELF that is to become an image.
#[derive(Debug)]
pub(crate) struct NewImage {
    /// What holds the file, so that it goes away when it does not become an image.
    pub(crate) scratch: Scratch,
    pub(crate) path: PathBuf,
    pub(crate) language: String,
    /// `NAME[:TAG]`, or nothing.
    pub(crate) name: String,
    /// Take the name away from another image.
    pub(crate) force: bool,
    pub(crate) provider: Kind,
    /// What the list of events calls it.
    pub(crate) action: &'static str,
}

/// What went with a name or an image.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) names: Vec<String>,
    /// The image itself, when no name was left or all were meant.
    pub(crate) image: Option<ImageId>,
    /// Names of the instances that had to go.
    pub(crate) instances: Vec<String>,
}

impl Engine {
    /// Takes a bootable ELF in: checks it, keeps it under its digest, stages it, names it. What
    /// is there already is there once.
    pub(crate) async fn adopt_image(
        &self,
        new: NewImage,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let name = match new.name.as_str() {
            "" => None,
            name => Some(names::tagged(name)?),
        };
        let provider = self.providers.of(new.provider)?.clone();
        let path = new.path.clone();
        let (id, mut about, size) = blocking(move || examine(&path)).await?;
        about.language = new.language;
        let _lock = self.image_locks.lock(&id).await;
        self.check_name(name.as_deref(), &id, new.force).await?;
        let file = self.home.image(&id);
        let known = id.clone();
        let before = self.store.read(move |db| store::images::by_id(db, known.as_str())).await?;
        let kind = new.provider;
        let staged = before.iter().flat_map(|image| &image.staged).find(|(k, _)| *k == kind);
        if staged.is_none() {
            // Before its directory: without a row that would be somebody's lost image.
            let row = id.clone();
            self.store.write(move |write| write.about_to_stage(&row, kind)).await?;
        }
        if before.is_none() || !file.is_file() {
            self.keep(&new.path, &new.scratch, &id)?;
        }
        let staged = match staged {
            Some((_, locator)) => locator.clone(),
            None => {
                let artifact = Artifact { path: file, size };
                match provider.stage_image(&id, &artifact, progress).await {
                    Ok(staged) => staged.locator,
                    Err(error) => {
                        if before.is_none() {
                            home::remove(&self.home.images().join(id.as_str()))?;
                        }
                        return Err(error.into());
                    }
                }
            }
        };
        let image = Image {
            id: id.clone(),
            names: Vec::new(),
            about,
            size,
            created: Timestamp::now(),
            staged: vec![(kind, staged)],
        };
        let (action, force) = (new.action, new.force);
        let kept = self
            .store
            .write(move |write| {
                write.add_image(&image)?;
                if let Some(name) = &name {
                    write.name_image(name, &image.id, force)?;
                }
                let (label, provider) = (name.clone().unwrap_or_default(), kind.to_string());
                let (id, attributes) = (image.id.as_str(), [("provider", provider)]);
                write.event(Subject::Image, id, &label, action, &attributes)?;
                write.image(&image.id)
            })
            .await;
        drop(new.scratch);
        kept
    }

    /// A name that is taken is an error before anything is staged.
    async fn check_name(&self, name: Option<&str>, id: &ImageId, force: bool) -> Result<()> {
        let Some(name) = name.map(str::to_owned) else { return Ok(()) };
        let found = self.store.read(move |db| {
            Ok(store::images::all(db)?.into_iter().find(|image| image.names.contains(&name)))
        });
        match found.await? {
            Some(other) if other.id != *id && !force => {
                let message = format!("the name belongs to the image {}", other.id.short());
                Err(Error::conflict(message)
                    .advise("choose another name or tag, or take it away with --force"))
            }
            _ => Ok(()),
        }
    }

    /// Moves the file to its place. It appears whole or not at all.
    fn keep(&self, path: &Path, scratch: &Scratch, id: &ImageId) -> Result<()> {
        let directory = scratch.path().join("image");
        home::make(&directory)?;
        home::settle(path, &directory.join("kernel.elf"))?;
        let place = self.home.images().join(id.as_str());
        // What may be there has no row, or has lost its file.
        home::remove(&place)?;
        home::settle(&directory, &place)
    }

    /// The image that a person means.
    pub(crate) async fn image(&self, reference: String) -> Result<Image> {
        self.store.read(move |db| store::images::find(db, &reference)).await
    }

    pub(crate) async fn images(&self) -> Result<Vec<Image>> {
        self.store.read(store::images::all).await
    }

    /// Gives an image another name.
    pub(crate) async fn tag_image(&self, reference: String, name: &str) -> Result<Image> {
        let name = names::tagged(name)?;
        let image = self.image(reference).await?;
        let id = image.id.clone();
        self.store
            .write(move |write| {
                write.name_image(&name, &id, true)?;
                write.event(Subject::Image, id.as_str(), &name, "tag", &[])
            })
            .await?;
        self.image(image.id.to_string()).await
    }

    /// Removes a name, and with the last one the image; by its id, the image with all names. With
    /// `force` its instances go first, but never for a name beside which there is another one.
    pub(crate) async fn remove_image(
        self: &Arc<Self>,
        reference: String,
        force: bool,
    ) -> Result<Removed> {
        let image = self.image(reference.clone()).await?;
        let tagged = names::tagged(&reference).unwrap_or_default();
        if image.names.contains(&tagged) && self.untag_image(&image.id, &tagged).await? {
            return Ok(Removed { names: vec![tagged], image: None, instances: Vec::new() });
        }
        let instances = match force {
            true => self.remove_instances_of(&image.id).await?,
            false => Vec::new(),
        };
        self.discard_image(&image).await?;
        Ok(Removed { names: image.names, image: Some(image.id), instances })
    }

    /// Takes a name away from an image that has another one; false when it has not.
    async fn untag_image(&self, id: &ImageId, name: &str) -> Result<bool> {
        let (id, name) = (id.clone(), name.to_owned());
        self.store
            .write(move |write| {
                let names = write.image(&id)?.names;
                if !names.contains(&name) {
                    return Err(Error::not_found("image", &name));
                }
                if names.len() == 1 {
                    return Ok(false);
                }
                write.unname_image(&name)?;
                write.event(Subject::Image, id.as_str(), &name, "untag", &[])?;
                Ok(true)
            })
            .await
    }

    /// Ends and removes what was made from an image, and tells the names.
    async fn remove_instances_of(&self, id: &ImageId) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for handle in self.registry.all() {
            let instance = handle.now();
            if instance.image == *id {
                handle.order(Command::Delete { force: true }).await?;
                names.push(instance.name.clone());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes everything of an image that no instance uses.
    async fn discard_image(&self, image: &Image) -> Result<()> {
        let _lock = self.image_locks.lock(&image.id).await;
        let (id, name) = (image.id.clone(), image.names.first().cloned().unwrap_or_default());
        self.store
            .write(move |write| {
                write.remove_image(&id)?;
                write.event(Subject::Image, id.as_str(), &name, "delete", &[])
            })
            .await?;
        // Before what the providers have is removed, and with it the last row that tells of it.
        home::remove(&self.home.images().join(image.id.as_str()))?;
        for (kind, locator) in &image.staged {
            let Ok(provider) = self.providers.of(*kind) else { continue };
            let staged = StagedImage { id: image.id.clone(), locator: locator.clone() };
            match provider.remove_image(&staged).await {
                Ok(()) => {
                    let (id, kind) = (image.id.clone(), *kind);
                    self.store.write(move |write| write.removed_stage(&id, kind)).await?;
                }
                // It is forgotten here; the next start tries again.
                Err(error) => tracing::warn!(image = %image.id, %error, "cannot remove an image"),
            }
        }
        Ok(())
    }

    /// Takes an uploaded ELF in.
    pub(crate) async fn import_image(
        &self,
        upload: super::Upload,
        name: String,
        provider: &str,
        force: bool,
    ) -> Result<Image> {
        let new = NewImage {
            path: upload.path,
            scratch: upload.scratch,
            language: "binary".to_owned(),
            name,
            force,
            provider: self.providers.named(provider)?.kind(),
            action: "import",
        };
        self.adopt_image(new, &Silent).await
    }
}

/// Looks at a file: is it a bootable ELF of ours, whole, and what does it say of itself.
fn examine(path: &Path) -> Result<(ImageId, About, u64)> {
    let refused = |error: &image::Error| {
        Error::invalid(format!("this is no image that can be booted: {error}"))
            .advise("make one with: kernctl build, or kernel build -o kernel.elf DIR")
    };
    let file = KernelFile::open(path).map_err(|error| refused(&error))?;
    let summary = file.summary().map_err(|error| refused(&error))?;
    let config = file.config().ok_or_else(|| refused(&image::Error::Bare))?;
    let words = |list: &[Vec<u8>]| {
        list.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()
    };
    let least = summary.memory_needed.div_ceil(1 << 20);
    let wanted = config.memory_usual.map(|bytes| bytes.div_ceil(1 << 20));
    if let Some(wanted) = wanted.filter(|wanted| *wanted < least) {
        let message = format!("the image does not start with {wanted} MiB of memory");
        return Err(Error::invalid(message).advise(format!(
            "give it at least {least} MiB in its project file, or leave that out"
        )));
    }
    let ports = config.ports.iter().map(|port| Exposed { guest: port.number, udp: port.udp });
    let about = About {
        language: String::new(),
        args: words(&config.args),
        env: words(&config.env),
        ports: ports.collect::<BTreeSet<_>>().into_iter().collect(),
        least_memory_mib: least,
        usual_memory_mib: wanted.unwrap_or(least + USUAL_BESIDE_MIB),
        usual_cpus: config.cpus_usual.and_then(|cpus| u32::try_from(cpus).ok()),
    };
    Ok((digest(path)?, about, summary.file_size))
}

fn digest(path: &Path) -> Result<ImageId> {
    let unreadable = |error| Error::io(format!("cannot read {}", path.display()), &error);
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut sha256 = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(unreadable)? {
            0 => return Ok(ImageId::from_bytes(&sha256.finalize().into())),
            read => sha256.update(&piece[..read]),
        }
    }
}

/// An image for another provider than the one that is wanted.
pub(super) fn staged_for(image: &Image, kind: Kind) -> Result<()> {
    if image.staged.iter().any(|(staged, _)| *staged == kind) {
        return Ok(());
    }
    let has: Vec<&str> = image.staged.iter().map(|(kind, _)| kind.name()).collect();
    let name = image.names.first().map_or_else(|| image.id.short(), String::as_str);
    let message = format!("the image {name} is for {}, not for {kind}", has.join(", "));
    Err(Error::new(Code::Invalid, message).advise(format!(
        "build it for that provider: kernctl build --provider {kind}; or run it where it is"
    )))
}
