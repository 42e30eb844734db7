// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which crate may depend on which: edges point down only.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Findings;
use crate::lab::process::succeed;

/// A layer: the directories of its crates, and the layers that they may use.
#[derive(Debug)]
struct Layer {
    name: &'static str,
    place: &'static str,
    below: &'static [&'static str],
}

/// The table of ARCHITECTURE.md. The first place that fits counts.
const LAYERS: &[Layer] = &[
    Layer { name: "abi", place: "abi", below: &[] },
    Layer { name: "lib", place: "kernel/lib/", below: &["abi", "lib"] },
    Layer { name: "fs", place: "kernel/fs/", below: &["abi", "lib"] },
    Layer { name: "drivers", place: "kernel/drivers/", below: &["abi", "lib", "drivers"] },
    Layer { name: "hal", place: "kernel/hal", below: &["abi", "lib"] },
    Layer { name: "core", place: "kernel/core", below: &["abi", "lib", "hal"] },
    Layer {
        name: "wiring",
        place: "kernel/wiring",
        below: &["abi", "lib", "fs", "drivers", "hal", "core"],
    },
    Layer { name: "image", place: "kernel/image", below: &["abi", "lib", "hal", "core", "wiring"] },
    Layer { name: "boot", place: "kernel/boot/", below: &["abi", "lib", "boot"] },
    Layer { name: "formats", place: "host/formats", below: &["abi"] },
    Layer { name: "build", place: "host/build", below: &["abi", "formats"] },
    Layer { name: "monitor", place: "host/monitor", below: &["abi"] },
    Layer { name: "embedded kernel", place: "host/kernel-image", below: &["abi", "formats"] },
    Layer {
        name: "command line",
        place: "host/cli",
        below: &["abi", "formats", "build", "monitor", "embedded kernel", "volume"],
    },
    Layer { name: "api", place: "host/api", below: &[] },
    Layer { name: "client", place: "host/client", below: &["api"] },
    Layer {
        name: "fakes",
        place: "host/providers/firecracker/suite",
        below: &["abi", "formats", "embedded kernel", "provider", "providers", "conformance"],
    },
    Layer {
        name: "providers",
        place: "host/providers/",
        below: &["abi", "formats", "monitor", "provider"],
    },
    Layer { name: "provider", place: "host/provider", below: &["abi"] },
    Layer { name: "volume", place: "host/volume", below: &["abi", "formats"] },
    Layer {
        name: "conformance",
        place: "host/conformance",
        below: &["abi", "formats", "build", "monitor", "embedded kernel", "provider", "volume"],
    },
    Layer {
        name: "daemon",
        place: "host/daemon",
        below: &[
            "abi",
            "formats",
            "build",
            "monitor",
            "embedded kernel",
            "api",
            "provider",
            "providers",
            "volume",
        ],
    },
    Layer {
        name: "kernctl",
        place: "host/kernctl",
        below: &["abi", "api", "client", "command line", "daemon"],
    },
    Layer { name: "xtask", place: "xtask", below: &["abi", "formats", "build", "monitor"] },
    Layer {
        name: "fuzz",
        place: "fuzz",
        below: &["abi", "lib", "fs", "drivers", "core", "formats", "build", "monitor"],
    },
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    path: Option<String>,
    kind: Option<String>,
}

/// Checks the edges of all workspaces.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    for manifest in ["Cargo.toml", "kernel/Cargo.toml", "fuzz/Cargo.toml"] {
        if !root.join(manifest).is_file() {
            continue;
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).args([
            "metadata",
            "--no-deps",
            "--format-version=1",
            "--manifest-path",
            manifest,
        ]);
        let output = succeed(&mut cargo, Duration::from_secs(120))?;
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
        for package in &metadata.packages {
            check_package(root, package, findings);
            let directory = Path::new(&package.manifest_path).parent();
            let place = directory.and_then(|directory| directory.strip_prefix(root).ok());
            if place.is_some_and(|place| !is_on_map(&map, &place.to_string_lossy())) {
                let place = place.unwrap_or(Path::new("")).display();
                findings.errors.push(format!("{place} is not on the map of ARCHITECTURE.md"));
            }
        }
    }
    Ok(())
}

/// Whether the first column of the map names a directory, or all in the one above.
fn is_on_map(map: &str, directory: &str) -> bool {
    let rows = map.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| cell.split([' ', '`'])).any(|word| match word.strip_suffix("/*") {
        Some(parent) => directory.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/')),
        None => !word.is_empty() && word.trim_end_matches('/') == directory,
    })
}

fn check_package(root: &Path, package: &Package, findings: &mut Findings) {
    let Some(layer) = layer(root, Path::new(&package.manifest_path)) else {
        findings
            .errors
            .push(format!("{}: no layer is known for {}", package.name, package.manifest_path));
        return;
    };
    for dependency in &package.dependencies {
        let Some(path) = &dependency.path else { continue };
        // Tests may use what they like, as long as it does not ship.
        if dependency.kind.as_deref() == Some("dev") {
            continue;
        }
        match self::layer(root, Path::new(path)) {
            Some(below) if layer.below.contains(&below.name) => {}
            Some(below) => findings.errors.push(format!(
                "{} ({}) must not depend on {} ({})",
                package.name, layer.name, dependency.name, below.name
            )),
            None => {
                findings.errors.push(format!("{}: no layer is known for {path}", dependency.name));
            }
        }
    }
}

fn layer(root: &Path, path: &Path) -> Option<&'static Layer> {
    // By whole names: host/client is not in host/cli.
    let relative = path.strip_prefix(root).ok()?;
    LAYERS.iter().find(|layer| relative.starts_with(layer.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_found_by_place_and_point_down() {
        let root = Path::new("/r");
        assert_eq!(layer(root, Path::new("/r/kernel/lib/net/Cargo.toml")).unwrap().name, "lib");
        assert_eq!(layer(root, Path::new("/r/host/cli")).unwrap().name, "command line");
        assert!(layer(root, Path::new("/r/elsewhere")).is_none());
        for layer in LAYERS {
            assert!(
                layer.below.iter().all(|below| LAYERS.iter().any(|known| known.name == *below))
            );
        }
    }

    #[test]
    fn the_map_names_directories_or_all_in_one() {
        let map =
            "| `abi/` | L0 | x |\n| `kernel/lib/io` (`kio`) | L1 | y |\n| `host/*` | - | z |\n";
        for known in ["abi", "kernel/lib/io", "host/cli"] {
            assert!(is_on_map(map, known), "{known}");
        }
        for unknown in ["kernel/lib/new", "kernel", "hosts/cli", "x"] {
            assert!(!is_on_map(map, unknown), "{unknown}");
        }
    }

    #[test]
    fn an_upward_edge_is_found() {
        let package = Package {
            name: "kcore".into(),
            manifest_path: "/r/kernel/core/Cargo.toml".into(),
            dependencies: vec![Dependency {
                name: "kdrv-pci".into(),
                path: Some("/r/kernel/drivers/pci".into()),
                kind: None,
            }],
        };
        let mut findings = Findings::default();
        check_package(Path::new("/r"), &package, &mut findings);
        assert_eq!(findings.errors.len(), 1);
    }
}
