// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses for windows that no firmware assigned.

use crate::register::{BAR0, COMMAND, COMMAND_IO, COMMAND_MEMORY};
use crate::{Bar, Function};
use core::ops::Range;

/// Free physical address space for windows of devices.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Below 4 GiB.
    pub low: Range<u64>,
    /// Above 4 GiB, may be empty.
    pub high: Range<u64>,
}

impl Windows {
    /// Takes `size` bytes, a power of two, aligned to their size.
    fn take(&mut self, size: u64, wide: bool) -> Option<u64> {
        let from = |range: &mut Range<u64>| {
            let start = range.start.max(1).checked_next_multiple_of(size)?;
            let end = start.checked_add(size).filter(|end| *end <= range.end)?;
            range.start = end;
            Some(start)
        };
        from(&mut self.low).or_else(|| wide.then(|| from(&mut self.high)).flatten())
    }
}

/// Gives an address to each memory window of the function that has none, and
/// says whether all have one now. For functions on a root bus: a bridge in
/// between would have to pass the window on.
pub fn assign_bars(function: &Function, windows: &mut Windows) -> bool {
    let mut complete = true;
    let mut index = 0;
    while let Some(bar) = function.bar(index) {
        let at = BAR0 + 4 * u16::from(index);
        let Bar::Memory { address, wide, .. } = bar else {
            index += 1;
            continue;
        };
        index += if wide { 2 } else { 1 };
        let size = if address == 0 { function.bar_size((at - BAR0) as u8 / 4) } else { 0 };
        if size == 0 {
            continue;
        }
        let Some(address) = windows.take(size, wide) else {
            complete = false;
            continue;
        };
        let command = function.read16(COMMAND);
        function.write16(COMMAND, command & !(COMMAND_IO | COMMAND_MEMORY));
        function.write32(at, address as u32);
        if wide {
            function.write32(at + 4, (address >> 32) as u32);
        }
        function.write16(COMMAND, command);
    }
    complete
}
