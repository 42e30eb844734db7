// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the lines of a machine lead on this host: console, control channel, network, QMP.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::machine::{CommandLine, joined};

/// What a machine is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// Where the control channel is written: a path that QEMU opens and cuts.
    pub control: PathBuf,
    /// Where the program's serial line leads.
    pub console: Console,
    /// How the machine's network card is connected.
    pub network: Network,
    /// A unix socket on which QEMU serves its machine protocol.
    pub qmp: Option<PathBuf>,
}

/// Where the serial line leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// QEMU's standard input and output.
    Standard,
    /// Two files: QEMU's pipe, whose input is read from `STEM.in`, a FIFO, and whose output
    /// goes to `STEM.out`, which nobody has to read when it is `/dev/null`. QEMU itself keeps
    /// all of the output. (On a socket, QEMU 7.2 logs bytes twice when a reader goes away.)
    Pipe {
        /// The path of both, without what tells them apart.
        stem: PathBuf,
        /// The file to which the output is appended.
        log: PathBuf,
    },
}

/// How a machine is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Not at all: it has no network card.
    None,
    /// QEMU's own network, which leads forwarded ports in, and needs no rights.
    User,
    /// A tap device that exists and that this user may open.
    Tap {
        /// Its name.
        device: String,
        /// The machine's hardware address, unique on the link.
        address: [u8; 6],
    },
    /// A bridge that QEMU's bridge helper joins.
    Bridge {
        /// Its name.
        bridge: String,
        /// The machine's hardware address, unique on the link.
        address: [u8; 6],
    },
}

impl Wiring {
    /// For a machine that a person runs: the console is QEMU's standard input and output.
    #[must_use]
    pub fn standard(control: &Path) -> Self {
        Self {
            control: control.to_owned(),
            console: Console::Standard,
            network: Network::User,
            qmp: None,
        }
    }

    pub(crate) fn channels(&self, line: &mut CommandLine) {
        let console = match &self.console {
            Console::Standard => "stdio,id=console,signal=off".into(),
            Console::Pipe { stem, log } => {
                let mut value = joined("pipe,id=console,path=", stem);
                value.push(joined(",logappend=on,logfile=", log));
                value
            }
        };
        line.pair("-chardev", console);
        line.options(&["-serial", "chardev:console"]);
        line.pair("-chardev", joined("file,id=control,path=", &self.control));
        line.options(&["-device", "isa-debugcon,iobase=0xe9,chardev=control"]);
        if let Some(path) = &self.qmp {
            line.pair("-chardev", joined("socket,id=qmp,server=on,wait=off,path=", path));
            line.options(&["-mon", "chardev=qmp,mode=control"]);
        }
    }
}

impl Network {
    /// The value of `-netdev`; `forwards` are options of the user network.
    pub(crate) fn backend(&self, forwards: &str) -> Option<OsString> {
        Some(match self {
            Self::None => return None,
            Self::User => format!("user,id=net0{forwards}").into(),
            Self::Tap { device, .. } => {
                let prefix = "tap,id=net0,script=no,downscript=no,ifname=";
                joined(prefix, Path::new(device))
            }
            Self::Bridge { bridge, .. } => joined("bridge,id=net0,br=", Path::new(bridge)),
        })
    }

    /// What the network card's option needs beside its kind.
    pub(crate) fn card(&self) -> String {
        match self {
            Self::None | Self::User => String::new(),
            Self::Tap { address, .. } | Self::Bridge { address, .. } => {
                let [a, b, c, d, e, f] = address;
                format!(",mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
            }
        }
    }
}
