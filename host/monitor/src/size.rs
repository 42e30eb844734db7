// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sizes of memory as users write them: `64M`, `1.5G`, `512MiB`.

use std::fmt;
use std::str::FromStr;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// A size in MiB.
    #[must_use]
    pub const fn mebibytes(count: u64) -> Self {
        Self(count * MIB)
    }

    /// The size in MiB, rounded up: the unit in which QEMU is told of memory.
    #[must_use]
    pub const fn as_mebibytes(self) -> u64 {
        self.0.div_ceil(MIB)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            bytes if bytes < KIB => return write!(f, "{bytes} B"),
            bytes if bytes < MIB => (KIB, "KiB"),
            bytes if bytes < GIB => (MIB, "MiB"),
            _ => (GIB, "GiB"),
        };
        if self.0.is_multiple_of(unit) {
            write!(f, "{} {name}", self.0 / unit)
        } else {
            write!(f, "{}.{} {name}", self.0 / unit, self.0 % unit * 10 / unit)
        }
    }
}

/// A text that is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a size; write a number with K, M or G, for example 256M")]
pub struct ParseError(String);

impl FromStr for Size {
    type Err = ParseError;

    /// A number without a unit is in MiB, as for QEMU's own `-m`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError(text.to_owned());
        let trimmed = text.trim();
        let digits =
            trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "M" | "MB" | "MIB" => MIB,
            "B" => 1,
            "K" | "KB" | "KIB" => KIB,
            "G" | "GB" | "GIB" => GIB,
            _ => return Err(error()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 3 || (number.contains('.') && fraction.is_empty()) {
            return Err(error());
        }
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let thousandths: u64 = if fraction.is_empty() {
            0
        } else {
            format!("{fraction:0<3}").parse().map_err(|_| error())?
        };
        whole
            .checked_mul(unit)
            .and_then(|bytes| {
                bytes.checked_add(unit / 1000 * thousandths + unit % 1000 * thousandths / 1000)
            })
            .filter(|&bytes| bytes > 0)
            .map(Size)
            .ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_fractions_are_understood() {
        assert_eq!("64M".parse(), Ok(Size(64 * MIB)));
        assert_eq!("64".parse(), Ok(Size(64 * MIB)));
        assert_eq!("1g".parse(), Ok(Size(GIB)));
        assert_eq!("1.5G".parse::<Size>().map(Size::as_mebibytes), Ok(1536));
        assert_eq!("512 KiB".parse(), Ok(Size(512 * KIB)));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "M", "-1M", "1T5", "0", "1.", ".5G", "1.2.3G", "99999999999999999999G"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        assert_eq!(Size(700).to_string(), "700 B");
        assert_eq!(Size(2 * MIB).to_string(), "2 MiB");
        assert_eq!(Size(MIB + MIB / 2).to_string(), "1.5 MiB");
    }
}
