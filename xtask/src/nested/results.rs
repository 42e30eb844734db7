// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads what the guest's first program sends: `file NAME SIZE` and the bytes,
//! again and again, then `end STATUS`.

use std::collections::BTreeMap;

/// The files and the job's status; `None` when the end is missing.
pub(super) fn parse(sent: &[u8]) -> Option<(BTreeMap<String, Vec<u8>>, i32)> {
    let mut files = BTreeMap::new();
    let mut rest = sent;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        rest = &rest[end + 1..];
        let mut words = line.split(' ');
        match (words.next()?, words.next()?, words.next()) {
            ("file", name, Some(size)) => {
                let contents = rest.get(..size.parse().ok()?)?;
                rest = &rest[contents.len()..];
                files.insert(name.to_owned(), contents.to_vec());
            }
            ("end", status, None) => return Some((files, status.parse().ok()?)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn files_may_have_anything_in_them() {
        let (files, status) =
            parse(b"file a 4\nend\nfile b 0\nfile c 3\n\x00\xff\nend 7\n").unwrap();
        assert_eq!(status, 7);
        assert_eq!(files["a"], b"end\n");
        assert_eq!(files["b"], b"");
        assert_eq!(files["c"], b"\x00\xff\n");
    }

    #[test]
    fn what_is_cut_short_is_no_result() {
        let whole = b"file a 4\nabcdend 0\n";
        assert!(parse(whole).is_some());
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
        assert!(parse(b"[ 1.0] Kernel panic\n").is_none());
    }
}
