// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Good inputs for the parsers.

use bhojpur_abi::config::{Network, OwnedConfig, OwnedMount, Port};
use bhojpur_formats::erofs::{Attributes, Options, Plan, Tree};

/// A small position-independent executable with its tables.
pub(crate) fn elf() -> Vec<Vec<u8>> {
    let mut file = vec![0; 64 + 4 * 56];
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    file[20] = 1;
    file[24..32].copy_from_slice(&0x200_u64.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[52..58].copy_from_slice(&[64, 0, 56, 0, 4, 0]);
    let segments = [
        (1_u32, 5_u32, 0_u64, 0x1000_u64),
        (1, 6, 0x1000, 0x800),
        (2, 6, 0x1400, 0x100),
        (3, 4, 0x300, 16),
    ];
    for (i, (kind, flags, offset, size)) in segments.into_iter().enumerate() {
        let header = &mut file[64 + i * 56..][..56];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[4..8].copy_from_slice(&flags.to_le_bytes());
        for (at, value) in
            [(8, offset), (16, offset), (24, offset), (32, size), (40, size), (48, 0x1000)]
        {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    file.resize(0x1800, 0);
    file[0x300..0x310].copy_from_slice(b"/lib/ld-linux.so");
    for (i, (tag, value)) in
        [(1_u64, 1_u64), (5, 0x400), (10, 32), (29, 4), (0, 0)].into_iter().enumerate()
    {
        let entry = 0x1400 + i * 16;
        file[entry..entry + 8].copy_from_slice(&tag.to_le_bytes());
        file[entry + 8..entry + 16].copy_from_slice(&value.to_le_bytes());
    }
    file[0x400..0x40e].copy_from_slice(b"\0libc.so.6\0/o\0");
    // The test program itself is as real as an ELF gets, but for its size.
    let mut all = vec![file];
    if let Ok(own) = std::fs::read("/proc/self/exe") {
        all.push(own[..own.len().min(1 << 15)].to_vec());
    }
    all
}

pub(crate) fn erofs() -> Vec<Vec<u8>> {
    let mut tree = Tree::new();
    let plain = Attributes::with_permissions(0o644);
    let mut images = Vec::new();
    let added = tree
        .add_bytes("small", b"inline data".to_vec(), plain)
        .and_then(|()| tree.add_bytes("dir/large", vec![7; 9000], plain))
        .and_then(|()| tree.add_bytes("dir/empty", Vec::new(), plain))
        .and_then(|()| tree.add_symlink("link", "dir/large"))
        .and_then(|()| {
            (0..300).try_for_each(|i| tree.add_bytes(format!("many/file-{i:03}"), vec![1], plain))
        });
    let plan = Plan::new(&tree, &Options { time: 1, volume_name: "fuzz".to_owned(), uuid: None });
    if let (Ok(()), Ok(plan)) = (added, plan) {
        let mut image = std::io::Cursor::new(Vec::new());
        if plan.write(&mut image).is_ok() {
            images.push(image.into_inner());
        }
    }
    assert!(!images.is_empty(), "the writer does not make a seed");
    images
}

pub(crate) fn config() -> Vec<Vec<u8>> {
    let mut full = OwnedConfig {
        program: Some(b"/app".to_vec()),
        args: vec![b"app".to_vec(), b"-v".to_vec(), Vec::new()],
        cwd: Some(b"/".to_vec()),
        hostname: Some("guest".to_owned()),
        network: Some(Network::Dhcp),
        limit_nofile: Some(1 << 20),
        limit_stack: Some(8 << 20),
        memory_minimum: Some(64 << 20),
        memory_usual: Some(256 << 20),
        cpus_usual: Some(2),
        ports: vec![Port { number: 53, udp: true }],
        options: vec!["a=b".to_owned()],
        ..OwnedConfig::default()
    };
    full.set_env("HOME", "/root");
    full.mounts.push(OwnedMount {
        kind: "tmpfs".to_owned(),
        source: b"none".to_vec(),
        target: b"/tmp".to_vec(),
        read_only: false,
    });
    full.name_servers.push("2001:db8::1".parse().expect("an address"));
    let records = [full, OwnedConfig::default()];
    records.iter().map(|c| c.encode().expect("a good record")).collect()
}

/// An ELF with a payload descriptor where a kernel has it.
pub(crate) fn kernel() -> Vec<Vec<u8>> {
    let mut all = elf();
    for file in &mut all {
        if let Some(descriptor) = file.get_mut(0x500..0x500 + bhojpur_abi::payload::SIZE) {
            descriptor.fill(0);
            descriptor[..16].copy_from_slice(&bhojpur_abi::payload::MAGIC);
            descriptor[16] = 1;
        }
    }
    all
}

pub(crate) fn control() -> Vec<Vec<u8>> {
    let lines = "@boot 1250000 kernel\n@log 1312000 info virtio-net at 00:02.0\n@fatal SIGSEGV at 0x10\n\
        @panic 0 index \\x1b out of bounds\n@frame ffffffff80201234\n@panic-end\n@exit 139 signal 11\n";
    lines.lines().map(|l| l.as_bytes().to_vec()).chain([lines.as_bytes().to_vec()]).collect()
}
