// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names for the return addresses of a kernel panic.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use bhojpur_formats::symbols;
use bhojpur_kernel_embedded::KERNEL;

/// The symbols of an image, read when the first address is to be named.
#[derive(Debug)]
pub(super) struct Symbols {
    image: PathBuf,
    known: OnceCell<Vec<symbols::Symbols>>,
}

impl Symbols {
    /// Those of an image.
    pub(super) fn of(image: &Path) -> Self {
        Self { image: image.to_owned(), known: OnceCell::new() }
    }

    /// A return address with its functions.
    pub(super) fn describe(&self, address: u64) -> String {
        // The call may be the last instruction of its function.
        let inside = address.saturating_sub(1);
        let frames = self
            .tables()
            .iter()
            .map(|table| table.frames(inside))
            .find(|frames| !frames.is_empty());
        let names = frames.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
        if names.is_empty() {
            format!("{address:#018x}")
        } else {
            format!("{address:#018x} {}", names.join(", in "))
        }
    }

    /// The kernel in this tool knows source lines, the image only functions: so the tool's
    /// comes first, if it is the kernel of the image.
    fn tables(&self) -> &[symbols::Symbols] {
        self.known.get_or_init(|| {
            let image = fs::read(&self.image).unwrap_or_default();
            let mut tables = Vec::new();
            if same_kernel(&image, KERNEL) {
                tables.extend(symbols::Symbols::parse(KERNEL));
            }
            tables.extend(symbols::Symbols::parse(&image));
            tables
        })
    }
}

/// Whether the code of both is the same: their executable segments.
fn same_kernel(image: &[u8], kernel: &[u8]) -> bool {
    let code = |bytes: &[u8]| {
        let file = bhojpur_abi::elf::File::parse_kernel(bytes).ok()?;
        let segment = file.plan().loads().find(bhojpur_abi::elf::Segment::executable)?;
        Some(file.segment_data(&segment).to_vec())
    };
    code(image).is_some_and(|code_of_image| Some(code_of_image) == code(kernel))
}
