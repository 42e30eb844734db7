// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the packing tool wrote into the loader.

use core::hint::black_box;

use abi::boot::{LOADER_MAGIC, LOADER_RECORD_SIZE, LoaderParameters};

/// The record, empty until the tool finds it by its magic and fills it in.
#[used]
static RECORD: [u8; LOADER_RECORD_SIZE] = {
    let mut record = [0; LOADER_RECORD_SIZE];
    let mut at = 0;
    while at < LOADER_MAGIC.len() {
        record[at] = LOADER_MAGIC[at];
        at += 1;
    }
    record
};

/// The parameters as they are now: the black box hides what the record held when it was
/// compiled.
pub fn parameters() -> Option<LoaderParameters<'static>> {
    LoaderParameters::parse(black_box(&RECORD))
}
