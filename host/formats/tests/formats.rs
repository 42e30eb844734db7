// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every format as other tools see it: qemu-img, sgdisk, fsck.fat, mtools, xorriso, tar.
//!
//! A tool that is not there skips its part with a line that says so.

mod support;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use bhojpur_abi::boot::{LOADER_MAGIC, LOADER_RECORD_SIZE};
use bhojpur_formats::loader::Loaders;
use bhojpur_formats::ova::Appliance;
use bhojpur_formats::pack::{Error, Format, Kernel, Options, write_file};
use support::kernel;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("formats-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn loader(size: usize) -> Vec<u8> {
    let mut loader: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
    loader[3000..3000 + LOADER_RECORD_SIZE].fill(0);
    loader[3000..3016].copy_from_slice(&LOADER_MAGIC);
    loader
}

fn pack(format: Format, kernel: &[u8], path: &Path) {
    let (bios, uefi) = (loader(30_001), loader(50_000));
    let options = Options {
        loaders: Loaders { bios: &bios, uefi: &uefi },
        command_line: "quiet",
        appliance: Appliance { name: "test machine", cpus: 2, memory: 256 },
    };
    let kernel = Kernel::new(Cursor::new(kernel)).unwrap();
    write_file(path, format, kernel, &options).unwrap();
}

/// The output of a tool that has to succeed; `None` when it is not there.
fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(name).args(arguments).env("MTOOLS_SKIP_CHECK", "1").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} {arguments:?}: {text}");
            Some(text)
        }
        Err(_) => {
            eprintln!("SKIPPED: {name} is not installed");
            None
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Byte range of the system partition, from the GPT itself.
fn system_partition(disk: &[u8]) -> std::ops::Range<usize> {
    let entry = |index: usize| &disk[1024 + index * 128..1024 + (index + 1) * 128];
    let esp = (0..128).map(entry).find(|entry| entry[..4] == [0x28, 0x73, 0x2a, 0xc1]).unwrap();
    let word = |at: usize| u64::from_le_bytes(esp[at..at + 8].try_into().unwrap()) as usize;
    word(32) * 512..(word(40) + 1) * 512
}

#[test]
fn qemu_reads_each_format_as_the_same_disk() {
    let directory = Directory::new("qemu");
    // The last is above the reach of one VMDK grain table and wants FAT16 with 1 KiB clusters.
    for size in [4, 3 << 20, (40 << 20) + 4] {
        let kernel = kernel(size);
        let raw = directory.path("disk.raw");
        pack(Format::Raw, &kernel, &raw);
        for (format, driver, check) in [
            (Format::Qcow2, "qcow2", true),
            (Format::Vmdk, "vmdk", true),
            (Format::Vdi, "vdi", true),
            (Format::Vhd, "vpc", false),
        ] {
            let path = directory.path(&format!("disk.{}", format.name()));
            pack(format, &kernel, &path);
            let same = ["compare", "-f", "raw", "-F", driver, text(&raw), text(&path)];
            let Some(output) = tool("qemu-img", &same) else { return };
            assert!(output.contains("identical") && !output.contains("Warning"), "{output}");
            if check {
                let output = tool("qemu-img", &["check", "-f", driver, text(&path)]).unwrap();
                assert!(output.contains("No errors"), "{output}");
            }
        }
    }
}

#[test]
fn an_appliance_is_a_tar_with_a_true_manifest_and_the_same_disk() {
    let directory = Directory::new("ova");
    let kernel = kernel(36 << 20);
    let (raw, ova) = (directory.path("disk.raw"), directory.path("machine.ova"));
    pack(Format::Raw, &kernel, &raw);
    pack(Format::Ova, &kernel, &ova);
    let Some(names) = tool("tar", &["-tf", text(&ova)]) else { return };
    assert_eq!(names, "test_machine.ovf\ntest_machine.mf\ntest_machine.vmdk\n");
    tool("tar", &["-C", text(&directory.0), "-xf", text(&ova)]).unwrap();
    let manifest = fs::read_to_string(directory.path("test_machine.mf")).unwrap();
    for (line, name) in manifest.lines().zip(["test_machine.ovf", "test_machine.vmdk"]) {
        let sum = tool("sha256sum", &[text(&directory.path(name))]).unwrap();
        assert_eq!(line, format!("SHA256({name})= {}", &sum[..64]));
    }
    let ovf = fs::read_to_string(directory.path("test_machine.ovf")).unwrap();
    let vmdk = directory.path("test_machine.vmdk");
    assert!(ovf.contains(&format!("ovf:size=\"{}\"", fs::metadata(&vmdk).unwrap().len())));
    assert!(ovf.contains(&format!("ovf:capacity=\"{}\"", fs::metadata(&raw).unwrap().len())));
    // By the name that VirtualBox knows, and a driver of ours is for.
    assert!(ovf.contains("<rasd:ResourceSubType>virtio-net</rasd:ResourceSubType>"));
    let same = ["compare", "-f", "raw", "-F", "vmdk", text(&raw), text(&vmdk)];
    if let Some(output) = tool("qemu-img", &same) {
        assert!(output.contains("identical"), "{output}");
        tool("qemu-img", &["check", "-f", "vmdk", text(&vmdk)]).unwrap();
    }
    if let Some(output) = tool("python3", &["-c", XML, text(&directory.path("test_machine.ovf"))]) {
        assert_eq!(output, "");
    }
}

const XML: &str = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";

#[test]
fn tables_and_file_systems_are_sound() {
    let directory = Directory::new("tables");
    for (format, size) in [
        (Format::Raw, 4),
        (Format::Raw, 40 << 20),
        (Format::Raw, 300 << 20),
        (Format::Iso, 4),
        (Format::Iso, 40 << 20),
    ] {
        let kernel = kernel(size);
        let path = directory.path("disk");
        pack(format, &kernel, &path);
        if let Some(output) = tool("sgdisk", &["-v", text(&path)]) {
            assert!(output.contains("No problems found"), "{output}");
            assert!(!output.to_lowercase().contains("warning"), "{output}");
        }
        let disk = fs::read(&path).unwrap();
        let volume = directory.path("volume");
        fs::write(&volume, &disk[system_partition(&disk)]).unwrap();
        tool("fsck.fat", &["-n", "-v", text(&volume)]);
        for (name, expected) in [("KERNEL.ELF", &kernel[..]), ("EFI/BOOT/BOOTX64.EFI", &[])] {
            let copy = directory.path("copy");
            let from = format!("::/{name}");
            if tool("mcopy", &["-n", "-o", "-i", text(&volume), &from, text(&copy)]).is_some() {
                let copy = fs::read(&copy).unwrap();
                assert!(expected.is_empty() || copy == expected, "{name}");
                assert!(expected.len() == kernel.len() || copy.len() == 50_000);
            }
        }
    }
}

#[test]
fn xorriso_finds_both_boot_entries_and_the_files() {
    let directory = Directory::new("iso");
    let iso = directory.path("x.iso");
    let kernel = kernel(5 << 20);
    pack(Format::Iso, &kernel, &iso);
    let arguments = ["-indev", text(&iso), "-report_el_torito", "plain", "-pvd_info"];
    let Some(report) = tool("xorriso", &arguments) else { return };
    let entries: Vec<&str> =
        report.lines().filter(|line| line.starts_with("El Torito boot img")).collect();
    assert!(entries.iter().any(|line| line.contains("BIOS  y   none")), "{report}");
    assert!(entries.iter().any(|line| line.contains("UEFI  y   none")), "{report}");
    assert!(!report.contains("FAILURE") && !report.contains("SORRY"), "{report}");
    let copy = directory.path("copy");
    let extract = |name| {
        let _ = fs::remove_file(&copy);
        tool("xorriso", &["-osirrox", "on", "-indev", text(&iso), "-extract", name, text(&copy)]);
        fs::read(&copy).unwrap()
    };
    assert!(extract("/KERNEL.ELF") == kernel);
    assert_eq!(extract("/EFI/BOOT/BOOTX64.EFI").len(), 50_000);
    let grub = String::from_utf8(extract("/BOOT/GRUB/GRUB.CFG")).unwrap();
    assert!(grub.contains("multiboot2 /KERNEL.ELF"), "{grub}");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let directory = Directory::new("same");
    let kernel = kernel(1 << 20);
    for format in Format::ALL {
        let (one, two) = (directory.path("one"), directory.path("two"));
        pack(format, &kernel, &one);
        pack(format, &kernel, &two);
        assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "{format:?}");
    }
}

#[test]
fn what_is_no_kernel_is_refused_and_leaves_nothing() {
    let whole = kernel(4096);
    let mut other = whole.clone();
    other[18] = 183;
    let mut mute = whole.clone();
    mute[0x1800 + 8] = 19;
    for (file, problem) in [
        (&b"hello"[..], "not an ELF file"),
        (&whole[..40], "cut short"),
        (&whole[..whole.len() - 1], "cut short"),
        (&other, "AArch64"),
        (&mute, "PVH"),
    ] {
        let error = Kernel::new(Cursor::new(file)).unwrap_err().to_string();
        assert!(error.to_lowercase().contains(&problem.to_lowercase()), "{error}");
    }

    let directory = Directory::new("refused");
    let long = "x".repeat(5000);
    let (bios, uefi) = (loader(30_000), loader(50_000));
    let options = Options {
        loaders: Loaders { bios: &bios, uefi: &uefi },
        command_line: &long,
        appliance: Appliance { name: "", cpus: 1, memory: 64 },
    };
    let kernel = Kernel::new(Cursor::new(&whole)).unwrap();
    let result = write_file(&directory.path("x.iso"), Format::Iso, kernel, &options);
    assert!(matches!(result, Err(Error::CommandLine)));
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn formats_are_known_by_name_and_extension() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
        assert_eq!(Format::of_path(Path::new(&format!("a.{}", format.name()))), Some(format));
    }
    assert_eq!(Format::of_path(Path::new("a/b.IMG")), Some(Format::Raw));
    assert_eq!(Format::of_path(Path::new("iso")), None);
    assert!("zip".parse::<Format>().unwrap_err().to_string().contains("qcow2"));
}
