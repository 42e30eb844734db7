// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual machine as data, and the QEMU command line that makes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::wiring::{Network, Wiring};
use crate::{Accelerator, Forward, Size, Volume};

/// What the machine starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// An ELF with a PVH entry, started directly: on a `microvm`, or on a PC when that has no
    /// room for all volumes.
    Kernel(PathBuf),
    /// An ISO 9660 image, started by the firmware of a PC.
    CdRom(PathBuf),
    /// A disk image with QEMU's name for its format, started by the firmware of a PC.
    Disk(PathBuf, &'static str),
}

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it starts from.
    pub boot: Boot,
    /// Its memory.
    pub memory: Size,
    /// Its processors.
    pub cpus: u32,
    /// What executes it.
    pub accelerator: Accelerator,
    /// Ports of the host that lead into it.
    pub forwards: Vec<Forward>,
    /// Disk images that it mounts; nothing but this list is needed for that.
    pub volumes: Vec<Volume>,
    /// The configuration record that overrides the one in the image.
    pub configuration: Option<PathBuf>,
    /// Wait for a debugger on this TCP port before the first instruction.
    pub gdb: Option<u16>,
    /// More arguments for QEMU, as the user gave them.
    pub extra: Vec<OsString>,
}

/// Volumes that a `microvm` has room for: it has eight places for virtio devices, and the network
/// card and the source of randomness take one each.
const MICROVM_VOLUMES: usize = 6;
/// The name under which the guest finds the configuration record in fw_cfg.
const CONFIGURATION_NAME: &str = "opt/org.bhojpur/config";
/// The names under which it finds the volumes: this and a number from 0 on.
const VOLUME_NAME: &str = "opt/org.bhojpur/volume";

impl Machine {
    /// The arguments of `qemu-system-x86_64`.
    ///
    /// `control` is where the control channel is written: a path that QEMU opens. The program's
    /// serial line is QEMU's standard input and output.
    #[must_use]
    pub fn command_line(&self, control: &Path) -> Vec<OsString> {
        self.wired(&Wiring::standard(control))
    }

    /// The arguments of `qemu-system-x86_64` for a machine that is connected so.
    #[must_use]
    pub fn wired(&self, wiring: &Wiring) -> Vec<OsString> {
        let mut line = CommandLine::default();
        line.options(&["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        self.board(&mut line);
        line.pair("-m", format!("{}M", self.memory.as_mebibytes()));
        if self.cpus > 1 {
            line.pair("-smp", self.cpus.to_string());
        }
        self.processor(&mut line);
        wiring.channels(&mut line);
        line.options(&["-device", "isa-debug-exit,iobase=0x501,iosize=2"]);
        self.network(&wiring.network, &mut line);
        line.pair("-device", format!("virtio-rng-{}", self.bus()));
        if let Some(path) = &self.configuration {
            line.pair("-fw_cfg", joined(&format!("name={CONFIGURATION_NAME},file="), path));
        }
        self.volumes(&mut line);
        if let Some(port) = self.gdb {
            line.pair("-gdb", format!("tcp:127.0.0.1:{port}"));
            line.options(&["-S"]);
        }
        line.0.extend(self.extra.iter().cloned());
        line.0
    }

    /// Whether the machine is the least one, without firmware and PCI of a PC.
    fn is_micro(&self) -> bool {
        matches!(self.boot, Boot::Kernel(_)) && self.volumes.len() <= MICROVM_VOLUMES
    }

    fn bus(&self) -> &'static str {
        if self.is_micro() { "device" } else { "pci" }
    }

    fn board(&self, line: &mut CommandLine) {
        match &self.boot {
            Boot::Kernel(path) if !self.is_micro() => {
                line.options(&["-M", "q35"]);
                line.pair("-kernel", path);
            }
            Boot::Kernel(path) => {
                // Without ACPI the machine describes its devices on the kernel command line,
                // which costs the guest nothing to read. The interval timer and the 8259s are
                // never used: the local APIC serves. The RTC tells the date.
                line.options(&[
                    "-M",
                    "microvm,acpi=off,pit=off,pic=off,rtc=on,auto-kernel-cmdline=on",
                ]);
                // The modern virtio-mmio interface (virtio 1.0), not QEMU's legacy default.
                line.options(&["-global", "virtio-mmio.force-legacy=false"]);
                line.pair("-kernel", path);
            }
            Boot::CdRom(path) => {
                line.options(&["-M", "q35"]);
                line.pair(
                    "-drive",
                    joined("if=none,id=boot,media=cdrom,readonly=on,format=raw,file=", path),
                );
                line.options(&["-device", "ide-cd,drive=boot,bootindex=0"]);
            }
            Boot::Disk(path, format) => {
                line.options(&["-M", "q35"]);
                let prefix = format!("if=none,id=boot,snapshot=on,format={format},file=");
                line.pair("-drive", joined(&prefix, path));
                line.options(&["-device", "virtio-blk-pci,drive=boot,bootindex=0"]);
            }
        }
    }

    fn processor(&self, line: &mut CommandLine) {
        match self.accelerator {
            Accelerator::Kvm => line.options(&["-accel", "kvm", "-cpu", "host"]),
            Accelerator::Tcg => {
                let threads = if self.cpus > 1 { "multi" } else { "single" };
                line.pair("-accel", format!("tcg,thread={threads}"));
                line.options(&["-cpu", "max"]);
            }
        }
    }

    fn network(&self, network: &Network, line: &mut CommandLine) {
        let forwards: String =
            self.forwards.iter().map(|forward| format!(",{}", forward.host_forward())).collect();
        let Some(backend) = network.backend(&forwards) else { return };
        line.pair("-netdev", backend);
        // No option ROM: nobody boots from this card, and the file may be missing.
        let rom = if self.is_micro() { "" } else { ",romfile=" };
        let (bus, card) = (self.bus(), network.card());
        line.pair("-device", format!("virtio-net-{bus},netdev=net0{card}{rom}"));
    }
}

impl Machine {
    fn volumes(&self, line: &mut CommandLine) {
        for (index, volume) in self.volumes.iter().enumerate() {
            let read_only = if volume.read_only { "on" } else { "off" };
            // The guest's flushes reach the disk of the host; writes in between need not. What the
            // host has no room for is an error in the guest: QEMU would stop the machine without a
            // word.
            let prefix = format!(
                "if=none,id=volume{index},format=raw,cache=writeback,discard=unmap,\
                 werror=report,rerror=report,readonly={read_only},file="
            );
            line.pair("-drive", joined(&prefix, &volume.path));
            let (bus, serial) = (self.bus(), volume.serial_at(index));
            line.pair("-device", format!("virtio-blk-{bus},drive=volume{index},serial={serial}"));
            let text = volume.for_guest(index);
            let name = format!("name={VOLUME_NAME}/{index},string=");
            line.pair("-fw_cfg", joined(&name, Path::new(&text)));
        }
    }
}

/// A growing list of arguments.
#[derive(Default)]
pub(crate) struct CommandLine(Vec<OsString>);

impl CommandLine {
    pub(crate) fn options(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    pub(crate) fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

/// A QEMU option value that ends in a path; QEMU wants commas doubled.
pub(crate) fn joined(prefix: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut value = prefix.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        value.push(byte);
        if byte == b',' {
            value.push(byte);
        }
    }
    OsString::from_vec(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(boot: Boot) -> Machine {
        Machine {
            boot,
            memory: Size::mebibytes(64),
            cpus: 1,
            accelerator: Accelerator::Tcg,
            forwards: vec!["8080:80".parse().unwrap(), "53:53/udp".parse().unwrap()],
            volumes: vec![],
            configuration: Some("/tmp/a,b".into()),
            gdb: None,
            extra: vec![],
        }
    }

    fn text(machine: &Machine) -> String {
        let words = machine.command_line(Path::new("/dev/fd/5"));
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_elf_runs_on_a_microvm_without_pci() {
        let line = text(&machine(Boot::Kernel("k.elf".into())));
        assert!(line.contains("-M microvm,") && line.contains("-kernel k.elf"), "{line}");
        assert!(line.contains("virtio-net-device,netdev=net0") && !line.contains("pci"), "{line}");
        assert!(
            line.contains("hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:53-:53"),
            "{line}"
        );
        assert!(!line.contains("-smp") && !line.contains("-S"), "{line}");
    }

    #[test]
    fn volumes_are_disks_with_names() {
        let mut machine = machine(Boot::Kernel("k".into()));
        machine.volumes = vec!["a,b.img:/data:ro".parse().unwrap()];
        let line = text(&machine);
        assert!(line.contains("werror=report"), "{line}");
        assert!(line.contains("readonly=on,file=a,,b.img"), "{line}");
        assert!(line.contains("virtio-blk-device,drive=volume0,serial=volume0"), "{line}");
        assert!(
            line.contains("name=opt/org.bhojpur/volume/0,string=SERIAL=volume0:/data:ro"),
            "{line}"
        );
    }

    #[test]
    fn many_volumes_have_a_machine_with_room_for_them() {
        let mut machine = machine(Boot::Kernel("k".into()));
        let volumes = |count: usize| -> Vec<Volume> {
            (0..count).map(|index| format!("{index}.img:/{index}").parse().unwrap()).collect()
        };
        machine.volumes = volumes(6);
        assert!(text(&machine).contains("-M microvm,"));
        machine.volumes = volumes(7);
        let line = text(&machine);
        assert!(line.contains("-M q35 -kernel k"), "{line}");
        assert!(
            line.contains("virtio-blk-pci,drive=volume6") && !line.contains("virtio-blk-device")
        );
    }

    #[test]
    fn commas_in_paths_do_not_end_an_option() {
        assert!(text(&machine(Boot::Kernel("k".into()))).contains("file=/tmp/a,,b"));
    }

    #[test]
    fn lines_lead_where_the_wiring_says() {
        use crate::wiring::Console;
        let wiring = Wiring {
            control: "/i/control".into(),
            console: Console::Pipe { stem: "/i/a,b".into(), log: "/i/console.log".into() },
            network: Network::Tap { device: "tap7".into(), address: [0x52, 0x54, 0, 1, 2, 0xff] },
            qmp: Some("/i/qmp.sock".into()),
        };
        let machine = machine(Boot::Kernel("k".into()));
        let shown = |wiring: &Wiring| {
            let words = machine.wired(wiring);
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        let line = shown(&wiring);
        assert!(
            line.contains("pipe,id=console,path=/i/a,,b,logappend=on,logfile=/i/console.log"),
            "{line}"
        );
        assert!(line.contains("ifname=tap7") && line.contains(",mac=52:54:00:01:02:ff"), "{line}");
        assert!(line.contains("-mon chardev=qmp,mode=control"), "{line}");
        assert!(!line.contains("stdio") && !line.contains("hostfwd"), "{line}");
        let line = shown(&Wiring { network: Network::None, ..wiring.clone() });
        assert!(!line.contains("net0") && !line.contains("virtio-net"), "{line}");
    }

    #[test]
    fn an_iso_runs_on_a_pc() {
        let line = text(&machine(Boot::CdRom("k.iso".into())));
        assert!(
            line.contains("-M q35") && line.contains("virtio-net-pci") && line.contains("ide-cd"),
            "{line}"
        );
    }

    #[test]
    fn several_cpus_run_in_several_threads() {
        let mut machine = machine(Boot::Kernel("k".into()));
        machine.cpus = 4;
        machine.gdb = Some(1234);
        let line = text(&machine);
        assert!(line.contains("-smp 4") && line.contains("thread=multi"), "{line}");
        assert!(line.contains("-gdb tcp:127.0.0.1:1234 -S"), "{line}");
    }
}
