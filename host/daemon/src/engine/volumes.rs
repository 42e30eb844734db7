// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes: made, filled, attached, copied from, removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bhojpur_api::Code;
use bhojpur_provider::{Artifact, Kind, Silent, StagedVolume, VolumeId};
use bhojpur_volume as ext4;

use super::{Engine, Upload, archive, blocking, names};
use crate::clock::Timestamp;
use crate::home::{self, Scratch};
use crate::instance::Command;
use crate::model::{Mount, Subject, Volume, VolumePhase};
use crate::{Error, Result, secret, store};

/// Where a copy out of a volume lies until it is sent.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) path: PathBuf,
    pub(crate) scratch: Scratch,
}

/// What a new volume begins with.
#[derive(Debug)]
pub(crate) enum Content {
    Nothing,
    /// The files of a tar.
    Tar(Upload),
    /// A disk image with an ext4 file system, taken as it is.
    Image(Upload),
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Tar(upload) | Self::Image(upload) => upload.size,
        }
    }
}

impl Engine {
    pub(crate) async fn volumes(&self) -> Result<Vec<Volume>> {
        self.store.read(store::volumes::all).await
    }

    /// The volume that a person means.
    pub(crate) async fn volume(&self, reference: String) -> Result<Volume> {
        self.store.read(move |db| store::volumes::find(db, &reference)).await
    }

    /// Makes a volume, empty or with what was sent, and says what was left out of that.
    pub(crate) async fn create_volume(
        &self,
        name: String,
        provider: &str,
        size: Option<u64>,
        labels: BTreeMap<String, String>,
        content: Content,
    ) -> Result<(Volume, Vec<String>)> {
        names::check("a volume", &name)?;
        let provider = self.providers.named(provider)?.clone();
        if !provider.capabilities().volumes {
            let message = format!("{} has no volumes", provider.kind().title());
            return Err(Error::new(Code::Unsupported, message));
        }
        if size.is_none() && matches!(content, Content::Nothing) {
            return Err(Error::invalid("an empty volume needs a size")
                .advise("give it one, or something to put into it: --size 1G, --from DIR"));
        }
        let uuid: [u8; 16] = secret::random()?;
        let mut volume = Volume {
            id: VolumeId::from_bytes(&uuid),
            name,
            provider: provider.kind(),
            locator: String::new(),
            size: size.unwrap_or(0),
            labels,
            phase: VolumePhase::Creating,
            created: Timestamp::now(),
            attachments: Vec::new(),
        };
        let row = volume.clone();
        self.store.write(move |write| write.add_volume(&row)).await?;
        match self.fill_volume(&mut volume, uuid, size, content, &*provider).await {
            Ok(warnings) => Ok((volume, warnings)),
            Err(error) => {
                if let Err(undo) = self.discard_volume(&volume).await {
                    tracing::warn!(volume = %volume.name, error = %undo, "cannot be removed");
                }
                Err(error)
            }
        }
    }

    async fn fill_volume(
        &self,
        volume: &mut Volume,
        uuid: [u8; 16],
        size: Option<u64>,
        content: Content,
        provider: &dyn bhojpur_provider::Provider,
    ) -> Result<Vec<String>> {
        if let Some(size) = size {
            // Sparse: what counts is that it can hold something at all.
            self.check_room(content.size().min(size))?;
        }
        let scratch = self.home.scratch()?;
        let directory = scratch.path().join("volume");
        home::make(&directory)?;
        let (path, label) = (directory.join("disk.raw"), volume.name.clone());
        let (made, warnings) =
            blocking(move || make_disk(&path, uuid, &label, size, content)).await?;
        home::settle(&directory, &self.home.volumes().join(volume.id.as_str()))?;
        let artifact = Artifact { path: self.home.volume(&volume.id), size: made };
        let staged = provider.stage_volume(&volume.id, &artifact, &Silent).await?;
        volume.size = made;
        volume.locator = staged.locator;
        volume.phase = VolumePhase::Ready;
        let row = volume.clone();
        self.store
            .write(move |write| {
                write.update_volume(&row)?;
                write.event(
                    Subject::Volume,
                    row.id.as_str(),
                    &row.name,
                    "create",
                    &[("provider", row.provider.to_string())],
                )
            })
            .await?;
        Ok(warnings)
    }

    /// Removes everything of a volume that nobody uses.
    pub(crate) async fn discard_volume(&self, volume: &Volume) -> Result<()> {
        if let Ok(provider) = self.providers.of(volume.provider) {
            let staged = StagedVolume { id: volume.id.clone(), locator: volume.locator.clone() };
            provider.remove_volume(&staged).await?;
        }
        home::remove(&self.home.volumes().join(volume.id.as_str()))?;
        let id = volume.id.clone();
        self.store.write(move |write| write.remove_volume(&id)).await
    }

    /// Removes a volume; with `force` it is detached from stopped instances first.
    pub(crate) async fn remove_volume(&self, reference: String, force: bool) -> Result<()> {
        let mut volume = self.volume(reference).await?;
        if force {
            for attached in &volume.attachments {
                let Some(handle) = self.registry.by_id(&attached.instance) else { continue };
                handle.order(Command::Detach(volume.id.clone())).await?;
            }
        }
        let _lock = self.volume_locks.lock(&volume.id).await;
        let id = volume.id.clone();
        volume = self.store.write(move |write| write.retire_volume(&id)).await?;
        self.discard_volume(&volume).await?;
        let id = volume.id.to_string();
        self.event(Subject::Volume, id, volume.name, "delete", Vec::new()).await;
        Ok(())
    }

    pub(crate) async fn attach_volume(
        &self,
        reference: String,
        instance: &str,
        place: &str,
        read_only: bool,
    ) -> Result<Volume> {
        let volume = self.volume(reference).await?;
        let handle = self.registry.find(instance)?;
        fits(&volume, handle.now().provider)?;
        let mount = Mount {
            volume: volume.id.clone(),
            name: volume.name.clone(),
            mount_point: mount_point(place)?,
            read_only,
        };
        handle.order(Command::Attach(mount)).await?;
        self.volume(volume.id.to_string()).await
    }

    /// Detaches a volume from an instance, or from the only one that has it.
    pub(crate) async fn detach_volume(
        &self,
        reference: String,
        instance: Option<&str>,
    ) -> Result<Volume> {
        let volume = self.volume(reference).await?;
        let handle = match (instance, volume.attachments.as_slice()) {
            (Some(instance), _) => self.registry.find(instance)?,
            (None, [only]) => self.registry.find(only.instance.as_str())?,
            (None, []) => {
                let message = format!("the volume {:?} is not attached to anything", volume.name);
                return Err(Error::conflict(message));
            }
            (None, _) => {
                let message =
                    format!("the volume {:?} is attached to several instances", volume.name);
                return Err(Error::conflict(message).advise("name the one that is meant"));
            }
        };
        handle.order(Command::Detach(volume.id.clone())).await?;
        self.volume(volume.id.to_string()).await
    }

    /// A tar of what is at `path` in a volume.
    pub(crate) async fn pack_volume(&self, reference: String, wanted: String) -> Result<Packed> {
        let volume = self.volume(reference).await?;
        let lock = self.volume_locks.lock(&volume.id).await;
        self.check_idle(&volume)?;
        self.check_room(0)?;
        let scratch = self.home.scratch()?;
        let image = self.home.volume(&volume.id);
        blocking(move || {
            // Here, and not with whoever waits: that one may leave, and the disk is still read.
            let _lock = lock;
            let path = scratch.path().join("content.tar");
            let mut disk = open(&volume, &image, ext4::Access::Read)?;
            let file = std::fs::File::create(&path)
                .map_err(|error| Error::io(format!("cannot write {}", path.display()), &error))?;
            disk.read_tar(&wanted, std::io::BufWriter::new(file)).map_err(failed)?;
            disk.close().map_err(failed)?;
            Ok(Packed { path, scratch })
        })
        .await
    }

    /// What is at `path` in a volume.
    pub(crate) async fn stat_in_volume(
        &self,
        reference: String,
        path: String,
    ) -> Result<ext4::Entry> {
        let volume = self.volume(reference).await?;
        let _lock = self.volume_locks.lock(&volume.id).await;
        self.check_idle(&volume)?;
        let image = self.home.volume(&volume.id);
        blocking(move || {
            let mut disk = open(&volume, &image, ext4::Access::Read)?;
            let found = disk.stat_followed(&path).map_err(failed)?;
            disk.close().map_err(failed)?;
            Ok(found)
        })
        .await
    }

    /// Puts what a tar has at `path` into a volume, and says what was left out.
    pub(crate) async fn unpack_volume(
        &self,
        reference: String,
        path: String,
        upload: Upload,
    ) -> Result<Vec<String>> {
        let volume = self.volume(reference).await?;
        let lock = self.volume_locks.lock(&volume.id).await;
        self.check_idle(&volume)?;
        let image = self.home.volume(&volume.id);
        let (id, name) = (volume.id.to_string(), volume.name.clone());
        // Looked through first: what is refused leaves nothing of it in the volume.
        let (lock, volume, upload, path, wanted) = blocking({
            let image = image.clone();
            move || {
                let mut disk = open(&volume, &image, ext4::Access::Read)?;
                let wanted = disk.check_tar(&path, archive::open(&upload.path)?).map_err(failed)?;
                disk.close().map_err(failed)?;
                Ok((lock, volume, upload, path, wanted))
            }
        })
        .await?;
        // Its disk is sparse, and the one below it may be full.
        self.check_room(wanted)?;
        let report = blocking(move || {
            // Whoever waits may leave, and the disk is still written.
            let _lock = lock;
            crate::marks::touch(&image)?;
            let mut disk = open(&volume, &image, ext4::Access::Write)?;
            let report = disk.write_tar(&path, archive::open(&upload.path)?).map_err(failed)?;
            disk.close().map_err(failed)?;
            Ok(report)
        })
        .await?;
        self.event(Subject::Volume, id, name, "write", Vec::new()).await;
        Ok(report.warnings)
    }

    /// Whoever holds the volume's lock can rely on it: an instance takes it when it starts.
    fn check_idle(&self, volume: &Volume) -> Result<()> {
        for attached in &volume.attachments {
            let Some(handle) = self.registry.by_id(&attached.instance) else { continue };
            if handle.now().now.phase.is_live() {
                let message = format!(
                    "the volume {:?} is used by the instance {:?}, which runs",
                    volume.name, attached.instance_name
                );
                let advice = format!("stop it first: kernctl stop {}", attached.instance_name);
                return Err(Error::conflict(message).advise(advice));
            }
        }
        Ok(())
    }

    /// The volumes that only this instance has, to remove them with it.
    pub(crate) async fn volumes_of(self: &Arc<Self>, mounts: &[Mount]) -> Vec<Volume> {
        let mut found = Vec::new();
        for mount in mounts {
            if let Ok(volume) = self.volume(mount.volume.to_string()).await
                && volume.attachments.len() <= 1
            {
                found.push(volume);
            }
        }
        found
    }
}

/// Makes the disk; gives its size, and what was left out.
fn make_disk(
    path: &Path,
    uuid: [u8; 16],
    label: &str,
    size: Option<u64>,
    content: Content,
) -> Result<(u64, Vec<String>)> {
    let options = match (size, &content) {
        (_, Content::Image(image)) => return Ok((adopt_disk(image, path)?, Vec::new())),
        (Some(size), _) => ext4::CreateOptions::new(size, uuid),
        (None, Content::Tar(upload)) => {
            let estimate = ext4::size_for_tar(archive::open(&upload.path)?).map_err(failed)?;
            estimate.options(uuid)
        }
        (None, Content::Nothing) => return Err(Error::invalid("an empty volume needs a size")),
    };
    // ext4(5): a label has 16 bytes at most.
    let label = label.get(..16).unwrap_or(label);
    let options = options.label(label);
    let warnings = match content {
        Content::Nothing | Content::Image(_) => {
            ext4::Volume::create(path, &options).and_then(ext4::Volume::close).map_err(failed)?;
            Vec::new()
        }
        Content::Tar(upload) => {
            let tar = archive::open(&upload.path)?;
            ext4::Volume::create_filled(path, &options, |disk| disk.write_tar("/", tar))
                .map_err(failed)?
                .warnings
        }
    };
    let found = std::fs::metadata(path)
        .map_err(|error| Error::io(format!("cannot read {}", path.display()), &error))?;
    Ok((found.len(), warnings))
}

/// Makes a disk of an image that was sent, with holes where it has zeroes.
fn adopt_disk(image: &Upload, path: &Path) -> Result<u64> {
    ext4::check(&image.path).map_err(|error| {
        // It is named as the user knows it.
        let name = format!("{}", image.path.display());
        let refused = Error::invalid(error.to_string().replace(&name, "the disk image"));
        let advice = error.advice().map_or_else(
            || "send the image of an ext4 file system, without a partition table".to_owned(),
            str::to_owned,
        );
        refused.advise(advice)
    })?;
    let copied = || -> io::Result<u64> {
        let mut from = File::open(&image.path)?;
        let mut to = File::create(path)?;
        let mut piece = vec![0; 64 << 10];
        let mut size = 0;
        loop {
            let read = match from.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                break;
            }
            let content = &piece[..read];
            if content.iter().any(|byte| *byte != 0) {
                to.seek(io::SeekFrom::Start(size))?;
                to.write_all(content)?;
            }
            size += read as u64;
        }
        to.set_len(size)?;
        to.sync_all()?;
        Ok(size)
    };
    let size =
        copied().map_err(|error| Error::io(format!("cannot write {}", path.display()), &error))?;
    home::remove(&image.path)?;
    Ok(size)
}

/// Opens the disk of a volume, which is named as the user knows it. Whatever is wrong with it now
/// was not so when it was made.
fn open(volume: &Volume, disk: &Path, access: ext4::Access) -> Result<ext4::Volume> {
    ext4::Volume::open(disk, access).map_err(|error| {
        if !matches!(error.kind(), ext4::ErrorKind::Corrupt | ext4::ErrorKind::Invalid) {
            return failed(error);
        }
        let path = disk.display().to_string();
        let known = error.to_string().replace(&path, &format!("the volume {:?}", volume.name));
        Error::internal(known)
            .advise(format!("restore it from a copy, or try e2fsck -f on a copy of {path}"))
    })
}

fn failed(error: ext4::Error) -> Error {
    let code = match error.kind() {
        ext4::ErrorKind::NotFound => Code::NotFound,
        ext4::ErrorKind::Exists | ext4::ErrorKind::Busy => Code::Conflict,
        ext4::ErrorKind::NoSpace => Code::Exhausted,
        ext4::ErrorKind::Invalid => Code::Invalid,
        ext4::ErrorKind::Corrupt | ext4::ErrorKind::Io => Code::Internal,
    };
    let failed = Error::new(code, &error);
    error.advice().map(str::to_owned).into_iter().fold(failed, Error::advise)
}

/// A volume for another provider.
pub(super) fn fits(volume: &Volume, kind: Kind) -> Result<()> {
    if volume.provider == kind {
        return Ok(());
    }
    let message =
        format!("the volume {:?} is for {}, not for {kind}", volume.name, volume.provider);
    Err(Error::invalid(message).advise(format!(
        "make one for it: kernctl volume create --provider {kind}, and copy with kernctl cp"
    )))
}

/// A directory of the guest where something can be mounted.
pub(super) fn mount_point(text: &str) -> Result<String> {
    let trimmed = text.trim_end_matches('/');
    let plain = trimmed.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    // A colon would end the directory where the guest is told of it: docs/volumes.md.
    if trimmed.starts_with('/') && plain && !trimmed.contains(['\0', ':']) && trimmed.len() < 4096 {
        return Ok(trimmed.to_owned());
    }
    Err(Error::invalid(format!("{text:?} is no directory to mount a volume at"))
        .advise("give an absolute path below /, for example /data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_absolute_and_plain() {
        assert_eq!(mount_point("/data/").unwrap(), "/data");
        for bad in ["", "/", "data", "/a/../b", "/a//b", "/./a", "/a\0", "/a:ro"] {
            assert!(mount_point(bad).is_err(), "{bad:?}");
        }
    }
}
