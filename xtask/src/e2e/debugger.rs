// SPDX-License-Identifier: Apache-2.0 OR MIT
//! As much of gdb's remote serial protocol as it takes to see that a guest waits and goes on.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

const LIMIT: Duration = Duration::from_secs(30);

/// A connection to QEMU's debugger port.
#[derive(Debug)]
pub(super) struct Debugger(TcpStream);

impl Debugger {
    /// Connects, as soon as the port is there, and sees that the machine stands still.
    pub(super) fn attach(port: u16) -> Result<Self> {
        let start = Instant::now();
        let stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(_) if start.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => bail!("port {port}: {error}"),
            }
        };
        stream.set_read_timeout(Some(LIMIT))?;
        let mut debugger = Self(stream);
        // Why did it stop: with a signal, as T05 and more, or S05.
        debugger.send("?")?;
        let answer = debugger.packet()?;
        ensure!(answer.starts_with(['T', 'S']), "the debugger is told {answer:?}");
        Ok(debugger)
    }

    /// Lets the machine run.
    pub(super) fn go_on(&mut self) -> Result<()> {
        self.send("c")
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        Ok(self.0.write_all(format!("${text}#{sum:02x}").as_bytes())?)
    }

    /// The next packet, without its frame; acknowledged.
    fn packet(&mut self) -> Result<String> {
        let mut text = String::new();
        let mut byte = [0];
        while !text.contains('#') {
            self.0.read_exact(&mut byte)?;
            match byte[0] {
                b'+' if text.is_empty() => {}
                other => text.push(char::from(other)),
            }
        }
        self.0.read_exact(&mut [0; 2])?;
        self.0.write_all(b"+")?;
        Ok(text.trim_start_matches('$').trim_end_matches('#').to_owned())
    }
}
