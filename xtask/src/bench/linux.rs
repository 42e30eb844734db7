// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Linux guest to compare with: Debian's cloud kernel and an initramfs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use crate::lab::process::succeed;

/// The package whose dependency is the newest kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// What the network card needs, on PCI and on MMIO.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_mmio", "virtio_net"];
const LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Linux {
    pub(crate) kernel: PathBuf,
    modules: PathBuf,
    pub(crate) version: String,
}

impl Linux {
    /// Finds the unpacked package below `place`, or fetches it through apt.
    pub(crate) fn locate(place: &Path) -> Result<Self> {
        if let Ok(found) = Self::unpacked(place) {
            return Ok(found);
        }
        std::fs::create_dir_all(place)?;
        let depends = succeed(Command::new("apt-cache").args(["depends", PACKAGE]), LIMIT)
            .context("finding the Linux kernel through apt (Debian)")?
            .text();
        let name = depends
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
            .with_context(|| format!("{PACKAGE} depends on no kernel; run apt-get update"))?;
        let name = format!("linux-image-{name}");
        println!("fetching {name}");
        succeed(Command::new("apt-get").current_dir(place).args(["download", "-q", &name]), LIMIT)?;
        let package = find(place, &|n| n.starts_with(&name) && n.ends_with(".deb"))
            .context("apt-get left no package")?;
        succeed(Command::new("dpkg-deb").arg("-x").arg(package).arg(place.join("root")), LIMIT)?;
        Self::unpacked(place)
    }

    fn unpacked(place: &Path) -> Result<Self> {
        let root = place.join("root");
        let kernel =
            find(&root.join("boot"), &|n| n.starts_with("vmlinuz-")).context("no kernel")?;
        let release =
            kernel.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("vmlinuz-"));
        let release = release.context("the kernel has no version")?.to_owned();
        let modules = root.join("lib/modules").join(&release).join("kernel");
        // The package's own version says more than the release: 6.1.192-2.
        let package = find(place, &|n| n.ends_with(".deb"));
        let name = package.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
        let version = name.and_then(|n| n.split('_').nth(1)).unwrap_or(&release).to_owned();
        Ok(Self { kernel, modules, version })
    }

    /// An initramfs whose `/init` is `program`.
    pub(crate) fn initramfs(&self, program: &Path) -> Result<Vec<u8>> {
        let mut archive = skeleton();
        archive.file("init", 0o755, &std::fs::read(program)?);
        Ok(archive.finish())
    }

    /// An initramfs in which `init` sets the network up and runs `program`.
    pub(crate) fn initramfs_with_network(&self, init: &Path, program: &Path) -> Result<Vec<u8>> {
        let mut archive = self.with_modules(&MODULES)?;
        archive.file("init", 0o755, &std::fs::read(init)?);
        archive.file("app", 0o755, &std::fs::read(program)?);
        Ok(archive.finish())
    }

    /// The start of an initramfs: devices, and modules with what they depend
    /// on, to be loaded in the order of `/modules.list`.
    pub(crate) fn with_modules(&self, modules: &[&str]) -> Result<Archive> {
        let mut archive = skeleton();
        let mut order = Vec::new();
        for module in modules {
            self.load_order(module, &mut order)?;
        }
        let mut list = String::new();
        for (name, data) in &order {
            archive.file(&format!("{name}.ko"), 0o644, data);
            list.push_str(&format!("/{name}.ko\n"));
        }
        archive.file("modules.list", 0o644, list.as_bytes());
        Ok(archive)
    }

    /// Appends `module` after everything that it depends on.
    fn load_order(&self, module: &str, order: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        if order.iter().any(|(name, _)| name == module) {
            return Ok(());
        }
        let wanted = format!("{module}.ko");
        let path = find(&self.modules, &|n| n.replace('-', "_") == wanted)
            .with_context(|| format!("the kernel package has no module {module}"))?;
        let data = std::fs::read(&path)?;
        for dependency in dependencies(&data) {
            self.load_order(&dependency, order)?;
        }
        order.push((module.to_owned(), data));
        Ok(())
    }
}

fn skeleton() -> Archive {
    let mut archive = Archive::default();
    archive.directory("dev", 0o755);
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.device("dev/zero", 1, 5);
    archive.directory("tmp", 0o777);
    archive
}

/// The names after `depends=` in a module's `.modinfo` section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|&b| b == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(value).replace('-', "_");
    text.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

/// The first file below `directory` whose name suits.
fn find(directory: &Path, suits: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<_> =
        std::fs::read_dir(directory).ok()?.flatten().map(|e| e.path()).collect();
    entries.sort();
    let matches =
        |p: &PathBuf| p.is_file() && p.file_name().and_then(|n| n.to_str()).is_some_and(suits);
    if let Some(found) = entries.iter().find(|p| matches(p)) {
        return Some(found.clone());
    }
    entries.iter().filter(|p| p.is_dir()).find_map(|p| find(p, suits))
}

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn reads_what_a_module_depends_on() {
        let module = b"ELF\0license=GPL\0depends=virtio_ring,net-failover\0name=x\0";
        assert_eq!(dependencies(module), ["virtio_ring", "net_failover"]);
        assert!(dependencies(b"\0depends=\0name=virtio_ring\0").is_empty());
        assert!(dependencies(b"no such key").is_empty());
    }
}
