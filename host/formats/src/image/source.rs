// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads ranges of a kernel that lies in memory or in a file.

use super::Error;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Longest range that is read into memory: no kernel is larger.
const RANGE_MAX: u64 = 512 << 20;

/// Bytes that can be read at any place.
pub(super) trait Source {
    /// Bytes in all.
    fn len(&self) -> Result<u64, Error>;

    /// The bytes of a range.
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Error>;
}

/// Refuses a range that no kernel has before memory is taken for it.
fn size(range: &Range<u64>) -> Result<usize, Error> {
    let size = range.end.checked_sub(range.start).filter(|&n| n <= RANGE_MAX);
    size.map(|n| n as usize).ok_or(Error::Damaged("a part of it is too large"))
}

impl Source for [u8] {
    fn len(&self) -> Result<u64, Error> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = start.saturating_add(size(&range)?);
        self.get(start..end).map(<[u8]>::to_vec).ok_or(Error::Damaged("it is cut short"))
    }
}

impl Source for File {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let size = size(&range)?;
        if range.end > Source::len(self)? {
            return Err(Error::Damaged("it is cut short"));
        }
        let mut bytes = vec![0; size];
        match self.read_exact_at(&mut bytes, range.start) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::Damaged("it is cut short"))
            }
            result => Ok(result.map(|()| bytes)?),
        }
    }
}
