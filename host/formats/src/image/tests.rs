// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Assembling and reading back, on a made-up kernel.

use super::*;
use crate::erofs::{Attributes, Options, Plan, Tree};
use bhojpur_abi::config::{Config, OwnedConfig};
use bhojpur_abi::elf::{File as Elf, PT_GNU_STACK, PT_LOAD, PT_NOTE};
use bhojpur_abi::erofs::Image;
use bhojpur_abi::payload::{Descriptor, MAGIC, VERSION};
use proptest::prelude::*;
use std::fs;
use std::io::Cursor;

const PHYSICAL: u64 = 0x20_0000;
const DESCRIPTOR: usize = 0x2100;
const TEXT: u64 = KERNEL_OFFSET + PHYSICAL;

/// A kernel with text, data and zeroed memory, a note, the given further
/// program headers, and a symbol table behind a section of debug information.
fn kernel(further: &[u32]) -> Vec<u8> {
    let mut out = vec![0; 0x2800];
    put(&mut out, 0, b"\x7fELF\x02\x01\x01");
    put(&mut out, 16, &[2, 0, 62, 0, 1]);
    put(&mut out, 24, &0x20_0010u64.to_le_bytes());
    put(&mut out, 32, &64u64.to_le_bytes());
    put(&mut out, 52, &[64, 0, 56, 0, 3 + further.len() as u8, 0, 64, 0, 7, 0, 6, 0]);
    let mut headers: Vec<(u32, [u64; 6])> = vec![
        (PT_LOAD, [0x1000, TEXT, PHYSICAL, 0x1000, 0x1000, 4096]),
        (PT_NOTE, [0x1f00, TEXT + 0xf00, PHYSICAL + 0xf00, 0x20, 0x20, 4]),
        (PT_LOAD, [0x2000, TEXT + 0x1000, PHYSICAL + 0x1000, 0x800, 0x5800, 4096]),
    ];
    headers.extend(further.iter().map(|&kind| (kind, [0; 6])));
    for (i, (kind, fields)) in headers.iter().enumerate() {
        put(&mut out, 64 + 56 * i, &kind.to_le_bytes());
        for (n, field) in fields.iter().enumerate() {
            put(&mut out, 72 + 56 * i + 8 * n, &field.to_le_bytes());
        }
    }
    put(&mut out, DESCRIPTOR, &MAGIC);
    put(&mut out, DESCRIPTOR + 16, &VERSION.to_le_bytes());
    append_sections(&mut out);
    out
}

fn append_sections(out: &mut Vec<u8>) {
    let symbol = |name: u32, info: u8, section: u16, value: u64| {
        let mut raw = name.to_le_bytes().to_vec();
        raw.extend([info, 0]);
        raw.extend(section.to_le_bytes());
        raw.extend(value.to_le_bytes());
        raw.extend(0x40u64.to_le_bytes());
        raw
    };
    let symtab = [
        vec![0; 24],
        symbol(1, 2, 1, TEXT + 0x10),
        symbol(14, 1, 3, TEXT + 0x1000),
        symbol(7, 0x12, 1, TEXT + 0x80),
    ]
    .concat();
    let data: [&[u8]; 4] = [
        &[0xdb; 3000],
        &symtab,
        b"\0entry\0_start\0object\0",
        b"\0.text\0.debug_info\0.data\0.symtab\0.strtab\0.shstrtab\0",
    ];
    let mut places = Vec::new();
    for bytes in data {
        places.push((out.len() as u64, bytes.len() as u64));
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    let (text, object) = ((0x1000, 0x1000), (0x2000, 0x800));
    // Debug information between loaded sections: their numbers will move.
    #[expect(clippy::type_complexity, reason = "a table of section headers")]
    let sections: [(u32, u32, u64, u64, (u64, u64), u32); 7] = [
        (0, 0, 0, 0, (0, 0), 0),
        (1, 1, 6, TEXT, text, 0),
        (7, 1, 0, 0, places[0], 0),
        (19, 1, 3, TEXT + 0x1000, object, 0),
        (25, 2, 0, 0, places[1], 5),
        (33, 3, 0, 0, places[2], 0),
        (41, 3, 0, 0, places[3], 0),
    ];
    let table = out.len() as u64;
    for (name, kind, flags, address, (offset, size), link) in sections {
        [name, kind].iter().for_each(|f| out.extend(f.to_le_bytes()));
        [flags, address, offset, size].iter().for_each(|f| out.extend(f.to_le_bytes()));
        [link, 2].iter().for_each(|f: &u32| out.extend(f.to_le_bytes()));
        [1, 24].iter().for_each(|f: &u64| out.extend(f.to_le_bytes()));
    }
    put(out, 40, &table.to_le_bytes());
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn config(argument: &str) -> OwnedConfig {
    let args = vec![b"/app".to_vec(), argument.as_bytes().to_vec()];
    OwnedConfig { args, ..OwnedConfig::default() }
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    tree.add_bytes("/app", vec![0x42; 10_000], Attributes::EXECUTABLE).unwrap();
    tree.add_bytes("/etc/hosts", b"localhost".to_vec(), Attributes::FILE).unwrap();
    tree
}

fn assemble(kernel: &[u8], symbols: Symbols) -> (Vec<u8>, Layout) {
    let tree = tree();
    let plan = Plan::new(&tree, &Options::default()).unwrap();
    let assembly = Assembly::new(kernel, &config("x"), Root::Tree(&plan)).unwrap();
    let mut out = Cursor::new(Vec::new());
    let layout = assembly.symbols(symbols).write(&mut out).unwrap();
    assert_eq!(out.get_ref().len() as u64, layout.file_size);
    (out.into_inner(), layout)
}

/// What a loader does: physical memory from 2 MiB on.
fn load(bytes: &[u8]) -> Vec<u8> {
    let elf = Elf::parse_kernel(bytes).unwrap();
    let mut memory = Vec::new();
    for s in elf.plan().loads() {
        let at = (s.physical - PHYSICAL) as usize;
        assert!(at >= memory.len(), "segments overlap in memory");
        // GRUB wants the entry point, a physical address, in a virtual range.
        let entry = s.physical == PHYSICAL;
        assert_eq!(s.address, if entry { PHYSICAL } else { s.physical + KERNEL_OFFSET });
        memory.resize(at, 0xcc);
        memory.extend_from_slice(elf.segment_data(&s));
        memory.resize(at + s.memory_size as usize, 0);
    }
    memory
}

fn check(bytes: &[u8], layout: &Layout, argument: &str) {
    let memory = load(bytes);
    let at = |r: &std::ops::Range<u64>| {
        &memory[(r.start - PHYSICAL) as usize..(r.end - PHYSICAL) as usize]
    };
    let descriptor = &memory[0x1000 + DESCRIPTOR - 0x2000..];
    let descriptor = Descriptor::parse(descriptor).unwrap().unwrap();
    assert_eq!((&descriptor.config, &descriptor.root), (&layout.config, &layout.root));
    let found = Config::parse(at(&descriptor.config)).unwrap();
    assert_eq!(found.args().nth(1), Some(argument.as_bytes()));
    assert!(found.memory_minimum().unwrap() > layout.end());
    assert_eq!((layout.config.start, layout.root.start % 4096), (PHYSICAL + 0x7000, 0));
    let image = Image::open(at(&descriptor.root)).unwrap();
    let app = image.walk(b"app").unwrap().unwrap();
    assert_eq!(app.contiguous(), Some(&[0x42; 10_000][..]));
}

#[test]
fn spare_entries_dispensable_entries_and_a_moved_table() {
    for (further, moved) in
        [(vec![0, 0], false), (vec![PT_GNU_STACK], false), (vec![PT_NOTE], true), (vec![], true)]
    {
        let (bytes, layout) = assemble(&kernel(&further), Symbols::Functions);
        check(&bytes, &layout, "x");
        let elf = Elf::parse_kernel(&bytes).unwrap();
        assert_eq!(elf.header().program_headers != 64, moved, "{further:?}");
        assert_eq!(elf.plan().loads().count(), 3);
        assert!(elf.plan().segments().any(|s| s.kind == PT_NOTE));
        assert_eq!(elf.header().entry, 0x20_0010);
    }
}

#[test]
fn symbols_stay_or_go_and_debug_information_goes() {
    let (bytes, _) = assemble(&kernel(&[0]), Symbols::Functions);
    let elf = Elf::parse_kernel(&bytes).unwrap();
    let names: Vec<_> = elf.sections().map(|s| s.name).collect();
    assert_eq!(names, [b"", &b".text"[..], b".data", b".symtab", b".strtab", b".shstrtab"]);
    assert_eq!(elf.section(".strtab").unwrap().data, b"\0entry\0_start\0");
    let symtab = elf.section(".symtab").unwrap().data;
    assert_eq!(symtab.len(), 3 * 24);
    assert_eq!((symtab[24 + 6], symtab[48 + 6]), (1, 1));
    assert!(!bytes.windows(100).any(|w| w == [0xdb; 100]));
    let (stripped, layout) = assemble(&kernel(&[0]), Symbols::None);
    assert_eq!(Elf::parse_kernel(&stripped).unwrap().sections().count(), 0);
    assert!(stripped.len() < bytes.len());
    check(&stripped, &layout, "x");
}

#[test]
fn reads_back_and_takes_another_configuration() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("kernel.elf");
    let tree = tree();
    let plan = Plan::new(&tree, &Options::default()).unwrap();
    for further in [vec![0], vec![]] {
        let bare = kernel(&further);
        let assembly = Assembly::new(&bare, &config("x"), Root::Tree(&plan)).unwrap();
        assembly.write_file(&path).unwrap();
        let first = fs::read(&path).unwrap();
        let opened = KernelFile::open(&path).unwrap();
        assert_eq!(opened.config(), Some(assembly.config()));
        let summary = opened.summary().unwrap();
        assert_eq!((summary.symbols, summary.pvh, summary.entry), (2, true, 0x20_0010));
        assert_eq!(summary.kernel, PHYSICAL..PHYSICAL + 0x7000);
        assert_eq!(summary.root.end - summary.root.start, plan.size());
        assert!(Image::open(&opened.read_root().unwrap().unwrap()).is_ok());

        let mut other = opened.config().unwrap().clone();
        other.args[1] = vec![b'y'; 6000];
        let layout = opened.write_with_config(&other, &path).unwrap();
        check(&fs::read(&path).unwrap(), &layout, &"y".repeat(6000));
        // And back: what is not changed has to be the same to the byte.
        let again = KernelFile::open(&path).unwrap();
        again.write_with_config(assembly.config(), &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        write_debug_file(&bare, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bare);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_bare_kernel_is_told_from_an_assembled_one() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("bare");
    fs::write(&path, kernel(&[0])).unwrap();
    let bare = KernelFile::open(&path).unwrap();
    assert!(bare.config().is_none() && bare.read_root().unwrap().is_none());
    assert!(bare.summary().unwrap().config.is_empty());
    assert!(matches!(bare.write_with_config(&config("x"), &path), Err(Error::Bare)));
    let (assembled, layout) = assemble(&kernel(&[0]), Symbols::Functions);
    let (twice, _) = assemble(&assembled, Symbols::Functions);
    check(&twice, &layout, "x");
    assert_eq!(assembled, twice);
}

#[test]
fn no_root_image() {
    let assembly = Assembly::new(&kernel(&[0]), &config("x"), Root::None).unwrap();
    let mut out = Cursor::new(Vec::new());
    let layout = assembly.write(&mut out).unwrap();
    assert!(layout.root.is_empty() && layout.end() == layout.config.end);
    assert_eq!(load(out.get_ref()).len() as u64, layout.end() - PHYSICAL);
}

#[test]
fn what_is_no_kernel_is_refused() {
    let new = |bytes: &[u8]| Assembly::new(bytes, &config("x"), Root::None).map(drop);
    let good = kernel(&[0]);
    assert!(matches!(new(b"text"), Err(Error::Elf(elf::Error::NotElf))));
    let program = fs::read("/proc/self/exe").unwrap();
    assert!(new(&program).is_err());
    for len in (0..0x2800).step_by(97) {
        assert!(new(&good[..len]).is_err(), "{len}");
    }
    let mut none = good.clone();
    none[DESCRIPTOR] = 0;
    assert!(matches!(new(&none), Err(Error::NotKernel)));
    let mut version = good.clone();
    version[DESCRIPTOR + 16] = 9;
    assert!(matches!(new(&version), Err(Error::Descriptor(payload::Error::Version(9)))));
    let mut two = good.clone();
    two.copy_within(DESCRIPTOR..DESCRIPTOR + 64, DESCRIPTOR + 64);
    assert!(matches!(new(&two), Err(Error::Ambiguous)));
    let mut filled = good;
    put(&mut filled, DESCRIPTOR + 32, &5u64.to_le_bytes());
    assert!(matches!(new(&filled), Err(Error::Damaged(_))));
    let root = Assembly::new(&kernel(&[0]), &config("x"), Root::Bytes(&[0; 9000]));
    assert!(matches!(root, Err(Error::RootImage(_))));
}

#[test]
fn an_assembled_kernel_that_was_cut_short_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("kernel.elf");
    let (bytes, _) = assemble(&kernel(&[0]), Symbols::None);
    for len in (0..bytes.len()).step_by(1001) {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(KernelFile::open(&path).is_err(), "{len}");
    }
}

#[test]
fn nothing_is_left_when_writing_fails() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    fs::write(&source, [1; 9000]).unwrap();
    let mut tree = tree();
    tree.add_host(&source, "/source").unwrap();
    let plan = Plan::new(&tree, &Options::default()).unwrap();
    fs::write(&source, [1; 100]).unwrap();
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    let assembly = Assembly::new(&kernel(&[0]), &config("x"), Root::Tree(&plan)).unwrap();
    let failed = assembly.write_file(&out.join("kernel.elf"));
    assert!(matches!(failed, Err(Error::Root(crate::erofs::Error::Changed(_)))));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    let missing = assembly.write_file(&place.path().join("no/kernel.elf"));
    assert!(matches!(missing, Err(Error::Write { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_never_panics(flips in prop::collection::vec((0usize..20_000, any::<u8>()), 1..12)) {
        let (mut bytes, _) = assemble(&kernel(&[0]), Symbols::Functions);
        for (at, value) in flips {
            // Headers, the descriptor and the end are where it can hurt.
            let at = match at % 4 {
                0 => at / 4 % 360,
                1 => DESCRIPTOR + at / 4 % 64,
                2 => bytes.len() - 1 - at / 4 % 700,
                _ => at % bytes.len(),
            };
            bytes[at] = value;
        }
        crate::fuzz::kernel(&bytes);
    }
}
