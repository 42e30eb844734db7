// SPDX-License-Identifier: Apache-2.0 OR MIT
//! VirtualBox's VDI, version 1.1, with blocks that are there only when they hold data.

use std::io::{self, Read, Seek, Write};

use crate::gpt::Identity;
use crate::medium::{Medium, pad};

const BLOCK: u64 = 1 << 20;
const ALIGN: u64 = 1 << 20;
const HEADER: usize = 512;
const UNALLOCATED: u32 = u32::MAX;

/// Writes the medium as VDI.
pub fn write<R: Read + Seek>(
    medium: &mut Medium<R>,
    identity: &Identity,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut used = Vec::new();
    let map: Vec<u32> = (0..medium.length().div_ceil(BLOCK))
        .map(|block| {
            if !medium.has_data(block * BLOCK..(block + 1) * BLOCK) {
                return UNALLOCATED;
            }
            used.push(block);
            used.len() as u32 - 1
        })
        .collect();
    let data = (HEADER as u64 + map.len() as u64 * 4).next_multiple_of(ALIGN);
    out.write_all(&header(medium.length(), map.len() as u32, used.len() as u32, data, identity))?;
    for entry in &map {
        out.write_all(&entry.to_le_bytes())?;
    }
    pad(out, HEADER as u64 + map.len() as u64 * 4, ALIGN)?;
    for block in used {
        medium.copy_to(block * BLOCK..(block + 1) * BLOCK, out)?;
    }
    out.flush()
}

/// `VDIHEADER1PLUS` of VirtualBox behind its pre-header.
fn header(length: u64, blocks: u32, used: u32, data: u64, identity: &Identity) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    put(64, &0xbeda_107f_u32.to_le_bytes());
    put(68, &0x0001_0001_u32.to_le_bytes());
    put(72, &400_u32.to_le_bytes());
    // Dynamic.
    put(76, &1_u32.to_le_bytes());
    put(340, &(HEADER as u32).to_le_bytes());
    put(344, &(data as u32).to_le_bytes());
    put(360, &512_u32.to_le_bytes());
    put(368, &length.to_le_bytes());
    put(376, &(BLOCK as u32).to_le_bytes());
    put(384, &blocks.to_le_bytes());
    put(388, &used.to_le_bytes());
    put(392, &identity.guid("vdi image").bytes());
    put(408, &identity.guid("vdi modification").bytes());
    put(468, &512_u32.to_le_bytes());
    header
}
