// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Directories of this machine on their way to the daemon.

mod ignore;
mod pack;

use std::fs;
use std::path::{Component, Path, PathBuf};

pub(crate) use ignore::Ignored;
pub(crate) use pack::{Keep, Packed, pack, pack_file, special};

use crate::Failure;

/// What a build sends, and where the program is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// The directory that is sent.
    pub(crate) root: PathBuf,
    /// Only this file of it, when the program is one file.
    pub(crate) file: Option<PathBuf>,
    /// The directory of the project, relative to the root; empty for the root itself.
    pub(crate) project: PathBuf,
}

/// Finds out what has to be sent to build what is at a path. A Go program may stand anywhere in
/// its module, and needs all of it.
pub(crate) fn find(path: &Path) -> Result<Context, Failure> {
    let absolute = fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::not_found(format!("there is no {}", path.display())).advise(
                "name the directory of the program, one source file, or a finished Linux program",
            )
        }
        _ => Failure::io(format!("cannot read {}", path.display()), &error),
    })?;
    if !absolute.is_dir() {
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(Failure::usage(format!("{} is no program", path.display())));
        };
        let file = Some(PathBuf::from(name));
        return Ok(Context { root: parent.to_owned(), file, project: PathBuf::new() });
    }
    let has =
        |directory: &Path, names: &[&str]| names.iter().any(|name| directory.join(name).is_file());
    let own = has(&absolute, &["go.mod", "go.work"]) || !has_go_files(&absolute);
    let module =
        absolute.ancestors().skip(1).find(|directory| has(directory, &["go.mod", "go.work"]));
    let root = match module {
        Some(module) if !own => module.to_owned(),
        _ => absolute.clone(),
    };
    let project = absolute.strip_prefix(&root).map(Path::to_owned).unwrap_or_default();
    Ok(Context { root, file: None, project })
}

fn has_go_files(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries
        .flatten()
        .any(|entry| Path::new(&entry.file_name()).extension().is_some_and(|e| e == "go"))
}

/// Joins a path of the project to the project's own, without `.`; `None` when it climbs out.
pub(crate) fn within(project: &Path, path: &Path) -> Option<PathBuf> {
    let mut joined = PathBuf::new();
    for component in project.join(path).components() {
        match component {
            Component::Normal(name) => joined.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !joined.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_bring_their_module_along() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("cmd/server")).unwrap();
        fs::create_dir_all(root.join("docs")).unwrap();
        for file in ["go.mod", "cmd/server/main.go", "docs/x.md"] {
            fs::write(root.join(file), "").unwrap();
        }
        let found = find(&root.join("cmd/server")).unwrap();
        assert_eq!((found.root, found.project), (root.clone(), PathBuf::from("cmd/server")));
        let found = find(&root.join("docs")).unwrap();
        assert_eq!((found.root, found.project), (root.join("docs"), PathBuf::new()));
        let found = find(&root.join("cmd/server/main.go")).unwrap();
        assert_eq!((found.root, found.file), (root.join("cmd/server"), Some("main.go".into())));
        assert!(find(&root.join("none")).unwrap_err().is_not_found());
    }

    #[test]
    fn paths_stay_within() {
        let joined = |path: &str| within(Path::new("a/b"), Path::new(path));
        assert_eq!(joined("./c"), Some("a/b/c".into()));
        assert_eq!(joined("."), Some("a/b".into()));
        assert_eq!(joined("../../x"), Some("x".into()));
        assert_eq!(joined("../../.."), None);
        assert_eq!(joined("/etc"), None);
    }
}
