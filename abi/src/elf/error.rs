// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is wrong with a file that should be a program.

use core::fmt;

/// Why an ELF file was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It does not start as an ELF file does.
    NotElf,
    /// It ends before this.
    Truncated(&'static str),
    /// It is for 32-bit machines.
    Class32,
    /// It is for big-endian machines.
    BigEndian,
    /// It is for another machine, with this `e_machine`.
    Machine(u16),
    /// It is no program: relocatable, core dump, with this `e_type`.
    NotExecutable(u16),
    /// There is nothing in it to load.
    NoSegments,
    /// Its segments overlap or are out of order.
    Overlap,
    /// A field has a value that makes no sense.
    Malformed(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("not an ELF file"),
            Self::Truncated(what) => write!(f, "the file is cut short within {what}"),
            Self::Class32 => f.write_str("a 32-bit program; 64-bit x86 (x86-64) is needed"),
            Self::BigEndian => f.write_str("a big-endian program; x86-64 is needed"),
            Self::Machine(number) => match machine_name(*number) {
                Some(name) => write!(f, "a program for {name}; x86-64 is needed"),
                None => write!(f, "a program for machine {number}; x86-64 is needed"),
            },
            Self::NotExecutable(1) => f.write_str("an object file, not a linked program"),
            Self::NotExecutable(4) => f.write_str("a core dump, not a program"),
            Self::NotExecutable(kind) => write!(f, "not a program (ELF type {kind})"),
            Self::NoSegments => f.write_str("the program has no segment to load"),
            Self::Overlap => f.write_str("the program's segments overlap or are out of order"),
            Self::Malformed(what) => write!(f, "malformed ELF file: {what}"),
        }
    }
}

impl core::error::Error for Error {}

/// A name for the machines that a user is likely to have built for.
pub fn machine_name(machine: u16) -> Option<&'static str> {
    Some(match machine {
        2 => "SPARC",
        3 => "32-bit x86",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "64-bit PowerPC",
        22 => "IBM S/390",
        40 => "32-bit ARM",
        62 => "x86-64",
        183 => "64-bit ARM (aarch64)",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        _ => return None,
    })
}
