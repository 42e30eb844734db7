//! Bhojpur: an error in two registers. Nearly each function returns one, and moving four words
//! through memory at each return was a tenth of the code.

use super::{ErrorContext, Ext4ErrorKind, FeatureSet};

#[derive(Clone, Copy)]
enum Shape {
    Nothing,
    Operation,
    Capability,
    BlockRange,
    BlockSize,
    BufferSize,
    Alignment,
    Incompatible,
    ReadOnlyCompatible,
}

/// A kind and a context. What `wide` and `narrow` are is in `shape`: a text and its length, or
/// two numbers.
#[derive(Clone, Copy)]
pub(super) struct PackedError {
    wide: *const u8,
    narrow: u32,
    pub(super) kind: Ext4ErrorKind,
    shape: Shape,
}

// SAFETY: `wide` is a number, or points at a text that is never changed and never goes.
unsafe impl Send for PackedError {}
// SAFETY: as above.
unsafe impl Sync for PackedError {}

const fn short(number: usize) -> u32 {
    if number > u32::MAX as usize {
        u32::MAX
    } else {
        number as u32
    }
}

impl PackedError {
    pub(super) const fn new(kind: Ext4ErrorKind) -> Self {
        Self {
            wide: core::ptr::null(),
            narrow: 0,
            kind,
            shape: Shape::Nothing,
        }
    }

    const fn text(self, text: &'static str, shape: Shape) -> Self {
        // A longer text is none; it would be the first.
        let narrow = if text.len() > u32::MAX as usize {
            0
        } else {
            text.len() as u32
        };
        Self {
            wide: text.as_ptr(),
            narrow,
            kind: self.kind,
            shape,
        }
    }

    const fn numbers(self, wide: u64, narrow: u32, shape: Shape) -> Self {
        Self {
            wide: core::ptr::without_provenance(wide as usize),
            narrow,
            kind: self.kind,
            shape,
        }
    }

    pub(super) const fn with_context(self, context: ErrorContext) -> Self {
        match context {
            ErrorContext::Operation { op } => self.text(op, Shape::Operation),
            ErrorContext::Capability { name } => self.text(name, Shape::Capability),
            ErrorContext::BlockRange {
                block_id,
                max_blocks,
            } => self.numbers(max_blocks, block_id, Shape::BlockRange),
            ErrorContext::BlockSize { size, expected } => {
                self.numbers(size as u64, short(expected), Shape::BlockSize)
            }
            ErrorContext::BufferSize { provided, required } => {
                self.numbers(provided as u64, short(required), Shape::BufferSize)
            }
            ErrorContext::Alignment { offset, alignment } => {
                self.numbers(offset, alignment, Shape::Alignment)
            }
            ErrorContext::Feature { set, bits } => match set {
                FeatureSet::Incompatible => self.numbers(0, bits, Shape::Incompatible),
                FeatureSet::ReadOnlyCompatible => self.numbers(0, bits, Shape::ReadOnlyCompatible),
            },
        }
    }

    fn as_text(&self) -> &'static str {
        // SAFETY: only for the shapes that `text` made, from a `&'static str` of this address
        // and length.
        unsafe {
            core::str::from_utf8_unchecked(core::slice::from_raw_parts(
                self.wide,
                self.narrow as usize,
            ))
        }
    }

    pub(super) fn context(&self) -> Option<ErrorContext> {
        let narrow = self.narrow;
        Some(match self.shape {
            Shape::Nothing => return None,
            Shape::Operation => ErrorContext::Operation { op: self.as_text() },
            Shape::Capability => ErrorContext::Capability {
                name: self.as_text(),
            },
            Shape::BlockRange => ErrorContext::BlockRange {
                block_id: narrow,
                max_blocks: self.number(),
            },
            Shape::BlockSize => ErrorContext::BlockSize {
                size: self.number() as usize,
                expected: narrow as usize,
            },
            Shape::BufferSize => ErrorContext::BufferSize {
                provided: self.number() as usize,
                required: narrow as usize,
            },
            Shape::Alignment => ErrorContext::Alignment {
                offset: self.number(),
                alignment: narrow,
            },
            Shape::Incompatible => ErrorContext::Feature {
                set: FeatureSet::Incompatible,
                bits: narrow,
            },
            Shape::ReadOnlyCompatible => ErrorContext::Feature {
                set: FeatureSet::ReadOnlyCompatible,
                bits: narrow,
            },
        })
    }

    fn number(&self) -> u64 {
        self.wide.addr() as u64
    }
}
