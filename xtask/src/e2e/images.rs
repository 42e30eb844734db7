// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel build` and `kernel pack`: reproducible images that boot under SeaBIOS and OVMF, and
//! from a GRUB.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::runs::serve;
use super::{Lab, Verdict, ends};

/// OVMF as one file; Debian and Ubuntu, Fedora.
const OVMF: &[&str] = &["/usr/share/ovmf/OVMF.fd", "/usr/share/edk2/ovmf/OVMF.fd"];
/// Formats that QEMU boots; an appliance is for managers of other makers.
const FORMATS: &[&str] = &["iso", "raw", "qcow2", "vmdk", "vhd", "vdi"];
/// GRUB's tool that makes a medium, and its modules for BIOS machines. Under OVMF, GRUB of Debian 12
/// fails to read our ISO from a medium of this kind ("failure reading sector").
const GRUB_TOOL: &str = "/usr/bin/grub-mkrescue";
const GRUB_BIOS: &str = "/usr/lib/grub/i386-pc";
/// Opens our ISO as a file and does what it says, like Ventoy in its GRUB2 mode.
const GRUB_CONFIGURATION: &str = "\
loopback loop /image.iso
set root=(loop)
configfile /boot/grub/grub.cfg
";

pub(super) fn same_bytes(lab: &Lab) -> Result<Verdict> {
    let mut made = Vec::new();
    for name in ["../one", "../two"] {
        let (elf, iso) = (format!("{name}.elf"), format!("{name}.iso"));
        lab.build(&["-o", &elf])?;
        lab.succeed(&mut lab.kernel(&["pack", "-q", "-o", &iso, "-k", &elf]))?;
        made.push((
            std::fs::read(lab.project().join(elf))?,
            std::fs::read(lab.project().join(iso))?,
        ));
    }
    ensure!(made[0] == made[1], "two builds differ");
    Ok(Verdict::Passed)
}

/// An image whose program ends with 42 and says so.
fn packed(lab: &Lab, format: &str) -> Result<std::path::PathBuf> {
    let elf = lab.place.join("status.elf");
    if !elf.is_file() {
        lab.build(&["-o", &elf.to_string_lossy(), "--arg", "exit", "--arg", "42"])?;
    }
    let image = elf.with_extension(format);
    if !image.is_file() {
        lab.succeed(lab.kernel(&["pack", "-q", "-o"]).arg(&image).arg("-k").arg(&elf))?;
    }
    Ok(image)
}

pub(super) fn bios(lab: &Lab) -> Result<Verdict> {
    for format in FORMATS {
        let image = packed(lab, format)?;
        for cpus in ["1", "4"] {
            let ran = ends(&mut lab.run(&["-c", cpus], &image, &[]), b"", 42)?;
            let wanted = format!("arguments [\"exit\" \"42\"]\nmode  cpus {cpus}\n");
            ensure!(ran.text() == wanted, "{format}: the output is {:?}", ran.text());
        }
    }
    Ok(Verdict::Passed)
}

fn ovmf() -> Option<&'static str> {
    OVMF.iter().copied().find(|path| Path::new(path).is_file())
}

pub(super) fn uefi(lab: &Lab) -> Result<Verdict> {
    let Some(firmware) = ovmf() else {
        return Ok(Verdict::Skipped("OVMF is not installed (package ovmf)".to_owned()));
    };
    let flags = ["--qemu-arg", "-bios", "--qemu-arg", firmware];
    for format in ["iso", "raw", "qcow2"] {
        let ran = ends(&mut lab.run(&flags, &packed(lab, format)?, &[]), b"", 42)?;
        // The firmware speaks on the same line before.
        let text = ran.text();
        ensure!(
            text.ends_with("arguments [\"exit\" \"42\"]\nmode  cpus 1\n"),
            "{format}: {text:?}"
        );
    }
    Ok(Verdict::Passed)
}

/// A medium with GRUB on it, and our ISO as a file.
pub(super) fn grub(lab: &Lab) -> Result<Verdict> {
    if [GRUB_TOOL, GRUB_BIOS].iter().any(|path| !Path::new(path).exists()) {
        let why = "GRUB is not installed (packages grub-common and grub-pc-bin)";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    let (tree, image) = (lab.place.join("grub"), lab.place.join("grub.iso"));
    std::fs::create_dir_all(tree.join("boot/grub"))?;
    std::fs::write(tree.join("boot/grub/grub.cfg"), GRUB_CONFIGURATION)?;
    std::fs::copy(packed(lab, "iso")?, tree.join("image.iso"))?;
    lab.succeed(Command::new(GRUB_TOOL).arg("-o").arg(&image).arg(&tree))?;
    for cpus in ["1", "4"] {
        let ran = ends(&mut lab.run(&["-c", cpus], &image, &[]), b"", 42)?;
        let text = ran.text();
        let wanted = format!("arguments [\"exit\" \"42\"]\nmode  cpus {cpus}\n");
        ensure!(text.ends_with(&wanted), "{cpus} processors: {text:?}");
    }
    Ok(Verdict::Passed)
}

/// The network of a PC: virtio over PCI.
pub(super) fn server(lab: &Lab) -> Result<Verdict> {
    let iso = lab.place.join("web.iso");
    let mut pack = lab.kernel(&["pack", "-q", "-k", "../web.elf", "-o"]);
    lab.succeed(pack.arg(&iso))?;
    serve(lab, &[], &iso, 20)?;
    serve(lab, &["-c", "4"], &iso, 20)
}
