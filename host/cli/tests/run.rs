// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel run` with guests of a few instructions: statuses, output, signals, packs.

mod support;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{End, Lab, errors, tiny_image};

#[test]
fn the_output_is_the_programs_alone_and_so_is_the_status() {
    let lab = Lab::new();
    for (control, status) in
        [("@exit 0\n", 0), ("@exit 7\n", 7), ("@exit 255\n", 255), ("@exit 139 signal 11\n", 139)]
    {
        tiny_image(&lab.path().join("k.elf"), "hello\n", control, End::PowerOff);
        let output = lab.kernel(&["run", "--accel", "tcg", "k.elf"]).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", errors(&output));
        assert_eq!(output.stdout, b"hello\n");
        assert!(errors(&output).is_empty(), "{}", errors(&output));
    }
}

#[test]
fn verbose_shows_the_log_and_the_command_line_on_standard_error() {
    let lab = Lab::new();
    tiny_image(
        &lab.path().join("k.elf"),
        "out\n",
        "@boot 5 kernel\n@log 1500000 info found it\n@exit 0\n",
        End::PowerOff,
    );
    let output = lab.kernel(&["run", "--accel", "tcg", "--verbose", "k.elf"]).output().unwrap();
    assert_eq!(output.stdout, b"out\n");
    for word in ["-M microvm", "boot  kernel", "[    0.001500] info  found it"] {
        assert!(errors(&output).contains(word), "{word}: {}", errors(&output));
    }
}

#[test]
fn reports_of_faults_reach_standard_error() {
    let lab = Lab::new();
    let control = "@fatal SIGSEGV at 0x10\n@exit 139 signal 11\n";
    tiny_image(&lab.path().join("k.elf"), "", control, End::PowerOff);
    let output = lab.kernel(&["run", "--accel", "tcg", "k.elf"]).output().unwrap();
    assert_eq!(errors(&output), "kernel: SIGSEGV at 0x10\n");
}

#[test]
fn packed_images_boot_under_bios() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "from a disk\n", "@exit 9\n", End::PowerOff);
    for format in ["iso", "raw", "qcow2", "vmdk", "vhd", "vdi"] {
        let image = format!("image.{format}");
        let output = lab.kernel(&["pack", "-q", "-o", &image, "-k", "k.elf"]).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        let output =
            lab.kernel(&["run", "--accel", "tcg", "--timeout", "60", &image]).output().unwrap();
        assert_eq!(output.status.code(), Some(9), "{format}: {}", errors(&output));
        assert!(output.stdout.ends_with(b"from a disk\n"), "{format}");
    }
    let output = lab.kernel(&["pack", "-q", "-o", "image.ova", "-k", "k.elf"]).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    lab.refuses(&mut lab.kernel(&["run", "image.ova"]), 125, &["appliance", "import"]);
}

#[test]
fn many_volumes_fit() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "up\n", "@exit 3\n", End::PowerOff);
    let mut run = lab.kernel(&["run", "--accel", "tcg", "--timeout", "60"]);
    for index in 0..bhojpur_monitor::volume::MOST {
        // The least that passes for an ext4 file system; the tiny guest does not look.
        let mut disk = vec![0; 4096];
        disk[1080..1082].copy_from_slice(&[0x53, 0xef]);
        lab.file(&format!("{index}.img"), disk);
        run.arg("-v").arg(format!("{index}.img:/{index}"));
    }
    let output = run.arg("k.elf").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    assert!(output.stdout.ends_with(b"up\n"));
}

#[test]
fn an_image_that_was_cut_short_is_refused() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "from a disk\n", "@exit 9\n", End::PowerOff);
    for format in ["iso", "raw", "qcow2", "vmdk", "vhd", "vdi"] {
        let image = format!("image.{format}");
        assert!(
            lab.kernel(&["pack", "-q", "-o", &image]).arg("-kk.elf").status().unwrap().success()
        );
        let bytes = std::fs::read(lab.path().join(&image)).unwrap();
        lab.file(&image, &bytes[..bytes.len() / 2]);
        let run = ["run", "--accel", "tcg", "--timeout", "20", &image];
        lab.refuses(&mut lab.kernel(&run), 125, &[&image, "cut short", "help:"]);
    }
}

#[test]
fn a_loader_that_fails_ends_the_machine() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "", "@exit 9\n", End::PowerOff);
    assert!(lab.kernel(&["pack", "-q", "-o", "k.raw", "-k", "k.elf"]).status().unwrap().success());
    let whole = std::fs::read(lab.path().join("k.raw")).unwrap();
    let note = whole.windows(4).rposition(|bytes| bytes == b"Xen\0").unwrap();
    // The boot sector knows the screen alone.
    for (said, at) in [
        ("", bhojpur_abi::boot::BIOS_SECTOR_RECORD + 4),
        ("Bhojpur: the kernel has no PVH entry", note),
    ] {
        let mut damaged = whole.clone();
        damaged[at] = 0x55;
        lab.file("k.raw", &damaged);
        let run = ["run", "--accel", "tcg", "--timeout", "20", "k.raw"];
        let output = lab.kernel(&run).output().unwrap();
        assert_eq!(output.status.code(), Some(126), "{said}: {}", errors(&output));
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains(said), "{shown}");
    }
}

#[test]
fn an_iso_boots_under_uefi() {
    let firmware = "/usr/share/ovmf/OVMF.fd";
    if !std::path::Path::new(firmware).is_file() {
        eprintln!("skipped: {firmware} is not there");
        return;
    }
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "from UEFI\n", "@exit 9\n", End::PowerOff);
    assert!(lab.kernel(&["pack", "-q", "-o", "k.iso", "-k", "k.elf"]).status().unwrap().success());
    let arguments = [
        "run",
        "--accel",
        "tcg",
        "--timeout",
        "120",
        "--qemu-arg",
        "-bios",
        "--qemu-arg",
        firmware,
    ];
    let output = lab.kernel(&arguments).arg("k.iso").output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{}", errors(&output));
    assert!(output.stdout.ends_with(b"from UEFI\n"));
}

#[test]
fn a_kernel_panic_has_a_status_of_its_own() {
    let lab = Lab::new();
    let control = "@panic 1 no luck\n@frame ffffffff80200190\n@panic-end\n";
    tiny_image(&lab.path().join("k.elf"), "", control, End::PowerOff);
    let output = lab.kernel(&["run", "--accel", "tcg", "k.elf"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(
        errors(&output).contains("kernel panic on CPU 1: no luck\n   0: 0xffffffff80200190"),
        "{}",
        errors(&output)
    );
}

#[test]
fn a_guest_that_ends_without_a_word_is_an_error_with_the_tail_of_its_log() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "out\n", "@log 10 info last words\n", End::PowerOff);
    let output = lab.kernel(&["run", "--accel", "tcg", "k.elf"]).output().unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(errors(&output).contains("without an exit status"), "{}", errors(&output));
    assert!(errors(&output).contains("last words"), "{}", errors(&output));
}

#[test]
fn a_guest_that_does_not_end_is_stopped_in_time() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "out\n", "", End::Hang);
    let start = Instant::now();
    let output =
        lab.kernel(&["run", "--accel", "tcg", "--timeout", "0.7", "k.elf"]).output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", errors(&output));
    assert_eq!(output.stdout, b"out\n");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn interrupts_stop_the_guest() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let lab = Lab::new();
        tiny_image(&lab.path().join("k.elf"), "up\n", "", End::Hang);
        let mut child = lab
            .kernel(&["run", "--accel", "tcg", "k.elf"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        support::interrupt(&child, signal);
        assert_eq!(wait(&mut child), Some(status), "{signal}");
    }
}

/// The machines that a `kernel run` has started.
fn machines(run: &Child) -> Vec<u32> {
    let pid = run.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Zombies count as gone: whoever has them for children now may take its time.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[test]
fn a_run_that_is_killed_leaves_no_machine_and_no_secrets_behind() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "up\n", "", End::Hang);
    let temporary = lab.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut child = lab
        .kernel(&["run", "--accel", "tcg", "--env", "SECRET=s3cret", "k.elf"])
        .env("TMPDIR", &temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let started = machines(&child);
    assert_eq!(started.len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while runs(started[0]) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let left = runs(started[0]);
    if left {
        support::end(started[0]);
    }
    assert!(!left, "QEMU outlives the run");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "files are left behind");
}

#[test]
fn a_limit_beyond_all_time_is_none() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "out\n", "@exit 4\n", End::PowerOff);
    for limit in ["9223372036854775807", "18446744073709549568"] {
        let arguments = ["run", "--accel", "tcg", "--timeout", limit, "k.elf"];
        let output = lab.kernel(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{limit}: {}", errors(&output));
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let lab = Lab::new();
    tiny_image(&lab.path().join("k.elf"), "a line of some length\n", "", End::Hang);
    let mut child = lab
        .kernel(&["run", "--accel", "tcg", "k.elf"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(wait(&mut child), Some(128 + 13));
}

#[test]
fn an_output_that_takes_no_more_is_an_error() {
    let lab = Lab::new();
    for (control, end) in [("", End::Hang), ("@exit 0\n", End::PowerOff)] {
        tiny_image(&lab.path().join("k.elf"), "a line of some length\n", control, end);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut run = lab.kernel(&["run", "--accel", "tcg", "--timeout", "60", "k.elf"]);
        let output = run.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", errors(&output));
        let said = errors(&output);
        assert!(said.contains("standard output") && said.contains("No space left"), "{said}");
    }
}

fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it did not end");
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    let lab = Lab::new();
    for directory in ["a", "b"] {
        lab.file(&format!("{directory}/in-{directory}/go.mod"), "module app\n\ngo 1.19\n");
        lab.file(
            &format!("{directory}/in-{directory}/main.go"),
            "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(1) }\n",
        );
        let output = lab
            .kernel(&[
                "build",
                "-o",
                &format!("{directory}.elf"),
                &format!("{directory}/in-{directory}"),
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        std::thread::sleep(Duration::from_millis(1100));
    }
    let read = |name: &str| std::fs::read(lab.path().join(name)).unwrap();
    assert!(read("a.elf") == read("b.elf"), "the images differ");
}

#[test]
fn name_servers_are_the_users_or_the_networks() {
    let lab = Lab::new();
    lab.file("go.mod", "module app\n\ngo 1.19\n");
    let show = "package main\n\nimport \"os\"\n\nfunc main() {\n\
                text, _ := os.ReadFile(\"/etc/resolv.conf\")\n\tos.Stdout.Write(text)\n}\n";
    lab.file("main.go", show);
    lab.file("mine", "nameserver 192.0.2.1\n");
    let include = ["--include", "mine:/etc/resolv.conf"];
    for (more, shown) in [(&[][..], "nameserver 10.0.2.3\n"), (&include, "nameserver 192.0.2.1\n")]
    {
        let output = lab.kernel(&["build", "-q"]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        let run = ["run", "--accel", "tcg", "--timeout", "60", "kernel.elf"];
        let output = lab.kernel(&run).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), shown, "{}", errors(&output));
    }
}

#[test]
fn targets_of_a_project_run_in_order() {
    let lab = Lab::new();
    lab.file(
        "builderfile.toml",
        "[targets.first]\ncommands = [\"echo first\"]\n\n[targets.second]\ndependencies = [\"first\"]\n\
         commands = [\"echo second\", \"echo third\"]\n\n[targets.broken]\ncommands = [\"exit 3\"]\n",
    );
    let output = lab.builder(&["second"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "first\nsecond\nthird\n");
    lab.refuses(&mut lab.builder(&["broken"]), 1, &["\"broken\" failed", "exit 3"]);
    let list = lab.builder(&["list"]).output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout);
    assert!(list.contains("qemu-debug") && list.contains("second"), "{list}");
}

#[test]
fn help_and_completions_are_there() {
    let lab = Lab::new();
    for command in ["build", "run", "pack", "test"] {
        let output = lab.kernel(&[command, "--help"]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("Examples:"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(lab.kernel(&["completions", shell]).output().unwrap().stdout.len() > 1000);
        let script = lab.builder(&["completions", shell]).output().unwrap().stdout;
        // That for fish never names what stands without an option.
        let expected = if shell == "fish" { "complete -c builder" } else { "qemu-debug" };
        assert!(String::from_utf8_lossy(&script).contains(expected), "{shell}");
    }
    assert!(lab.kernel(&["version"]).output().unwrap().stdout.starts_with(b"kernel "));
}

#[test]
fn libraries_beside_the_program_are_found() {
    let lab = Lab::new();
    let script = "echo 'int f(void){return 7;}' >f.c && echo 'int f(void); int main(void){return f();}' >m.c && \
        gcc -shared -fPIC -o libfoo.so f.c && gcc -o m m.c -L. -lfoo -Wl,-rpath,'$ORIGIN'";
    let made = Command::new("sh").args(["-c", script]).current_dir(lab.path()).output().unwrap();
    if !made.status.success() {
        eprintln!("skipped: {}", errors(&made));
        return;
    }
    let built = lab.kernel(&["build", "-q", "-o", "m.elf", "m"]).output().unwrap();
    assert!(built.status.success(), "{}", errors(&built));
    let ran = lab.kernel(&["run", "--accel", "tcg", "m.elf"]).output().unwrap();
    assert_eq!(
        ran.status.code(),
        Some(7),
        "{}{}",
        errors(&ran),
        String::from_utf8_lossy(&ran.stdout)
    );
}
