// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which accelerator runs the guest.
//!
//! `/dev/kvm` may exist and yet be useless: some nested hosts emulate the guest's kernel mode
//! instruction by instruction. So KVM is chosen only where the CPU itself has VMX or SVM.

use std::fmt;
use std::fs;
use std::str::FromStr;

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// KVM where it really helps, emulation elsewhere.
    #[default]
    Auto,
    /// KVM, or an error.
    Kvm,
    /// Emulation.
    Tcg,
}

/// A word that names no accelerator.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an accelerator; choose auto, kvm or tcg")]
pub struct ParseError(String);

impl FromStr for Choice {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(ParseError(text.to_owned())),
        }
    }
}

/// What QEMU is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl Choice {
    /// Decides, and says why hardware is not used when the user left the choice to us.
    pub fn resolve(self) -> Result<(Accelerator, Option<String>), String> {
        let obstacle = || match fs::read_to_string("/proc/cpuinfo") {
            Ok(cpuinfo) if !has_virtualisation(&cpuinfo) => {
                Some("this CPU shows neither vmx nor svm".to_owned())
            }
            Ok(_) => fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .err()
                .map(|error| format!("/dev/kvm cannot be opened: {error}")),
            Err(_) => Some("this host is not Linux".to_owned()),
        };
        match self {
            Self::Tcg => Ok((Accelerator::Tcg, None)),
            Self::Kvm => match obstacle() {
                None => Ok((Accelerator::Kvm, None)),
                Some(why) => Err(why),
            },
            Self::Auto => Ok(match obstacle() {
                None => (Accelerator::Kvm, None),
                Some(why) => (Accelerator::Tcg, Some(why)),
            }),
        }
    }
}

/// Whether `/proc/cpuinfo` shows hardware virtualisation.
fn has_virtualisation(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_flags_count() {
        assert!(has_virtualisation("processor\t: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(has_virtualisation("flags : fpu svm\n"));
        assert!(!has_virtualisation("flags : fpu svm_lock vmx_nested\nmodel name : vmx\n"));
    }

    #[test]
    fn emulation_needs_nothing() {
        assert_eq!(Choice::Tcg.resolve(), Ok((Accelerator::Tcg, None)));
    }
}
