// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bad input gets one clear error, a status, and leaves nothing behind.

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use support::{End, Lab, tiny_image};

const MAIN: &str = "package main\n\nfunc main() {}\n";

#[test]
fn a_directory_without_a_program() {
    let lab = Lab::new();
    lab.file("README.md", "nothing");
    lab.refuses(&mut lab.kernel(&["build"]), 1, &["no program found in .", "help:", "go.mod"]);
    lab.refuses(
        &mut lab.kernel(&["build", "nowhere"]),
        1,
        &["cannot read nowhere", "No such file"],
    );
    lab.file("start.sh", "#!/bin/sh\n");
    let words = ["start.sh is neither a source file", "nor a program for Linux (ELF)"];
    lab.refuses(&mut lab.kernel(&["build", "start.sh"]), 1, &words);
}

#[test]
fn programs_that_lie_deeper_are_named() {
    let lab = Lab::new();
    lab.file("a/go.mod", "module x\n\ngo 1.19\n");
    lab.file("a/cmd/one/main.go", MAIN);
    lab.file("a/cmd/two/main.go", MAIN);
    let words = ["no program found in", "one of its programs: a/cmd/one or a/cmd/two"];
    lab.refuses(&mut lab.kernel(&["build", "a"]), 1, &words);
    lab.file("a/x.go", "package x\n");
    let words = ["the package \"x\", not a program", "one of its programs: a/cmd/one or a/cmd/two"];
    lab.refuses(&mut lab.kernel(&["build", "a"]), 1, &words);
}

#[test]
fn a_program_that_does_not_compile_shows_the_errors_of_go() {
    let lab = Lab::new();
    lab.file("go.mod", "module x\n\ngo 1.19\n");
    lab.file("main.go", "package main\n\nfunc main() { undefinedFunction() }\n");
    lab.refuses(
        &mut lab.kernel(&["build"]),
        1,
        &["go build failed", "main.go:3:15", "undefinedFunction"],
    );
}

#[test]
fn a_library_is_no_program() {
    let lab = Lab::new();
    lab.file("go.mod", "module x\n\ngo 1.19\n");
    lab.file("x.go", "package x\n");
    lab.refuses(
        &mut lab.kernel(&["build"]),
        1,
        &["the package \"x\", not a program", "package main"],
    );
}

#[test]
fn languages_that_are_not_supported_yet_are_named() {
    for (file, language) in [
        ("main.py", "Python"),
        ("package.json", "Node.js"),
        ("Main.java", "Java"),
        ("main.c", "C "),
        ("main.cpp", "C++"),
        ("Cargo.toml", "Rust"),
        ("dune-project", "OCaml"),
    ] {
        let lab = Lab::new();
        lab.file(file, "");
        let words = [&format!("this is a {language}"), file, "not supported yet"];
        lab.refuses(&mut lab.kernel(&["build"]), 1, &words.map(|word: &str| word));
    }
    let lab = Lab::new();
    lab.file("main.go", MAIN);
    lab.refuses(&mut lab.kernel(&["build", "--language", "cobol"]), 1, &["\"cobol\"", "go, "]);
}

#[test]
fn no_go_and_no_qemu_are_named_with_how_to_install_them() {
    let lab = Lab::new();
    lab.file("main.go", MAIN);
    let words = ["Go is not installed", "apt-get install golang-go"];
    lab.refuses(lab.kernel(&["build"]).env("PATH", "/nonexistent"), 1, &words);
    tiny_image(&lab.path().join("k.elf"), "", "@exit 0\n", End::PowerOff);
    let words = ["qemu-system-x86_64 is not installed", "apt-get install qemu-system-x86"];
    lab.refuses(lab.kernel(&["run", "k.elf"]).env("PATH", "/nonexistent"), 125, &words);
}

#[test]
fn files_that_are_no_images() {
    let lab = Lab::new();
    lab.refuses(
        &mut lab.kernel(&["run", "missing.elf"]),
        125,
        &["cannot read missing.elf", "kernel build"],
    );
    lab.refuses(&mut lab.kernel(&["run", "."]), 125, &["cannot read ."]);
    lab.file("text", "hello");
    lab.refuses(
        &mut lab.kernel(&["run", "text"]),
        125,
        &["neither an ELF, an ISO nor a disk image"],
    );
    lab.file("empty", "");
    lab.refuses(&mut lab.kernel(&["run", "empty"]), 125, &["neither an ELF"]);
    fs::copy(std::env::current_exe().unwrap(), lab.path().join("linux")).unwrap();
    lab.refuses(&mut lab.kernel(&["run", "linux"]), 125, &["linux cannot be booted", "help:"]);
    lab.refuses(
        &mut lab.kernel(&["pack", "-o", "a.iso", "-k", "linux"]),
        1,
        &["linux cannot be booted"],
    );
}

#[test]
fn an_image_that_was_cut_short_anywhere() {
    let lab = Lab::new();
    let path = lab.path().join("k.elf");
    tiny_image(&path, "hello\n", "@exit 0\n", End::PowerOff);
    let whole = fs::read(&path).unwrap();
    for length in [4, 20, 63, 100, 200, 330, whole.len() / 2, 4100] {
        lab.file("k.elf", &whole[..length.min(whole.len() - 1)]);
        lab.refuses(&mut lab.kernel(&["run", "k.elf"]), 125, &["k.elf cannot be booted", "help:"]);
    }
}

#[test]
fn an_image_for_another_machine() {
    let lab = Lab::new();
    let path = lab.path().join("k.elf");
    tiny_image(&path, "", "@exit 0\n", End::PowerOff);
    let mut bytes = fs::read(&path).unwrap();
    bytes[18] = 183;
    lab.file("k.elf", &bytes);
    lab.refuses(&mut lab.kernel(&["run", "k.elf"]), 125, &["aarch64", "x86-64"]);
    lab.refuses(&mut lab.kernel(&["build", "-o", "out.elf", "k.elf"]), 1, &["aarch64", "x86-64"]);
}

#[test]
fn a_missing_shared_library_is_named() {
    let lab = Lab::new();
    let mut program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let name = b"libc.so.6\0";
    let Some(at) = program.windows(name.len()).position(|window| window == name) else { return };
    program[at..at + 4].copy_from_slice(b"libQ");
    lab.file("program", &program);
    lab.refuses(
        &mut lab.kernel(&["build", "program"]),
        1,
        &["libQ.so.6 is missing", "program needs it", "searched"],
    );
}

#[test]
fn a_port_that_is_taken() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "", "@exit 0\n", End::PowerOff);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let words = [&format!("{port} is already taken"), "-p"];
    lab.refuses(
        &mut lab.kernel(&["run", "-p", &format!("{port}:80"), "k.elf"]),
        125,
        &words.map(|word: &str| word),
    );
}

#[test]
fn ports_that_two_want() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "", "@exit 0\n", End::PowerOff);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let words = [&*port, "gdb", "in use", "--gdb-port"];
    lab.refuses(&mut lab.kernel(&["run", "--gdb", "--gdb-port", &port, "k.elf"]), 125, &words);
    drop(listener);
    let [one, all] = [format!("{port}:80"), format!("0.0.0.0:{port}:81")];
    let words = ["0.0.0.0", "given twice", &format!("127.0.0.1:{port}")];
    lab.refuses(&mut lab.kernel(&["run", "-p", &one, "-p", &all, "k.elf"]), 125, &words);
}

#[test]
fn memory_that_is_too_small_says_how_much_is_needed() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "", "@exit 0\n", End::PowerOff);
    let words = ["1 MiB of memory is too small for k.elf: it needs at least", "MiB", "-m"];
    lab.refuses(&mut lab.kernel(&["run", "-m", "1M", "k.elf"]), 125, &words);
}

#[test]
fn a_file_system_that_takes_no_more() {
    let lab = Lab::new();
    fs::copy(std::env::current_exe().unwrap(), lab.path().join("program")).unwrap();
    // The limit on the size of files stands for a full disk; its signal is ignored, as a full
    // disk sends none.
    let limited = |arguments: &[&str]| {
        let mut shell = Command::new("sh");
        let script =
            format!("trap '' XFSZ; ulimit -f 64; exec {} \"$@\"", env!("CARGO_BIN_EXE_kernel"));
        shell.args(["-c", &script, "sh"]).args(arguments).current_dir(lab.path());
        shell
    };
    lab.refuses(&mut limited(&["build", "-o", "out.elf", "program"]), 1, &["cannot write out.elf"]);
    lab.file("out.elf", "\x7fELF, the old one");
    lab.refuses(&mut limited(&["build", "-o", "out.elf", "program"]), 1, &["cannot write out.elf"]);
    assert_eq!(fs::read(lab.path().join("out.elf")).unwrap(), b"\x7fELF, the old one");
}

#[test]
fn outputs_that_cannot_be() {
    let lab = Lab::new();
    lab.file("main.go", MAIN);
    lab.refuses(
        &mut lab.kernel(&["build", "-o", "no/such/k.elf"]),
        1,
        &["no/such does not exist", "mkdir -p"],
    );
    lab.refuses(&mut lab.kernel(&["build", "-o", "."]), 1, &["it is a directory"]);
    let _socket = std::os::unix::net::UnixListener::bind(lab.path().join("socket")).unwrap();
    let words = ["cannot write socket: it is not a regular file"];
    lab.refuses(&mut lab.kernel(&["build", "-o", "socket"]), 1, &words);
    tiny_image(&lab.path().join("k.elf"), "", "@exit 0\n", End::PowerOff);
    let words = ["cannot write socket: it is not a regular file"];
    let pack = ["pack", "-o", "socket", "-f", "iso", "-k", "k.elf"];
    lab.refuses(&mut lab.kernel(&pack), 1, &words);
    let words = ["k.xyz does not say which format", "iso, raw, qcow2"];
    lab.refuses(&mut lab.kernel(&["pack", "-o", "k.xyz", "-k", "k.elf"]), 1, &words);
}

#[test]
fn an_output_that_is_somebodys_work_is_kept() {
    let lab = Lab::new();
    lab.file("main.go", MAIN);
    tiny_image(&lab.path().join("k.elf"), "", "@exit 0\n", End::PowerOff);
    let words = ["main.go is not replaced: it is neither an ELF, an ISO nor a disk image", "-o"];
    lab.refuses(&mut lab.kernel(&["build", "-o", "main.go"]), 1, &words);
    let pack = ["pack", "-f", "iso", "-k", "k.elf", "-o"];
    lab.refuses(lab.kernel(&pack).arg("main.go"), 1, &words);
    assert_eq!(fs::read(lab.path().join("main.go")).unwrap(), MAIN.as_bytes());
    let words = ["./k.elf is not replaced", "the same file", "-o"];
    lab.refuses(lab.kernel(&pack).arg("./k.elf"), 1, &words);
    // What is empty or an image already may be replaced.
    lab.file("k.iso", "");
    for _ in 0..2 {
        assert!(lab.kernel(&pack).arg("k.iso").arg("-q").status().unwrap().success());
    }
}

#[test]
fn clean_removes_only_what_the_builder_makes() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("kernel.elf"), "", "@exit 0\n", End::PowerOff);
    for name in ["kernel.iso", "kernel.raw", "kernel.qcow2", "kernel.ova", "kernel.vhd"] {
        let pack = ["pack", "-q", "-o", name];
        assert!(lab.kernel(&pack).status().unwrap().success());
    }
    lab.file("kernel.vdi", "notes");
    lab.file("builderfile.toml", "formats = [\"ova\", \"vhd\", \"vdi\", \"vmdk\"]\n");
    let output = lab.builder(&["clean"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(lab.listing(), ["builderfile.toml", "kernel.qcow2", "kernel.raw", "kernel.vdi"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("kept kernel.vdi: it is no image"), "{said}");
    lab.file("main.go", MAIN);
    lab.file("builderfile.toml", "output = \"main.go\"\n");
    assert!(lab.builder(&["clean"]).status().unwrap().success());
    assert_eq!(fs::read(lab.path().join("main.go")).unwrap(), MAIN.as_bytes());
}

#[test]
fn includes_that_are_not_there() {
    let lab = Lab::new();
    lab.file("main.go", MAIN);
    lab.refuses(&mut lab.kernel(&["build", "--include", "data:/srv"]), 1, &["data is not there"]);
    lab.refuses(&mut lab.kernel(&["build", "--mount", "data:/srv"]), 1, &["data is not there"]);
}

#[test]
fn wrong_words_are_wrong_usage() {
    let lab = Lab::new();
    for (arguments, word) in [
        (&["run"][..], "FILE"),
        (&["run", "-m", "lots", "k.elf"], "lots"),
        (&["run", "-p", "80", "k.elf"], "HOST:GUEST"),
        (&["run", "-c", "0", "k.elf"], "0"),
        (&["run", "--accel", "magic", "k.elf"], "magic"),
        (&["build", "--env", "NAME"], "NAME=VALUE"),
        (&["build", "--include", "a:b"], "absolute"),
        (&["build", "--mount", "tmpfs:/"], "hide the program"),
        (&["build", "--mount", "tmpfs:/app"], "hide the program"),
        (&["run", "-v", "d.img:/app", "k.elf"], "/app"),
        (&["frobnicate"], "frobnicate"),
        (&["pack", "-o", "a", "--format", "floppy"], "floppy"),
    ] {
        lab.refuses(&mut lab.kernel(arguments), 2, &[word]);
    }
}

#[test]
fn typos_in_a_project_file_are_found() {
    let lab = Lab::new();
    lab.refuses(&mut lab.builder(&["list"]), 1, &["cannot read ./builderfile.toml", "help:"]);
    lab.file("builderfile.toml", "language = \"go\"\nargument = [\"-v\"]\n");
    let words =
        ["builderfile.toml:2: the key \"argument\" is not known", "nearest key is \"arguments\""];
    lab.refuses(&mut lab.builder(&["kernel"]), 1, &words);
    lab.file("builderfile.toml", "");
    lab.refuses(&mut lab.builder(&["isoo"]), 1, &["no target \"isoo\"", "nearest is \"iso\""]);
}

#[test]
fn a_go_that_is_none_is_traced_to_its_variable() {
    let lab = Lab::new();
    lab.file("app/go.mod", "module app\n");
    lab.file("app/main.go", "package main\n\nfunc main() {}\n");
    let plain = lab.file("plain", "no program\n");
    let advice = "correct KERNEL_GO, or unset it";
    for (go, reason) in [("/none/go", "No such file"), (plain.to_str().unwrap(), "denied")] {
        let names = format!("KERNEL_GO names {go}");
        let words = [&*names, reason, advice];
        lab.refuses(lab.kernel(&["build", "app"]).env("KERNEL_GO", go), 1, &words);
    }
    let mut build = lab.kernel(&["build", "app"]);
    lab.refuses(build.env("KERNEL_GO", "echo"), 1, &["`echo version` says version", advice]);
}

#[test]
fn a_build_without_a_home_says_what_to_set() {
    let lab = Lab::new();
    lab.file("app/go.mod", "module app\n");
    lab.file("app/main.go", "package main\n\nfunc main() {}\n");
    let mut build = lab.kernel(&["build", "app"]);
    for variable in ["HOME", "XDG_CACHE_HOME", "GOCACHE"] {
        build.env_remove(variable);
    }
    lab.refuses(&mut build, 1, &["GOCACHE", "help: set HOME, or set GOCACHE and GOPATH"]);
}

#[test]
fn languages_that_are_named_are_ready_or_not() {
    let lab = Lab::new();
    lab.file("main.go", MAIN);
    let words = ["\"cobol\" is not a language; there are go, binary;", "not ready yet: rust, node"];
    lab.refuses(&mut lab.kernel(&["build", "--language", "cobol"]), 1, &words);
    let words = ["error: Python is not supported yet", "--language go"];
    lab.refuses(&mut lab.kernel(&["build", "--language", "python"]), 1, &words);
}

#[test]
fn sockets_in_a_directory_are_left_out_and_named() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path().join("files")).unwrap();
    let socket = lab.path().join("files/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // Nobody ever opens the other end.
    let pipe = Command::new("mkfifo").arg(lab.path().join("files/pipe")).status().unwrap();
    assert!(pipe.success());
    std::fs::copy(std::env::current_exe().unwrap(), lab.path().join("program")).unwrap();
    let mut build = lab.kernel(&["build", "--include", "files:/files", "program"]);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", support::errors(&output));
    let said = support::errors(&output);
    assert!(said.contains("files/socket was left out: it is a socket"), "{said}");
    let mut build = lab.kernel(&["build", "--include", "files/socket:/socket", "program"]);
    lab.refuses(&mut build, 1, &["files/socket"]);
}
