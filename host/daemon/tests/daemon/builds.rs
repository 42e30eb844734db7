// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds of contexts that want more than they may.

use serde_json::Value;

use crate::Test;
use crate::client::Events;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[
    ("builds_take_no_file_of_the_machine", no_file_of_the_machine),
    ("builds_write_no_file_of_the_machine", flags_write_no_file),
    ("builds_read_no_file_of_the_machine", sources_read_no_file),
    ("builds_that_do_not_compile", does_not_compile),
];

/// The last event of a build.
async fn build(world: &World, query: &str, context: Vec<u8>) -> Value {
    let path = format!("/v1/images/build?{query}");
    let mut events = Events::of(world.client.open("POST", &path, context).await.unwrap());
    let mut last = Value::Null;
    while let Some(event) = events.next().await {
        last = event;
    }
    last
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, name, &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A program of one page (elf(5)), started by `interpreter` when there is one.
fn program(interpreter: Option<&str>) -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    let path = interpreter.map(|path| [path.as_bytes(), b"\0"].concat()).unwrap_or_default();
    let count: u16 = if interpreter.is_some() { 2 } else { 1 };
    let behind = 64 + 56 * u64::from(count);
    let size = behind + path.len() as u64 + 16;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2_u16, 62].iter().flat_map(|half| half.to_le_bytes()));
    elf.extend(1_u32.to_le_bytes());
    let (entry, table, sections) = (ADDRESS + behind + path.len() as u64, 64_u64, 0_u64);
    elf.extend([entry, table, sections].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(0_u32.to_le_bytes());
    elf.extend([64_u16, 56, count, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    let mut segment = |kind: u32, flags: u32, offset: u64, size: u64, align: u64| {
        elf.extend([kind, flags].iter().flat_map(|word| word.to_le_bytes()));
        let address = ADDRESS + offset;
        let words = [offset, address, address, size, size, align];
        elf.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    if interpreter.is_some() {
        segment(3, 4, behind, path.len() as u64, 1);
    }
    segment(1, 5, 0, size, 4096);
    elf.extend(path);
    elf.extend([0xf4; 16]);
    elf
}

/// An interpreter is a file of this machine that a context names. Only loaders are taken, whether
/// the program that names it is the one that is run or one that is included.
fn no_file_of_the_machine() {
    block_on(async {
        let mut world = World::new().await;
        let secret = world.home.with_file_name("secret");
        std::fs::write(&secret, "hunter2").unwrap();
        let named = secret.to_str().unwrap();
        let main = ("main", program(None));
        let evil = ("evil", program(Some(named)));
        let included = "path=main&name=a&include=[\"evil:/bin/evil\"]";
        for (query, files) in [
            (included, vec![main.clone(), evil.clone()]),
            ("path=evil&name=a", vec![evil]),
            // That it is not there is not told either.
            (included, vec![main.clone(), ("evil", program(Some("/none/none")))]),
        ] {
            let last = build(&world, query, tar(&files)).await;
            assert_eq!(last["error"]["code"], "invalid", "{query}: {last}");
            let message = last["error"]["message"].as_str().unwrap();
            assert!(message.contains("no library of this machine"), "{query}: {message}");
        }
        let good = build(&world, "path=main&name=a", tar(&[main])).await;
        assert_eq!(good["event"], "done", "{good}");
        assert_eq!(std::fs::read_dir(world.home.join("tmp")).unwrap().count(), 0);
        world.end().await;
    });
}

/// The linker has flags that name files to write, and reads more flags from a file.
fn flags_write_no_file() {
    block_on(async {
        let mut world = World::new().await;
        let victim = world.home.with_file_name("victim");
        std::fs::write(&victim, "precious").unwrap();
        let path = victim.display();
        let main = || tar(&[("main.go", b"package main\nfunc main() {}\n".to_vec())]);
        for flags in [
            format!("[\"-ldflags=-o {path}\"]"),
            format!("[\"-ldflags\",\"-s '-o={path}'\"]"),
            format!("[\"-ldflags\",\"all=-cpuprofile {path}\"]"),
            format!("[\"-ldflags=-X @{path}\"]"),
        ] {
            let query = format!("/v1/images/build?path=.&flags={flags}");
            let refused = world.client.send("POST", &query, main()).await.unwrap();
            assert_eq!(std::fs::read(&victim).unwrap(), b"precious", "{flags}");
            assert_eq!(refused.status, 422, "{flags}: {}", refused.text());
            assert!(refused.text().contains("-ldflags"), "{}", refused.text());
        }
        // What only looks alike is allowed, and reaches the linker.
        if has_go() {
            let query = "path=.&flags=[\"-ldflags\",\"-w -X main.nextVersion=1\"]";
            let last = build(&world, query, main()).await;
            assert_eq!(last["event"], "done", "{last}");
        }
        world.end().await;
    });
}

fn has_go() -> bool {
    let has = std::process::Command::new("go").arg("version").output().is_ok();
    if !has {
        eprintln!("builds: SKIPPED a build: Go is not installed");
    }
    has
}

/// Sources name files too: assembler includes them and shows the line that it cannot read, and
/// a module in a directory of the machine is a module with files to embed.
fn sources_read_no_file() {
    if !has_go() {
        return;
    }
    if !bhojpur_build::sandbox::is_enforced() {
        eprintln!("builds: SKIPPED: this kernel has no Landlock");
        return;
    }
    block_on(async {
        let mut world = World::new().await;
        let private = world.home.with_file_name("private");
        std::fs::create_dir(&private).unwrap();
        std::fs::write(private.join("secret"), "hunter2\n").unwrap();
        std::fs::write(private.join("go.mod"), "module private\n\ngo 1.19\n").unwrap();
        let embed = "package private\nimport _ \"embed\"\n//go:embed secret\nvar S string\n";
        std::fs::write(private.join("private.go"), embed).unwrap();
        let private = private.display();
        let files = |files: &[(&str, String)]| {
            let bytes = |(name, text): &(_, String)| (*name, text.clone().into_bytes());
            tar(&files.iter().map(bytes).collect::<Vec<_>>())
        };
        let assembler = files(&[
            ("go.mod", "module a\n\ngo 1.19\n".to_owned()),
            ("main.go", "package main\nfunc f()\nfunc main() { f() }\n".to_owned()),
            ("f.s", format!("#include \"{private}/secret\"\n")),
        ]);
        let replace = format!(
            "module a\n\ngo 1.19\n\nrequire private v0.0.0\n\nreplace private => {private}\n"
        );
        let main = "package main\nimport \"private\"\nfunc main() { println(private.S) }\n";
        let embedding = files(&[("go.mod", replace), ("main.go", main.to_owned())]);
        for context in [assembler, embedding] {
            let last = build(&world, "path=.&name=a", context).await;
            assert_eq!(last["event"], "failed", "{last}");
            assert!(!last.to_string().contains("hunter2"), "{last}");
        }
        world.end().await;
    });
}

/// That a program is wrong is no wrong request.
fn does_not_compile() {
    block_on(async {
        let mut world = World::new().await;
        let wrong = tar(&[("main.go", b"package main\nfunc main() { nothing() }\n".to_vec())]);
        let last = build(&world, "name=a", wrong).await;
        if last["error"]["code"] == "not_ready" {
            eprintln!("SKIPPED: there is no Go");
        } else {
            assert_eq!(last["error"]["code"], "build_failed", "{last}");
        }
        world.end().await;
    });
}
