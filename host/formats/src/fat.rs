// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A FAT volume for an EFI system partition, every file in one piece.
//!
//! After "FAT: General Overview of On-Disk Format" 1.03 (Microsoft, 2000), which UEFI 2.10
//! section 13.3 names as its file system. FAT16 while it serves, FAT32 beyond. Only names of
//! the form 8.3: nothing here needs longer ones. Files begin at multiples of 4 KiB of the
//! volume, so that an ISO 9660 directory can point at the same bytes.

use crate::medium::round_up;

const SECTOR: u64 = 512;
/// Alignment of the data area and of each file.
const ALIGN: u64 = 4096;
/// FAT12 ends below this count of clusters, FAT16 below [`FAT16_MAX`] + 1.
const FAT16_MIN: u64 = 4085;
const FAT16_MAX: u64 = 65524;
/// Kept away from both limits, where implementations differ by a few clusters.
const MARGIN: u64 = 16;
const ROOT_ENTRIES_FAT16: u64 = 512;
const DIRECTORY_ENTRY: usize = 32;
const ATTRIBUTE_VOLUME_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_ARCHIVE: u8 = 0x20;
/// 1980-01-01, the first day that FAT knows.
const DATE: u16 = (1 << 5) | 1;
/// Drive geometry written where no BIOS is going to look.
const SECTORS_PER_TRACK: u16 = 63;
const HEADS: u16 = 255;
const BACKUP_BOOT_SECTOR: usize = 6;

/// Largest file of any FAT volume.
pub const FILE_MAX: u64 = u32::MAX as u64;

/// A file to place: directories are made from its path.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Upper-case 8.3 names separated by `/`.
    pub path: &'a str,
    /// Bytes of the file, at most [`FILE_MAX`].
    pub size: u64,
}

/// Where everything of a volume lies.
#[derive(Debug)]
pub struct Volume {
    /// Bytes of the volume.
    pub length: u64,
    /// Boot sector, allocation tables and directories with their offsets.
    pub metadata: Vec<(u64, Vec<u8>)>,
    /// Offset of each file, in the order of the call.
    pub offsets: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Geometry {
    fat32: bool,
    /// Bytes of a cluster.
    cluster: u64,
    clusters: u64,
    reserved: u64,
    fat_sectors: u64,
    root_sectors: u64,
}

impl Geometry {
    fn new(fat32: bool, cluster: u64, clusters: u64) -> Self {
        let entry = if fat32 { 4 } else { 2 };
        let fat_sectors = ((clusters + 2) * entry).div_ceil(SECTOR);
        let root_sectors = if fat32 { 0 } else { ROOT_ENTRIES_FAT16 * 32 / SECTOR };
        let tables = 2 * fat_sectors + root_sectors;
        let least = if fat32 { 32 } else { 1 };
        let reserved = round_up(least + tables, ALIGN / SECTOR) - tables;
        Self { fat32, cluster, clusters, reserved, fat_sectors, root_sectors }
    }

    fn data(&self) -> u64 {
        (self.reserved + 2 * self.fat_sectors + self.root_sectors) * SECTOR
    }

    fn offset(&self, cluster: u64) -> u64 {
        self.data() + (cluster - 2) * self.cluster
    }

    fn sectors(&self) -> u64 {
        (self.data() + self.clusters * self.cluster) / SECTOR
    }
}

/// One contiguous run: a file or a directory.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    count: u64,
}

/// Lays a volume out that begins `hidden` sectors into its disk.
///
/// # Panics
/// When a name is not 8.3, a file is larger than [`FILE_MAX`], or a directory has more
/// entries than one cluster holds.
pub fn layout(files: &[File<'_>], hidden: u32, serial: u32) -> Volume {
    let directories = directories(files);
    assert!(files.iter().all(|file| file.size <= FILE_MAX));
    for cluster in [512, 1024, 2048, 4096] {
        let (runs, used) = allocate(files, directories.len(), false, cluster);
        if used + MARGIN <= FAT16_MAX {
            let geometry = Geometry::new(false, cluster, used.max(FAT16_MIN + MARGIN));
            return Writer { geometry, hidden, serial }.volume(files, &directories, &runs);
        }
    }
    let (runs, used) = allocate(files, directories.len(), true, 4096);
    let geometry = Geometry::new(true, 4096, used.max(FAT16_MAX + MARGIN));
    Writer { geometry, hidden, serial }.volume(files, &directories, &runs)
}

/// All directories: the root first, each before what lies in it.
fn directories<'a>(files: &[File<'a>]) -> Vec<&'a str> {
    let mut found = vec![""];
    for file in files {
        for (end, _) in file.path.match_indices('/') {
            if !found.contains(&&file.path[..end]) {
                found.push(&file.path[..end]);
            }
        }
    }
    found
}

/// Runs of the directories, then of the files; and the count of clusters.
fn allocate(files: &[File<'_>], directories: usize, fat32: bool, cluster: u64) -> (Vec<Run>, u64) {
    let mut next = 2;
    let mut runs = Vec::new();
    for index in 0..directories {
        // The root of FAT16 has an area of its own.
        let count = u64::from(fat32 || index > 0);
        runs.push(Run { first: if count == 0 { 0 } else { next }, count });
        next += count;
    }
    for file in files {
        let count = file.size.div_ceil(cluster);
        next = round_up(next - 2, ALIGN / cluster) + 2;
        runs.push(Run { first: if count == 0 { 0 } else { next }, count });
        next += count;
    }
    (runs, next - 2)
}

struct Writer {
    geometry: Geometry,
    hidden: u32,
    serial: u32,
}

impl Writer {
    fn volume(&self, files: &[File<'_>], directories: &[&str], runs: &[Run]) -> Volume {
        let geometry = &self.geometry;
        let fat = self.table(runs);
        let first_fat = geometry.reserved * SECTOR;
        let second_fat = first_fat + geometry.fat_sectors * SECTOR;
        let mut metadata =
            vec![(0, self.reserved(runs)), (first_fat, fat.clone()), (second_fat, fat)];
        for (index, path) in directories.iter().enumerate() {
            let (at, size) = match runs[index].count {
                0 => (second_fat + geometry.fat_sectors * SECTOR, geometry.root_sectors * SECTOR),
                _ => (geometry.offset(runs[index].first), geometry.cluster),
            };
            let mut entries = self.directory(path, files, directories, runs);
            assert!(entries.len() as u64 <= size, "too many entries in {path:?}");
            entries.resize(size as usize, 0);
            metadata.push((at, entries));
        }
        let offsets = runs[directories.len()..]
            .iter()
            .map(|run| if run.count == 0 { geometry.data() } else { geometry.offset(run.first) })
            .collect();
        Volume { length: geometry.sectors() * SECTOR, metadata, offsets }
    }

    /// The boot sector and, in FAT32, its companions.
    fn reserved(&self, runs: &[Run]) -> Vec<u8> {
        let boot = self.boot_sector();
        if !self.geometry.fat32 {
            return boot.to_vec();
        }
        let used = runs.iter().map(|run| run.count).sum::<u64>();
        let next = runs.iter().map(|run| run.first + run.count).max().unwrap_or(2);
        let mut info = [0; SECTOR as usize];
        info[0..4].copy_from_slice(b"RRaA");
        info[484..488].copy_from_slice(b"rrAa");
        info[488..492].copy_from_slice(&((self.geometry.clusters - used) as u32).to_le_bytes());
        info[492..496].copy_from_slice(&(next as u32).to_le_bytes());
        info[510..512].copy_from_slice(&[0x55, 0xaa]);
        let mut sectors = vec![0; (BACKUP_BOOT_SECTOR + 2) * SECTOR as usize];
        for first in [0, BACKUP_BOOT_SECTOR * SECTOR as usize] {
            sectors[first..first + 512].copy_from_slice(&boot);
            sectors[first + 512..first + 1024].copy_from_slice(&info);
        }
        sectors
    }

    fn boot_sector(&self) -> [u8; SECTOR as usize] {
        let geometry = &self.geometry;
        let total = geometry.sectors();
        let small = !geometry.fat32 && total < 0x1_0000;
        let mut sector = [0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(3, b"BHOJPUR ");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[(geometry.cluster / SECTOR) as u8]);
        put(14, &(geometry.reserved as u16).to_le_bytes());
        put(16, &[2]);
        put(21, &[0xf8]);
        put(24, &SECTORS_PER_TRACK.to_le_bytes());
        put(26, &HEADS.to_le_bytes());
        put(28, &self.hidden.to_le_bytes());
        if small {
            put(19, &(total as u16).to_le_bytes());
        } else {
            put(32, &(total as u32).to_le_bytes());
        }
        let tail = if geometry.fat32 {
            put(36, &(geometry.fat_sectors as u32).to_le_bytes());
            put(44, &2_u32.to_le_bytes());
            put(48, &1_u16.to_le_bytes());
            put(50, &(BACKUP_BOOT_SECTOR as u16).to_le_bytes());
            64
        } else {
            put(17, &(ROOT_ENTRIES_FAT16 as u16).to_le_bytes());
            put(22, &(geometry.fat_sectors as u16).to_le_bytes());
            36
        };
        put(tail, &[0x80, 0, 0x29]);
        put(tail + 3, &self.serial.to_le_bytes());
        put(tail + 7, b"BHOJPUR    ");
        put(tail + 18, if geometry.fat32 { b"FAT32   " } else { b"FAT16   " });
        // jmp to the code; int 0x18 (try the next boot device); hlt; jmp to hlt
        put(0, &[0xeb, (tail + 26 - 2) as u8, 0x90]);
        put(tail + 26, &[0xcd, 0x18, 0xf4, 0xeb, 0xfd]);
        put(510, &[0x55, 0xaa]);
        sector
    }

    fn table(&self, runs: &[Run]) -> Vec<u8> {
        let mut table = Vec::new();
        let mut push = |value: u64| {
            let bytes = (value as u32).to_le_bytes();
            table.extend_from_slice(&bytes[..if self.geometry.fat32 { 4 } else { 2 }]);
        };
        let end = if self.geometry.fat32 { 0x0fff_ffff } else { 0xffff };
        push(end & !0xff | 0xf8);
        push(end);
        let mut next = 2;
        for run in runs.iter().filter(|run| run.count > 0) {
            (next..run.first).for_each(|_| push(0));
            (run.first + 1..run.first + run.count).for_each(&mut push);
            push(end);
            next = run.first + run.count;
        }
        table.resize((self.geometry.fat_sectors * SECTOR) as usize, 0);
        table
    }

    fn directory(
        &self,
        path: &str,
        files: &[File<'_>],
        directories: &[&str],
        runs: &[Run],
    ) -> Vec<u8> {
        let find = |path: &str| directories.iter().position(|&other| other == path);
        let mut entries = Vec::new();
        if path.is_empty() {
            entries.extend(entry(*b"BHOJPUR    ", ATTRIBUTE_VOLUME_LABEL, 0, 0));
        } else {
            let own = find(path).map_or(0, |index| runs[index].first);
            // The parent's cluster is written as 0 when the parent is the root.
            let parent = match parent(path) {
                "" => 0,
                path => find(path).map_or(0, |index| runs[index].first),
            };
            entries.extend(entry(*b".          ", ATTRIBUTE_DIRECTORY, own, 0));
            entries.extend(entry(*b"..         ", ATTRIBUTE_DIRECTORY, parent, 0));
        }
        for (directory, run) in directories.iter().zip(runs).skip(1) {
            if parent(directory) == path {
                entries.extend(entry(short_name(directory), ATTRIBUTE_DIRECTORY, run.first, 0));
            }
        }
        for (file, run) in files.iter().zip(&runs[directories.len()..]) {
            if parent(file.path) == path {
                let name = short_name(file.path);
                entries.extend(entry(name, ATTRIBUTE_ARCHIVE, run.first, file.size as u32));
            }
        }
        entries
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn entry(name: [u8; 11], attribute: u8, cluster: u64, size: u32) -> [u8; DIRECTORY_ENTRY] {
    let mut entry = [0; DIRECTORY_ENTRY];
    entry[..11].copy_from_slice(&name);
    entry[11] = attribute;
    for date in [16, 18, 24] {
        entry[date..date + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    entry
}

/// The last component of a path in the padded form of a directory entry.
fn short_name(path: &str) -> [u8; 11] {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    assert!(plain(base) && plain(extension), "{name:?} is not 8.3");
    assert!((1..=8).contains(&base.len()) && extension.len() <= 3, "{name:?} is not 8.3");
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "EFI/BOOT/BOOTX64.EFI";

    fn of(size: u64) -> Volume {
        let files = [File { path: BOOT, size: 40_000 }, File { path: "KERNEL.ELF", size }];
        layout(&files, 2048, 7)
    }

    #[test]
    fn files_are_aligned_and_inside() {
        for size in [1, 2 << 20, 31 << 20, 33 << 20, 200 << 20, 300 << 20, FILE_MAX] {
            let volume = of(size);
            assert!(volume.offsets.iter().all(|offset| offset % ALIGN == 0));
            assert!(volume.offsets[1] >= volume.offsets[0] + 40_000);
            assert!(volume.offsets[1] + size <= volume.length, "{size}");
            // Not more than a tenth is overhead once the least size is passed.
            assert!(size < 33 << 20 || volume.length < size + size / 10);
        }
        assert!(of(1 << 20).length < 3 << 20);
    }

    #[test]
    fn the_kind_follows_from_the_count_of_clusters() {
        for size in [0, 31 << 20, 254 << 20, 257 << 20, 1 << 30] {
            let volume = of(size);
            let boot = &volume.metadata[0].1;
            let cluster = u64::from(boot[13]) * SECTOR;
            let data = volume.offsets[0] & !(cluster - 1);
            let clusters = (volume.length - data) / cluster;
            let fat32 = boot[82..87] == *b"FAT32";
            assert_eq!(fat32, size >= 256 << 20);
            assert_eq!(fat32, clusters + 8 >= 65525, "{size}");
            assert!(clusters >= FAT16_MIN);
        }
    }

    #[test]
    #[should_panic(expected = "8.3")]
    fn a_long_name_is_a_bug_of_the_layout() {
        layout(&[File { path: "bootx64.efi", size: 1 }], 0, 0);
    }
}
