// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The user's terminal is the guest's while it runs, and the user's again afterwards.

mod support;

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use support::{End, Lab, tiny_image};

#[test]
fn the_terminal_is_given_back_as_it_was() {
    for signal in ["INT", "TERM"] {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let before = tcgetattr(&terminal).unwrap();

        let lab = Lab::new();
        tiny_image(&lab.path().join("k.elf"), "up\n", "", End::Hang);
        let mut child = lab
            .kernel(&["run", "--accel", "tcg", "k.elf"])
            .stdin(Stdio::from(terminal.try_clone().unwrap()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();

        let during = tcgetattr(&terminal).unwrap().local_modes;
        assert!(!during.intersects(LocalModes::ICANON | LocalModes::ECHO), "{during:?}");
        assert!(during.contains(LocalModes::ISIG), "Ctrl-C has to stay a signal");

        support::interrupt(&child, signal);
        child.wait().unwrap();
        let after = tcgetattr(&terminal).unwrap();
        assert_eq!(after.local_modes, before.local_modes);
        assert_eq!(after.input_modes, before.input_modes);
        assert_eq!(after.output_modes, before.output_modes);
    }
}
