// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Identities of images, instances and volumes: lower-case hexadecimal, safe in paths and tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: ids have {1} lower-case hexadecimal digits")]
pub struct ParseIdError(String, usize);

macro_rules! identity {
    ($(#[$meta:meta])* $name:ident, $digits:literal) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// How many digits it has.
            pub const DIGITS: usize = $digits;

            /// From bytes that nobody else has: random ones, or a digest.
            #[must_use]
            pub fn from_bytes(bytes: &[u8; $digits / 2]) -> Self {
                Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
            }

            /// All of its digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first twelve digits, as people see it.
            #[must_use]
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                if text.len() == $digits && text.bytes().all(digit) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseIdError(text.to_owned(), $digits))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

identity!(
    /// An image: the SHA-256 digest of its ELF.
    ImageId,
    64
);
identity!(
    /// An instance: random.
    InstanceId,
    32
);
identity!(
    /// A volume: random.
    VolumeId,
    32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_as_file_names() {
        let id = InstanceId::from_bytes(&[0xab; 16]);
        assert_eq!(id.as_str(), "ab".repeat(16));
        assert_eq!(id.short(), "abababababab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "..", "AB", &"g".repeat(32), &"a".repeat(31), &"/".repeat(32)] {
            assert!(text.parse::<InstanceId>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<VolumeId>("\"../../etc\"").is_err());
    }
}
