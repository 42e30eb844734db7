// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel test` with the flags and package names that `go test` takes.

mod support;

use std::process::{Command, Output};

use support::{Lab, errors};

const PROGRAM: &str =
    "package ok\n\nfunc Half(a int) int {\n\tif a < 0 {\n\t\treturn 0\n\t}\n\treturn a / 2\n}\n";
const TESTS: &str = "package ok\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n\
    func TestHalf(t *testing.T) {\n\tif Half(4) != 2 {\n\t\tt.Fatal()\n\t}\n}\n\n\
    func TestMode(t *testing.T) {\n\tif os.Getenv(\"MODE\") == \"fail\" {\n\t\tt.Fatal(\"asked to\")\n\t}\n\
    \tif os.Getenv(\"MODE\") == \"exit\" {\n\t\tos.Exit(3)\n\t}\n}\n";

/// A module with the package `ok`.
fn module() -> Lab {
    let lab = Lab::new();
    lab.file("go.mod", "module m\n\ngo 1.19\n");
    lab.file("ok/ok.go", PROGRAM);
    lab.file("ok/ok_test.go", TESTS);
    lab
}

fn test(lab: &Lab, words: &[&str]) -> Output {
    lab.kernel(&["test", "--accel", "tcg"]).args(words).output().unwrap()
}

#[track_caller]
fn says(output: &Output, status: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(status), "{said}{}", errors(output));
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn flags_of_the_compiler_alone_and_of_the_program() {
    let lab = module();
    let output = test(&lab, &["./ok", "--", "-cover", "-vet=off"]);
    says(&output, 0, &["ok  \tm/ok\t", "\tcoverage: 66.7% of statements\n"]);
    says(&test(&lab, &["./ok", "--", "-list", "."]), 0, &["TestHalf\nTestMode\nok  \tm/ok\t"]);
}

/// What is printed, without the times that packages and tests took.
fn timeless(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let is_time = |field: &str| field.ends_with('s') && field[..1].parse::<u8>().is_ok();
    let line = |line: &str| {
        let (line, _) =
            line.rsplit_once(" (").filter(|_| line.ends_with("s)")).unwrap_or((line, ""));
        let fields = line.split('\t').map(|field| if is_time(field) { "TIME" } else { field });
        fields.collect::<Vec<_>>().join("\t") + "\n"
    };
    said.lines().map(line).collect()
}

#[test]
fn without_a_package_the_output_is_that_of_the_local_directory_mode() {
    let lab = module();
    let place = lab.path().join("ok");
    for (mode, flags) in
        [("", &[][..]), ("fail", &[]), ("fail", &["-v"]), ("exit", &[]), ("", &["-cover"])]
    {
        let mut ours = lab.kernel(&["test", "--accel", "tcg", "--env"]);
        ours.arg(format!("MODE={mode}")).arg("--").args(flags).current_dir(&place);
        let mut gos = Command::new("go");
        gos.args(["test", "-count=1"]).args(flags).env("MODE", mode).current_dir(&place);
        let (ours, gos) = (ours.output().unwrap(), gos.output().unwrap());
        assert_eq!(timeless(&ours), timeless(&gos), "{mode} {flags:?}: {}", errors(&ours));
        assert_eq!(ours.status.code(), gos.status.code());
    }
}

#[test]
fn json_is_that_of_go() {
    let lab = module();
    lab.file("none/none.go", "package none\n");
    let output = test(&lab, &["./...", "--env", "MODE=fail", "--", "-json"]);
    let words = [
        "\"Action\":\"skip\",\"Package\":\"m/none\"",
        "\"Action\":\"pass\",\"Package\":\"m/ok\",\"Test\":\"TestHalf\"",
        "\"Action\":\"fail\",\"Package\":\"m/ok\",\"Test\":\"TestMode\"",
        "\"Action\":\"fail\",\"Package\":\"m/ok\",\"Elapsed\"",
    ];
    says(&output, 1, &words);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.lines().all(|line| line.starts_with('{')), "{said}");
}

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    let lab = module();
    for flag in ["-c", "-o=x", "-exec=x", "-fuzz=F"] {
        let name = flag.split('=').next().unwrap();
        let words = [&*format!("error: {name} is not supported: ")];
        let mut command = lab.kernel(&["test", "./ok", "--", flag]);
        lab.refuses(&mut command, 1, &words);
    }
    let words = ["-race needs cgo: set CGO_ENABLED=1"];
    lab.refuses(&mut lab.kernel(&["test", "./ok", "--", "-race"]), 1, &words);
}

#[test]
fn memory_that_is_too_small_says_how_much_is_needed() {
    let lab = module();
    let words = ["5 MiB of memory is too small for the tests of m/ok: it needs at least", "-m"];
    lab.refuses(&mut lab.kernel(&["test", "--accel", "tcg", "-m", "5M", "./ok"]), 1, &words);
    says(&test(&lab, &["-m", "64M", "./ok"]), 0, &["ok  \tm/ok"]);
}

#[test]
fn files_make_up_a_package() {
    let lab = module();
    let tests = "package ok\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n\
        func TestPlace(t *testing.T) {\n\tif _, err := os.Stat(\"ok.go\"); err != nil {\n\t\tt.Fatal(err)\n\t}\n}\n";
    lab.file("ok/place_test.go", tests);
    let output = test(&lab, &["./ok/place_test.go", "--", "-v"]);
    says(&output, 0, &["--- PASS: TestPlace", "ok  \tcommand-line-arguments\t"]);
    says(&test(&lab, &["ok/ok.go", "ok/ok_test.go"]), 0, &["ok  \tcommand-line-arguments\t"]);
    lab.refuses(&mut lab.kernel(&["test", "ok/none_test.go"]), 1, &["none_test.go"]);
}

#[test]
fn files_of_the_tests_lie_where_those_of_go_test_do() {
    let lab = module();
    std::fs::create_dir(lab.path().join("out")).unwrap();
    let flags = ["-cpuprofile=cpu", "-memprofile", "mem", "-trace=trace", "-outputdir=out"];
    says(
        &test(&lab, &[&["./ok", "--", "-coverprofile=cover"], &flags[..]].concat()),
        0,
        &["ok  \tm/ok"],
    );
    assert_eq!(lab.listing(), ["go.mod", "ok", "ok.test", "out"]);
    let read = |name: &str| std::fs::read(lab.path().join("out").join(name)).unwrap();
    // Profiles are compressed protocol buffers; a trace says what it is.
    assert!(read("cpu").starts_with(&[0x1f, 0x8b]) && read("mem").starts_with(&[0x1f, 0x8b]));
    assert!(read("trace").starts_with(b"go 1."));
    let gos = lab.path().join("gos");
    let mut go = Command::new("go");
    go.arg("test").arg("-coverprofile").arg(&gos).arg("./ok").current_dir(lab.path());
    assert!(go.output().unwrap().status.success());
    assert_eq!(read("cover"), std::fs::read(gos).unwrap());
}

#[test]
fn coverage_of_several_packages_is_one_file() {
    let lab = module();
    lab.file("more/more.go", PROGRAM.replace("ok", "more"));
    lab.file("more/more_test.go", TESTS.replace("package ok", "package more"));
    says(&test(&lab, &["./...", "--", "-coverprofile", "cover"]), 0, &["ok  \tm/ok"]);
    let mut go = Command::new("go");
    go.args(["test", "-coverprofile", "gos", "./..."]).current_dir(lab.path());
    assert!(go.output().unwrap().status.success());
    let read = |name: &str| std::fs::read_to_string(lab.path().join(name)).unwrap();
    assert_eq!(read("cover"), read("gos"));
    assert!(read("cover").contains("m/more/more.go"), "{}", read("cover"));
    let words = ["cannot use -cpuprofile flag with multiple packages"];
    lab.refuses(&mut lab.kernel(&["test", "./...", "--", "-cpuprofile=c"]), 1, &words);
}
