// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every image boots: built loaders, packed test kernel, emulated BIOS and UEFI machines.
//!
//! The loaders are built by a cargo of their own. Without QEMU, or without OVMF, the parts
//! that need them are skipped with a line that says so.

mod support;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bhojpur_formats::loader::Loaders;
use bhojpur_formats::ova::Appliance;
use bhojpur_formats::pack::{Format, Kernel, Options, write_file};
use bhojpur_formats::pe;
use support::kernel;

/// Status with which QEMU ends when the kernel says that all is well.
const SUCCESS: i32 = 33;
const PATIENCE: Duration = Duration::from_secs(120);
const COMMAND_LINE: &str = "console=ttyS0 answer=42";
const OVMF: [&str; 3] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
];

/// How a machine starts.
#[derive(Clone, Copy, Debug)]
enum Firmware {
    Bios,
    Uefi,
}

/// How a machine sees an image.
#[derive(Clone, Copy, Debug)]
enum Attached {
    Cd,
    /// A disk of the machine's usual kind, in a format of QEMU.
    Disk(&'static str),
    /// The ISO written to a stick.
    UsbStick,
    VirtioDisk,
}

struct Built {
    bios: Vec<u8>,
    uefi: Vec<u8>,
}

fn loaders() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| Built {
        bios: pe::bios_image(&build("bios")).unwrap(),
        uefi: pe::efi_application(&build("uefi")).unwrap(),
    })
}

fn build(kind: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let name = format!("bhojpur-boot-{kind}");
    // Where the command line's build makes them too.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("kernel").join(&name);
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "--quiet", "--manifest-path", "kernel/Cargo.toml"])
        .args(["--package", &name])
        .args(["--config", &format!("kernel/boot/{kind}/freestanding.toml"), "--target-dir"])
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .unwrap();
    assert!(status.success());
    fs::read(target.join("x86_64-unknown-linux-gnu/release").join(name)).unwrap()
}

fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: {program} is not installed");
    }
    there
}

fn ovmf() -> Option<&'static str> {
    let found = OVMF.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        eprintln!("SKIPPED: OVMF is not installed");
    }
    found
}

fn image(name: &str, format: Format, kernel: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "{name}-{}.{}",
        std::process::id(),
        format.name()
    ));
    let built = loaders();
    let options = Options {
        loaders: Loaders { bios: &built.bios, uefi: &built.uefi },
        command_line: COMMAND_LINE,
        appliance: Appliance { name: "boot", cpus: 1, memory: 256 },
    };
    write_file(&path, format, Kernel::new(Cursor::new(kernel)).unwrap(), &options).unwrap();
    path
}

/// Runs a machine to its end; gives its status and what it said on COM1.
fn run(arguments: &[String]) -> (Option<i32>, String) {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "serial-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let mut child = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-display", "none", "-nodefaults", "-no-reboot", "-vga", "std"])
        .args(["-device", "isa-debug-exit,iobase=0x501,iosize=4"])
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let status = wait(&mut child, &log);
    let text = fs::read(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    (status, String::from_utf8_lossy(&text).into_owned())
}

/// Waits for the end, or for an error message of a loader, which halts.
fn wait(child: &mut Child, log: &Path) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        let said =
            String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).contains("Bhojpur: ");
        if said || start.elapsed() > PATIENCE {
            // The rest of the line is on its way.
            sleep(Duration::from_secs(1));
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        sleep(Duration::from_millis(50));
    }
}

fn machine(machine: &str, memory: u32, firmware: Firmware) -> Option<Vec<String>> {
    let mut arguments: Vec<String> =
        ["-M", machine, "-m", &memory.to_string()].map(str::to_owned).to_vec();
    if let Firmware::Uefi = firmware {
        let code = ovmf()?;
        let vars = code.replace("CODE", "VARS");
        arguments.extend([
            "-drive".to_owned(),
            format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
            "-drive".to_owned(),
            // Changes are for this run only.
            format!("if=pflash,format=raw,unit=1,snapshot=on,file={vars}"),
        ]);
    }
    Some(arguments)
}

fn attach(path: &Path, attached: Attached) -> Vec<String> {
    let path = path.display();
    let drive = |format, kind| format!("file={path},format={format},snapshot=on,{kind}");
    match attached {
        Attached::Cd => vec!["-cdrom".to_owned(), path.to_string()],
        Attached::Disk(format) => vec!["-drive".to_owned(), drive(format, "if=ide,media=disk")],
        Attached::VirtioDisk => vec!["-drive".to_owned(), drive("raw", "if=virtio")],
        Attached::UsbStick => ["-device", "qemu-xhci", "-device", "usb-storage,drive=stick"]
            .map(str::to_owned)
            .into_iter()
            .chain(["-drive".to_owned(), drive("raw", "if=none,id=stick")])
            .collect(),
    }
}

fn boots(path: &Path, attached: Attached, name: &str, memory: u32, firmware: Firmware) {
    let Some(mut arguments) = machine(name, memory, firmware) else { return };
    arguments.extend(attach(path, attached));
    let start = Instant::now();
    let (status, text) = run(&arguments);
    let what = format!("{} as {attached:?} on {name} with {firmware:?}", path.display());
    eprintln!("{what}: {:?} after {:?}", text.lines().last(), start.elapsed());
    assert_eq!(status, Some(SUCCESS), "{what}: {text}");
    assert!(text.contains("PVH OK") && text.contains(&format!("[{COMMAND_LINE}]")), "{text}");
}

const BOTH: [Firmware; 2] = [Firmware::Bios, Firmware::Uefi];

#[test]
fn an_iso_boots_from_cd_and_from_disk() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let path = image("iso", Format::Iso, &kernel(3 << 20));
    for firmware in BOTH {
        for name in ["pc", "q35"] {
            boots(&path, Attached::Cd, name, 256, firmware);
            boots(&path, Attached::Disk("raw"), name, 256, firmware);
        }
        // With memory above 4 GiB.
        boots(&path, Attached::UsbStick, "q35", 5120, firmware);
        boots(&path, Attached::VirtioDisk, "q35", 256, firmware);
    }
    let _ = fs::remove_file(path);
}

#[test]
fn every_disk_format_boots() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let kernel = kernel(1 << 20);
    for (format, driver) in [
        (Format::Raw, "raw"),
        (Format::Qcow2, "qcow2"),
        (Format::Vmdk, "vmdk"),
        (Format::Vhd, "vpc"),
        (Format::Vdi, "vdi"),
    ] {
        let path = image("disk", format, &kernel);
        boots(&path, Attached::Disk(driver), "q35", 256, Firmware::Bios);
        // `formats.rs` shows that all are the same disk: one is enough for the slow machine.
        if format == Format::Raw {
            boots(&path, Attached::Disk(driver), "q35", 256, Firmware::Uefi);
        }
        let _ = fs::remove_file(path);
    }
}

/// Above 32 MiB an El Torito entry cannot name the size; above 256 MiB the volume is FAT32;
/// and such a kernel lies where OVMF has its own data.
#[test]
fn large_kernels_boot() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    for size in [40 << 20, 300 << 20] {
        let kernel = kernel(size);
        for (format, attached) in [(Format::Iso, Attached::Cd), (Format::Raw, Attached::VirtioDisk)]
        {
            let path = image(&format!("large-{size}"), format, &kernel);
            for firmware in BOTH {
                boots(&path, attached, "q35", 1024, firmware);
            }
            let _ = fs::remove_file(path);
        }
    }
}

#[test]
fn too_little_memory_is_an_error_that_says_so() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let path = image("small", Format::Iso, &kernel(100 << 20));
    for firmware in BOTH {
        // OVMF on a serial line shows what goes to its console.
        let Some(mut arguments) = machine("q35", 96, firmware) else { continue };
        arguments.extend(attach(&path, Attached::Cd));
        let (status, text) = run(&arguments);
        assert_eq!(status, None, "{text}");
        assert!(text.contains("Bhojpur: not enough memory"), "{firmware:?}: {text}");
    }
    let _ = fs::remove_file(path);
}

#[test]
fn an_image_cut_short_is_a_read_error() {
    if !is_there("qemu-system-x86_64") {
        return;
    }
    let path = image("cut", Format::Raw, &kernel(3 << 20));
    fs::File::options().write(true).open(&path).unwrap().set_len(2 << 20).unwrap();
    let mut arguments = machine("pc", 256, Firmware::Bios).unwrap();
    arguments.extend(attach(&path, Attached::Disk("raw")));
    let (status, text) = run(&arguments);
    assert_eq!(status, None, "{text}");
    assert!(text.contains("Bhojpur: disk read error"), "{text}");
    let _ = fs::remove_file(path);
}
