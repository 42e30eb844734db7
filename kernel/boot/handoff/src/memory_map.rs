// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory map of the PVH protocol: `hvm_memmap_table_entry` with the types of E820.

/// Usable memory.
pub const RAM: u32 = 1;
/// Not to be touched.
pub const RESERVED: u32 = 2;
/// ACPI tables.
pub const ACPI: u32 = 3;
/// ACPI non-volatile storage.
pub const NVS: u32 = 4;
/// Memory with errors.
pub const UNUSABLE: u32 = 5;
/// Persistent memory.
pub const PERSISTENT: u32 = 7;

/// A piece of the address space, as the protocol lays it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// E820 type.
    pub kind: u32,
    reserved: u32,
}

/// A map being made, in memory of fixed size.
#[derive(Debug)]
pub struct MemoryMap<'a> {
    entries: &'a mut [Entry],
    count: usize,
}

/// The map has more entries than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<'a> MemoryMap<'a> {
    /// An empty map.
    pub fn new(entries: &'a mut [Entry]) -> Self {
        Self { entries, count: 0 }
    }

    /// Adds a piece in its place, joined with its neighbours when they are of its type.
    pub fn add(&mut self, start: u64, size: u64, kind: u32) -> Result<(), Full> {
        if size == 0 {
            return Ok(());
        }
        let index = self.entries().partition_point(|entry| entry.start < start);
        let end = start.wrapping_add(size);
        let before = index.checked_sub(1).and_then(|i| self.entries.get(i)).copied();
        let after = self.entries().get(index).copied();
        let joins_before = before.is_some_and(|b| b.kind == kind && b.start + b.size == start);
        let joins_after = after.is_some_and(|a| a.kind == kind && a.start == end);
        match (joins_before, joins_after) {
            (true, true) => {
                self.entries[index - 1].size += size + self.entries[index].size;
                self.entries.copy_within(index + 1..self.count, index);
                self.count -= 1;
            }
            (true, false) => self.entries[index - 1].size += size,
            (false, true) => {
                self.entries[index].start = start;
                self.entries[index].size += size;
            }
            (false, false) => {
                if self.count == self.entries.len() {
                    return Err(Full);
                }
                self.entries.copy_within(index..self.count, index + 1);
                self.entries[index] = Entry { start, size, kind, reserved: 0 };
                self.count += 1;
            }
        }
        Ok(())
    }

    /// The map, sorted by address.
    pub fn entries(&self) -> &[Entry] {
        self.entries.get(..self.count).unwrap_or_default()
    }

    /// Whether a range is usable memory from end to end.
    pub fn is_ram(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for entry in self.entries().iter().filter(|entry| entry.kind == RAM) {
            if entry.start <= at && at < entry.start.saturating_add(entry.size) {
                at = entry.start.saturating_add(entry.size);
            }
        }
        // Firmware may describe a place twice; what is not memory wins.
        let reserved = self.entries().iter().any(|entry| {
            entry.kind != RAM && entry.start < end && start < entry.start.saturating_add(entry.size)
        });
        at >= end && !reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_a_type_are_joined() {
        let mut room = [Entry::default(); 3];
        let mut map = MemoryMap::new(&mut room);
        for (start, size, kind) in
            [(0x3000, 0x1000, RAM), (0x1000, 0x1000, RAM), (0, 0, NVS), (0x2000, 0x1000, RAM)]
        {
            map.add(start, size, kind).unwrap();
        }
        assert_eq!(map.entries(), [Entry { start: 0x1000, size: 0x3000, kind: RAM, reserved: 0 }]);
        map.add(0, 0x1000, RAM).unwrap();
        map.add(0x4000, 0x1000, RESERVED).unwrap();
        map.add(0x5000, 0x1000, RAM).unwrap();
        assert_eq!(map.add(0x9000, 1, RAM), Err(Full));
        let starts = map.entries().iter().map(|entry| entry.start);
        assert!(starts.eq([0, 0x4000, 0x5000]));
    }

    #[test]
    fn ram_has_no_gaps_and_nothing_else_on_it() {
        let mut room = [Entry::default(); 8];
        let mut map = MemoryMap::new(&mut room);
        map.add(0x10_0000, 0x10_0000, RAM).unwrap();
        map.add(0x30_0000, 0x10_0000, RAM).unwrap();
        map.add(0x38_0000, 0x1000, NVS).unwrap();
        assert!(map.is_ram(0x10_0000, 0x20_0000));
        assert!(!map.is_ram(0x10_0000, 0x20_0001));
        assert!(!map.is_ram(0x1f_0000, 0x31_0000));
        assert!(map.is_ram(0x30_0000, 0x38_0000) && !map.is_ram(0x30_0000, 0x38_0001));
        assert!(!map.is_ram(0xf_ffff, 0x10_0001));
    }
}
