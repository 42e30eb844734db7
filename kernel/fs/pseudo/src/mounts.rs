// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /proc/mounts and /proc/PID/mountinfo.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kvfs::{Location, Mount, MountFlags, Namespace};

/// Spaces and the like as octal, as getmntent(3) undoes it.
fn escape(path: &[u8], out: &mut Vec<u8>) {
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => {
                out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            _ => out.push(byte),
        }
    }
}

fn flags(mount: &Mount) -> String {
    let all = mount.flags();
    let mut text = String::from(if all.contains(MountFlags::RDONLY) { "ro" } else { "rw" });
    let names = [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
    ];
    names.iter().filter(|(flag, _)| all.contains(*flag)).for_each(|(_, name)| text.push_str(name));
    if !all.contains(MountFlags::NOATIME) {
        text.push_str(",relatime");
    }
    text
}

fn mount_point(namespace: &Namespace, root: &Location, mount: &Arc<Mount>) -> Vec<u8> {
    match mount.mount_point() {
        Some(place) => namespace.path_of(root, place),
        None => b"/".to_vec(),
    }
}

/// /proc/mounts.
pub(crate) fn mounts(namespace: &Namespace, root: &Location) -> Vec<u8> {
    let mut text = Vec::new();
    for mount in namespace.mounts() {
        let fs = mount.file_system();
        escape(fs.source().as_bytes(), &mut text);
        text.push(b' ');
        escape(&mount_point(namespace, root, &mount), &mut text);
        let rest = format!(" {} {}{} 0 0\n", fs.name(), flags(&mount), fs.options());
        text.extend_from_slice(rest.as_bytes());
    }
    text
}

/// /proc/PID/mountinfo.
pub(crate) fn mountinfo(namespace: &Namespace, root: &Location) -> Vec<u8> {
    let mut text = Vec::new();
    for mount in namespace.mounts() {
        let fs = mount.file_system();
        let parent = mount.mount_point().map_or(mount.id(), |place| place.mount().id());
        let device = mount.root().inode().stat().map_or(0, |s| s.device);
        let (major, minor) = (device >> 8 & 0xfff, (device & 0xff) | (device >> 12 & 0xf_ff00));
        let head = format!("{} {parent} {major}:{minor} / ", mount.id());
        text.extend_from_slice(head.as_bytes());
        escape(&mount_point(namespace, root, &mount), &mut text);
        let flags = flags(&mount);
        let state = &flags[..2];
        let rest = format!(" {flags} - {} {} {state}{}\n", fs.name(), fs.source(), fs.options());
        text.extend_from_slice(rest.as_bytes());
    }
    text
}
