// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules for single files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Findings;

const LICENCE: &str = "SPDX-License-Identifier: Apache-2.0 OR MIT";
/// Lines that a file may have, and from which on it is looked at.
const LENGTH_LIMIT: usize = 1000;
const LENGTH_AIM: usize = 600;

/// Where the architecture may be named.
/// The vDSO is code for the processor, which its tests run.
const ARCHITECTURE_PLACES: &[&str] = &["kernel/hal/", "kernel/boot/", "kernel/lib/vdso/tests/"];
const ARCHITECTURE_WORDS: &[&str] = &["cfg(target_arch", "asm!("];

/// Where `unsafe` may stand.
const UNSAFE_PLACES: &[&str] = &[
    "kernel/hal/",
    "kernel/boot/",
    "kernel/image/",
    "kernel/lib/sync/",
    "kernel/lib/mm/",
    "kernel/lib/device/",
    "kernel/lib/vdso/tests/",
];
const UNSAFE_WORDS: &[&str] =
    &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "unsafe("];

/// Files whose text is checked for paths of one machine.
const TEXT: &[&str] = &["rs", "toml", "md", "go", "c", "S", "ld", "py", "sh"];

/// Checks every file.
pub(super) fn check(root: &Path, files: &[PathBuf], findings: &mut Findings) -> Result<()> {
    for path in files {
        let extension =
            path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !TEXT.contains(&extension) {
            continue;
        }
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        let name = path.to_string_lossy();
        places(&name, &text, findings);
        if matches!(extension, "rs" | "S" | "ld")
            && !text.lines().take(2).any(|line| line.contains(LICENCE))
        {
            findings
                .errors
                .push(format!("{name}: the first line has to be the licence: {LICENCE}"));
        }
        if extension == "rs" {
            rust(&name, &text, findings);
        }
    }
    Ok(())
}

fn rust(name: &str, text: &str, findings: &mut Findings) {
    // Attributes of the crate may come before the sentence; a file of one statement needs none.
    let head = |line: &&str| line.is_empty() || line.starts_with("// ") || line.starts_with("#!");
    let first = text.lines().map(str::trim).find(|line| !head(line));
    let trivial = name.starts_with("fuzz/") && text.lines().count() < 10;
    if !trivial && !first.is_some_and(|line| line.starts_with("//!")) {
        findings.errors.push(format!("{name}: a module begins with a //! sentence of its purpose"));
    }
    match text.lines().count() {
        lines if lines > LENGTH_LIMIT => {
            findings.errors.push(format!("{name}: {lines} lines; {LENGTH_LIMIT} are the limit"));
        }
        lines if lines > LENGTH_AIM => {
            findings.warnings.push(format!("{name}: {lines} lines; aim at {LENGTH_AIM}"));
        }
        _ => {}
    }
    restricted(name, text, ARCHITECTURE_WORDS, ARCHITECTURE_PLACES, findings);
    restricted(name, text, UNSAFE_WORDS, UNSAFE_PLACES, findings);
}

/// Words that may stand in some places only.
fn restricted(name: &str, text: &str, words: &[&str], places: &[&str], findings: &mut Findings) {
    // The host's test harness and these rules themselves speak of the words.
    if places.iter().any(|place| name.starts_with(place)) || name.starts_with("xtask/src/tidy/") {
        return;
    }
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        // `#[unsafe(no_mangle)]` is an attribute, but it is unsafe all the same.
        if let Some(word) = words.iter().find(|word| stands(code, word)) {
            let allowed = places.join(", ");
            findings
                .errors
                .push(format!("{name}:{}: `{word}` may stand only in {allowed}", index + 1));
        }
    }
}

/// Whether a word stands in the code, not as the end of a longer one.
fn stands(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"' || c == '`')
            || (word.starts_with("asm!") && before == Some('_'))
    })
}

/// Paths of the machine on which something was written mean nothing elsewhere.
fn places(name: &str, text: &str, findings: &mut Findings) {
    let homes = ["/home/", "/root/", "/Users/", "/work/"];
    for (index, line) in text.lines().enumerate() {
        for home in homes {
            let named = line.match_indices(home).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + home.len()..].chars().next();
                before.is_none_or(|c| matches!(c, ' ' | '"' | '\'' | '(' | '`' | '='))
                    && after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.')
            });
            if named && !name.starts_with("xtask/src/tidy/") {
                findings.warnings.push(format!(
                    "{name}:{}: names a place of one machine ({home}...)",
                    index + 1
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(name: &str, text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        rust(name, text, &mut findings);
        findings.errors
    }

    #[test]
    fn unsafe_has_an_address() {
        let text = "// SPDX\n//! Module.\nfn f() { unsafe { g() } }\n";
        assert_eq!(errors("kernel/core/src/a.rs", text).len(), 1);
        assert!(errors("kernel/hal/src/a.rs", text).is_empty());
        assert!(
            errors("kernel/core/src/a.rs", "//! Module.\n// unsafe { }\n#![forbid(unsafe_code)]\n")
                .is_empty()
        );
    }

    #[test]
    fn assembler_stays_in_the_hal() {
        let text = "//! Module.\ncore::arch::naked_asm!(\"ret\");\n";
        assert_eq!(errors("kernel/core/src/a.rs", text).len(), 1);
        assert!(errors("kernel/boot/src/a.rs", text).is_empty());
    }

    #[test]
    fn modules_say_what_they_are_for_and_are_short() {
        assert_eq!(errors("a.rs", "// SPDX\nfn f() {}\n").len(), 1);
        assert!(errors("a.rs", "// SPDX\n//! It.\n").is_empty());
        assert_eq!(errors("a.rs", &format!("//! It.\n{}", "\n".repeat(LENGTH_LIMIT + 1))).len(), 1);
    }
}
