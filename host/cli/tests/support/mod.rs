// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What tests of the command line share: directories, the built tools, and tiny guests.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bhojpur_abi::config::OwnedConfig;
use bhojpur_formats::image::{Assembly, Root};

/// A directory of its own for each test, and the tools.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Everything that lies in the directory, hidden files too.
    pub(crate) fn listing(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn kernel(&self, arguments: &[&str]) -> Command {
        self.tool(env!("CARGO_BIN_EXE_kernel"), arguments)
    }

    pub(crate) fn builder(&self, arguments: &[&str]) -> Command {
        self.tool(env!("CARGO_BIN_EXE_builder"), arguments)
    }

    fn tool(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(path);
        command.args(arguments).current_dir(self.path()).stdin(std::process::Stdio::null());
        for variable in ["KERNEL_GO", "KERNEL_QEMU", "CGO_ENABLED", "GOFLAGS", "LD_LIBRARY_PATH"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a command that has to fail: with a message that holds all of `words`, without a
    /// panic, and with nothing left behind.
    #[track_caller]
    pub(crate) fn refuses(&self, command: &mut Command, status: i32, words: &[&str]) {
        let before = self.listing();
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(self.listing(), before, "something was left behind");
    }
}

/// Standard error as text.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a tiny guest does at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Ends the machine.
    PowerOff,
    /// Waits for ever.
    Hang,
}

const PHYSICAL: u32 = 0x20_0000;
const VIRTUAL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Two of the four program headers are spare, for what the image adds.
const HEADERS: usize = 64 + 4 * 56;
const NOTE: usize = HEADERS;
const PAYLOAD: usize = 0x140;
const CODE: usize = 0x180;

/// A kernel of a few instructions: writes `serial` to the serial line and `control` to the
/// control channel. It starts through its PVH entry, in 32-bit mode.
pub(crate) fn tiny_kernel(serial: &str, control: &str, end: End) -> Vec<u8> {
    let mut code = Vec::new();
    let texts = CODE + 64;
    for (port, at, length) in
        [(0x3f8_u16, texts, serial.len()), (0xe9, texts + serial.len(), control.len())]
    {
        code.extend([0x66, 0xba]); // mov $port, %dx
        code.extend(port.to_le_bytes());
        code.push(0xbe); // mov $text, %esi
        code.extend((PHYSICAL + at as u32).to_le_bytes());
        code.push(0xb9); // mov $length, %ecx
        code.extend((length as u32).to_le_bytes());
        code.extend([0xf3, 0x6e]); // rep outsb
    }
    if end == End::PowerOff {
        // mov $0x501, %dx; xor %eax, %eax; out %al, %dx
        code.extend([0x66, 0xba, 0x01, 0x05, 0x31, 0xc0, 0xee]);
    }
    code.extend([0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp to the hlt
    assert!(code.len() <= 64);

    let mut file = vec![0; texts];
    file[CODE..CODE + code.len()].copy_from_slice(&code);
    file.extend(serial.bytes().chain(control.bytes()));
    file[PAYLOAD..PAYLOAD + 16].copy_from_slice(b"BHOJPUR-PAYLOAD\0");
    file[PAYLOAD + 16] = 1;
    let entry = VIRTUAL_BASE + u64::from(PHYSICAL) + CODE as u64;
    headers(&mut file, entry);
    file
}

fn headers(file: &mut [u8], entry: u64) {
    let length = file.len() as u64;
    let put = |file: &mut [u8], at: usize, bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(file, 0, b"\x7fELF\x02\x01\x01");
    put(file, 16, &[2, 0, 62, 0, 1, 0, 0, 0]); // ET_EXEC, EM_X86_64
    put(file, 24, &entry.to_le_bytes());
    put(file, 32, &64_u64.to_le_bytes());
    put(file, 52, &[64, 0, 56, 0, 4, 0, 64, 0]);
    let mut program_header = |at: usize, kind: u32, flags: u32, offset: u64, size: u64| {
        put(file, at, &kind.to_le_bytes());
        put(file, at + 4, &flags.to_le_bytes());
        let physical = u64::from(PHYSICAL) + offset;
        // The entries of a note are padded to the alignment of its segment.
        let align = if kind == 1 { 4096 } else { 4 };
        for (index, value) in
            [offset, VIRTUAL_BASE + physical, physical, size, size, align].into_iter().enumerate()
        {
            put(file, at + 8 + 8 * index, &value.to_le_bytes());
        }
    };
    program_header(64, 1, 7, 0, length);
    program_header(120, 4, 4, NOTE as u64, 20);
    // XEN_ELFNOTE_PHYS32_ENTRY with a 4-byte address.
    put(file, NOTE, &[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, b'X', b'e', b'n', 0]);
    put(file, NOTE + 16, &(PHYSICAL + CODE as u32).to_le_bytes());
}

/// An image around a tiny kernel.
pub(crate) fn tiny_image(path: &Path, serial: &str, control: &str, end: End) {
    let config = OwnedConfig { args: vec![b"/app/tiny".to_vec()], ..OwnedConfig::default() };
    let kernel = tiny_kernel(serial, control, end);
    Assembly::new(&kernel, &config, Root::None).unwrap().write_file(path).unwrap();
}

/// Sends SIGINT, SIGHUP or SIGTERM to a program, as a terminal or a supervisor does.
pub(crate) fn interrupt(child: &std::process::Child, signal: &str) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match signal {
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        _ => Signal::TERM,
    };
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Ends what a test has left.
pub(crate) fn end(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}
