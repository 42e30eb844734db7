// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl cp`: files to and from volumes, by docker's rules for names.

use std::fs;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use bhojpur_api::{Code, FileKind};
use bhojpur_client::{ByteStream, Client, Upload};
use rustix::fs::{Mode, OFlags};
use tar::{Archive, EntryType};

use super::build::Bar;
use super::note;
use crate::Failure;
use crate::arguments::Cp;
use crate::context::{self, Ignored, Keep};
use crate::session::Session;

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    /// A tar on a standard stream.
    Stream,
    /// A path of this machine.
    Local(PathBuf),
    /// A path of a volume, from its root.
    Volume { volume: String, path: String },
}

/// `VOLUME:/PATH`; a path with a slash before its first colon is one of this machine.
fn side(text: &str) -> Side {
    if text == "-" {
        return Side::Stream;
    }
    match text.split_once(':') {
        Some((volume, path))
            if !volume.is_empty() && !volume.contains('/') && !volume.starts_with('.') =>
        {
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            Side::Volume { volume: volume.to_owned(), path }
        }
        _ => Side::Local(text.into()),
    }
}

pub(crate) async fn execute(session: &Session, cp: &Cp) -> Result<u8, Failure> {
    match (side(&cp.from), side(&cp.to)) {
        (Side::Volume { volume, path }, to @ (Side::Local(_) | Side::Stream)) => {
            let client = session.connect().await?;
            let stream = client.read_files(&volume, &path).await?;
            match to {
                Side::Local(to) => receive(stream, &path, &to).await?,
                _ => pass(session, stream).await?,
            }
        }
        (from @ (Side::Local(_) | Side::Stream), Side::Volume { volume, path }) => {
            let client = session.connect().await?;
            send(session, &client, from, &volume, &path).await?;
        }
        (Side::Volume { .. }, Side::Volume { .. }) => {
            return Err(Failure::unsupported("files cannot be copied from volume to volume")
                .advise(format!("use a pipe: kernctl cp {} - | kernctl cp - {}", cp.from, cp.to)));
        }
        _ => {
            return Err(Failure::usage("neither side is a volume")
                .advise("write VOLUME:/PATH for one of them, for example kernctl cp data:/out ."));
        }
    }
    Ok(0)
}

/// The tar as it is.
async fn pass(session: &Session, mut stream: ByteStream) -> Result<(), Failure> {
    while let Some(piece) = stream.next().await? {
        session.printer.raw(&piece)?;
    }
    Ok(())
}

/// Puts what comes at a path of this machine.
async fn receive(mut stream: ByteStream, from: &str, to: &Path) -> Result<(), Failure> {
    // On disk first: what breaks off half-way must not be half-unpacked.
    let failed = |error: &io::Error| Failure::io("cannot keep what comes from the volume", error);
    let mut spool = tempfile::tempfile().map_err(|error| failed(&error))?;
    while let Some(piece) = stream.next().await? {
        spool.write_all(&piece).map_err(|error| failed(&error))?;
    }
    spool.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
    let base = from.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let base = if base == "." { "" } else { base };
    let named = if to.is_dir() { to.join(base) } else { to.to_owned() };
    if is_special(&named) {
        return pour(spool, &named);
    }
    let to = &behind_links(to);
    let wants_directory = to.as_os_str().to_string_lossy().ends_with('/');
    let (directory, rename) = if to.is_dir() {
        (to.to_owned(), None)
    } else if base.is_empty() {
        fs::create_dir(to)
            .map_err(|error| Failure::io(format!("cannot make {}", to.display()), &error))?;
        (to.to_owned(), None)
    } else if wants_directory {
        return Err(Failure::not_found(format!("there is no directory {}", to.display())));
    } else {
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !parent.is_dir() {
            return Err(Failure::not_found(format!("there is no directory {}", parent.display())));
        }
        (parent, to.file_name().map(|name| (base.to_owned(), PathBuf::from(name))))
    };
    unpack(spool, &directory, rename.as_ref().map(|(base, name)| (base.as_str(), name.as_path())))
}

/// Whether there is a device, a pipe or a socket, itself or behind links: it is no file that
/// another one could take the place of.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// What symbolic links at a path of the user's lead to, which need not be there yet. It is looked up
/// before anything is unpacked: links that come out of a volume are not followed.
fn behind_links(path: &Path) -> PathBuf {
    // path_resolution(7): so many in a row are a circle.
    const LINKS_MAX: usize = 40;
    if path.is_dir() {
        return path.to_owned();
    }
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&at) else { return at };
        at = at.parent().unwrap_or(Path::new(".")).join(target);
    }
    path.to_owned()
}

/// Writes the one file that came to a device or a pipe.
fn pour(tar: impl Read, to: &Path) -> Result<(), Failure> {
    let broken =
        |error: io::Error| Failure::io("what came from the volume cannot be unpacked", &error);
    let mut archive = Archive::new(tar);
    let first = archive.entries().map_err(broken)?.next().transpose().map_err(broken)?;
    let file = first.filter(|entry| {
        let kind = entry.header().entry_type();
        kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()
    });
    let Some(mut file) = file else {
        let message = format!("{} is a device or a pipe", to.display());
        return Err(Failure::conflict(message)
            .advise("only a file can be written to it; name a directory for all else"));
    };
    let failed = |error: io::Error| Failure::io(format!("cannot write {}", to.display()), &error);
    let mut to = fs::OpenOptions::new().write(true).open(to).map_err(failed)?;
    io::copy(&mut file, &mut to).map_err(failed)?;
    Ok(())
}

/// Unpacks a tar; nothing of it may leave the directory.
fn unpack(tar: impl Read, directory: &Path, rename: Option<(&str, &Path)>) -> Result<(), Failure> {
    let broken =
        |error: io::Error| Failure::io("what came from the volume cannot be unpacked", &error);
    let mut archive = Archive::new(tar);
    // Rights of directories are set last, or what has to go into them could not.
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let refused = || {
            Failure::new(format!("the volume's {} leads out of its directory", name.display()))
                .advise("nothing of it was written; look at it with kernctl cp VOLUME:/PATH - | tar -tv")
        };
        if name.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(refused());
        }
        let kind = match entry.header().entry_type() {
            // tar(5): before there was a type for them, directories were told by their names.
            EntryType::Regular | EntryType::Continuous if entry.path_bytes().ends_with(b"/") => {
                EntryType::Directory
            }
            kind => kind,
        };
        if !matches!(
            kind,
            EntryType::Regular
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
                | EntryType::Continuous
                | EntryType::GNUSparse
        ) {
            continue;
        }
        let target = match rename {
            Some((base, to)) => renamed(&name, base, to),
            None => name.clone(),
        };
        // Without the slash or dot at its end, behind which a link would be what it leads to.
        let target: PathBuf = target.components().collect();
        // What stands in the way as a symbolic link would lead elsewhere.
        if crosses_link(directory, &target) {
            return Err(refused());
        }
        let path = directory.join(&target);
        if kind == EntryType::Directory {
            // One that leads to a directory is as good as it to what makes directories.
            if is_link(&path) {
                return Err(refused());
            }
            fs::create_dir_all(&path)
                .map_err(|error| Failure::io(format!("cannot make {}", path.display()), &error))?;
            directories.push((target, entry.header().mode().unwrap_or(0o755)));
            continue;
        }
        if is_special(&path) && !is_link(&path) {
            let message = format!("{} is a device or a pipe and is not replaced", path.display());
            return Err(Failure::conflict(message).advise("move it away first"));
        }
        if kind == EntryType::Link {
            let linked = entry.link_name().map_err(broken)?.ok_or_else(refused)?.into_owned();
            let linked = match rename {
                Some((base, to)) => renamed(&linked, base, to),
                None => linked,
            };
            if linked.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir))
                || crosses_link(directory, &linked)
            {
                return Err(refused());
            }
            let _ = fs::remove_file(&path);
            fs::hard_link(directory.join(linked), &path)
                .map_err(|error| Failure::io(format!("cannot make {}", path.display()), &error))?;
            continue;
        }
        entry
            .unpack(&path)
            .map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))?;
    }
    for (target, mode) in directories.into_iter().rev() {
        // One that was there before and is somebody else's keeps its mode.
        let _ = set_mode(directory, &target, mode & 0o777);
    }
    Ok(())
}

/// Changes the mode of a directory below another one, or of that one itself. Whatever has become
/// a symbolic link since it was made is not followed: each step is by descriptor.
fn set_mode(directory: &Path, target: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(directory, flags, Mode::empty())?;
    for component in target.components() {
        at = rustix::fs::openat(
            &at,
            component.as_os_str(),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
    }
    fs::File::from(at).set_permissions(fs::Permissions::from_mode(mode))
}

/// A name of the tar with another beginning.
fn renamed(name: &Path, base: &str, to: &Path) -> PathBuf {
    match name.strip_prefix(base) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
        Ok(rest) => to.join(rest),
        Err(_) => name.to_owned(),
    }
}

/// Whether a directory on the way to a path is a symbolic link.
fn crosses_link(directory: &Path, target: &Path) -> bool {
    let mut at = directory.to_owned();
    let Some(parent) = target.parent() else { return false };
    parent.components().any(|component| {
        at.push(component);
        is_link(&at)
    })
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Sends files or a tar into a volume.
async fn send(
    session: &Session,
    client: &Client,
    from: Side,
    volume: &str,
    to: &str,
) -> Result<(), Failure> {
    let Side::Local(from) = from else {
        let written = client.write_files(volume, to, Upload::reader(tokio::io::stdin())).await?;
        written.warnings.iter().for_each(|warning| note(warning));
        return Ok(());
    };
    let found = fs::symlink_metadata(&from).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::not_found(format!("there is no {}", from.display())),
        _ => Failure::io(format!("cannot read {}", from.display()), &error),
    })?;
    if let Some(what) = context::special(&found) {
        let message = format!("{} is {what} and cannot be copied", from.display());
        return Err(Failure::usage(message).advise("copy files, directories and links"));
    }
    // `DIR/.` means what is in it, as docker has it.
    let content = from.as_os_str().to_string_lossy().ends_with("/.") || from == Path::new(".");
    let absolute = std::path::absolute(&from).unwrap_or_else(|_| from.clone());
    let own = absolute.file_name().map(PathBuf::from).unwrap_or_default();
    let (directory, name) =
        destination(client, volume, to, found.is_dir() && content, &own).await?;
    if found.is_dir() && !name.as_os_str().is_empty() {
        refuse_file(client, volume, &directory, &name).await?;
    }
    let packed = if found.is_dir() {
        context::pack(&from, &name, &Ignored::nothing(), Keep::Everything)?
    } else {
        context::pack_file(&absolute, &name, Keep::Everything)?
    };
    let bar = Bar::new(!session.printer.is_json(), "sending", packed.size);
    let sent = client.write_files(volume, &directory, bar.follow(packed.upload)).await;
    bar.finish();
    packed.left_out.iter().chain(&sent?.warnings).for_each(|warning| note(warning));
    Ok(())
}

/// The directory of the volume that gets the files, and the name that they get there.
async fn destination(
    client: &Client,
    volume: &str,
    to: &str,
    content: bool,
    own: &Path,
) -> Result<(String, PathBuf), Failure> {
    let trimmed = to.trim_end_matches('/');
    if content || trimmed.is_empty() {
        let name = if content { PathBuf::new() } else { own.to_owned() };
        return Ok((to.to_owned(), name));
    }
    if to.ends_with('/') || is_directory(client, volume, to).await? {
        return Ok((trimmed.to_owned(), own.to_owned()));
    }
    let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    let parent = if parent.is_empty() { "/" } else { parent };
    Ok((parent.to_owned(), name.into()))
}

/// Whether there is a directory at a path.
async fn is_directory(client: &Client, volume: &str, path: &str) -> Result<bool, Failure> {
    Ok(kind(client, volume, path).await? == Some(FileKind::Directory))
}

/// What is at a path.
async fn kind(client: &Client, volume: &str, path: &str) -> Result<Option<FileKind>, Failure> {
    match client.stat_file(volume, path).await {
        Ok(found) => Ok(Some(found.kind)),
        // That the volume itself is not there, writing will tell.
        Err(error) if error.code() == Some(Code::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A directory takes the place of nothing else: what is there would be gone.
async fn refuse_file(
    client: &Client,
    volume: &str,
    directory: &str,
    name: &Path,
) -> Result<(), Failure> {
    let path = format!("{}/{}", directory.trim_end_matches('/'), name.display());
    match kind(client, volume, &path).await? {
        None | Some(FileKind::Directory) => Ok(()),
        Some(_) => {
            let message = format!(
                "cannot copy a directory to a file: {path} is one in the volume {volume:?}"
            );
            Err(Failure::conflict(message).advise("name another place for it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn sides_are_told_apart() {
        let volume = |path: &str| Side::Volume { volume: "data".into(), path: path.into() };
        assert_eq!(side("data:/a"), volume("/a"));
        assert_eq!(side("data:a"), volume("/a"));
        assert_eq!(side("data:"), volume("/"));
        assert_eq!(side("-"), Side::Stream);
        for local in ["./data:/a", "a/b:c", "/x:y", ":x", "plain", "."] {
            assert_eq!(side(local), Side::Local(local.into()));
        }
    }

    /// Files have their content, links what they lead to, directories their mode.
    fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            let is_directory = *kind == EntryType::Directory;
            let mode = if is_directory { content } else { "644" };
            header.set_mode(u32::from_str_radix(mode, 8).unwrap());
            // The library's own check is gone around, as a hostile volume would.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            let link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if link {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            let content = if link || is_directory { "" } else { content };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn files_are_unpacked_and_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let entries = [
            ("out", EntryType::Directory, "755"),
            ("out/a", EntryType::Regular, "content"),
            ("out/l", EntryType::Symlink, "a"),
            ("out/h", EntryType::Link, "out/a"),
        ];
        unpack(tar(&entries).as_slice(), directory.path(), Some(("out", Path::new("new"))))
            .unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            (read("new/a"), read("new/l"), read("new/h")),
            ("content".into(), "content".into(), "content".into())
        );
    }

    #[test]
    fn nothing_climbs_out() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        for entries in [
            &[("../evil", EntryType::Regular, "x")][..],
            &[("/evil", EntryType::Regular, "x")],
            &[("a", EntryType::Symlink, ".."), ("a/evil", EntryType::Regular, "x")],
            &[("h", EntryType::Link, "../secret")],
            &[("a", EntryType::Symlink, ".."), ("h", EntryType::Link, "a/secret")],
        ] {
            let _ = fs::remove_dir_all(&inner);
            fs::create_dir(&inner).unwrap();
            fs::write(directory.path().join("secret"), "s").unwrap();
            assert!(unpack(tar(entries).as_slice(), &inner, None).is_err(), "{entries:?}");
            assert!(!directory.path().join("evil").exists() && !inner.join("h").exists());
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directories_get_their_modes_and_those_outside_keep_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let (inner, outside) = (directory.path().join("inner"), directory.path().join("outside"));
        fs::create_dir(&inner).unwrap();
        fs::DirBuilder::new().mode(0o700).create(&outside).unwrap();
        let entries = [
            ("d", EntryType::Directory, "500"),
            ("d/e", EntryType::Directory, "2770"),
            ("d/e/f", EntryType::Regular, "content"),
        ];
        unpack(tar(&entries).as_slice(), &inner, None).unwrap();
        assert_eq!((mode(&inner.join("d")), mode(&inner.join("d/e"))), (0o500, 0o770));
        fs::set_permissions(inner.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
        // A link of the volume, and one that was there before.
        let linked = ("a", EntryType::Symlink, "../outside");
        unpack(tar(&[linked]).as_slice(), &inner, None).unwrap();
        for opened in [
            ("a", EntryType::Directory, "777"),
            ("a/", EntryType::Directory, "777"),
            ("a/.", EntryType::Directory, "777"),
            ("a/", EntryType::Regular, ""),
        ] {
            assert!(unpack(tar(&[linked, opened]).as_slice(), &inner, None).is_err());
            assert!(unpack(tar(&[opened]).as_slice(), &inner, None).is_err(), "{opened:?}");
            assert_eq!(mode(&outside), 0o700, "{opened:?}");
        }
        let renamed = Some(("out", Path::new("a")));
        let opened = ("out", EntryType::Directory, "777");
        assert!(unpack(tar(&[opened]).as_slice(), &inner, renamed).is_err());
        assert_eq!(mode(&outside), 0o700);
    }
}
