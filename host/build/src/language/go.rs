// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Go: an untouched `go build` for linux/amd64.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Error, Language, Program, Source};
use crate::system::Needs;
use crate::tools::Tools;

/// The variable that names another Go.
const OVERRIDE: &str = "KERNEL_GO";
/// The oldest minor version of Go 1 that is tested.
const OLDEST_MINOR: u32 = 19;
const OLDEST: &str = "Go 1.19";
const INSTALL: &str = "`sudo apt-get install golang-go` (Debian, Ubuntu), `sudo dnf install golang` (Fedora), \
     `brew install go` (macOS), or https://go.dev/dl";

/// More programs than this are no advice.
const MOST_ADVISED: usize = 6;

/// The Go language.
#[derive(Debug)]
pub struct Go;

/// A package with tests, as `go list` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its import path.
    pub import_path: String,
    /// How `go test` is told which one it is: the import path, or the files that make it up.
    pub arguments: Vec<String>,
    /// Its directory on the host.
    pub directory: PathBuf,
    /// Whether it is of Go's standard library.
    pub standard: bool,
    /// Whether it has test files at all.
    pub has_tests: bool,
}

impl Language for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn marker_files(&self) -> &'static [&'static str] {
        &["go.mod", "go.work"]
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["go"]
    }

    fn build(&self, source: &Source<'_>) -> Result<Program, Error> {
        let toolchain = Toolchain::locate(source.tools)?;
        let target = Target::of(source.path)?;
        let cgo = toolchain.cgo(&target)?;
        let name = target.program_name(&toolchain, cgo)?;
        let executable = source.scratch.join(&name);
        let mut command = toolchain.command(&target.directory, cgo);
        command.arg("build").args(["-trimpath", "-buildvcs=false"]);
        if !source.debug {
            // Symbols of Go's own tables stay: tracebacks are not touched by this.
            command.arg("-ldflags=-s -w");
        }
        command.arg("-o").arg(&executable).args(source.flags).args(&target.arguments);
        let output = toolchain.run(&mut command)?;
        check("go build", &output)?;
        let needs = needs(&executable, cgo)?;
        Ok(Program { executable, name, toolchain: toolchain.version, needs })
    }
}

impl Go {
    /// The packages that match patterns, seen from `directory`.
    pub fn packages(
        directory: &Path,
        patterns: &[String],
        flags: &[OsString],
    ) -> Result<Vec<Package>, Error> {
        let toolchain = Toolchain::locate(&Tools::default())?;
        let format = "{{.ImportPath}}\t{{.Dir}}\t{{.Standard}}\t\
            {{len .TestGoFiles}}\t{{len .XTestGoFiles}}";
        let mut command = toolchain.command(directory, toolchain.explicit_cgo());
        command.args(["list", "-f", format]).args(flags).args(patterns);
        let output = toolchain.run(&mut command)?;
        check("go list", &output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| parse_package(line, patterns)).collect())
    }

    /// Builds the test program of one package; `None` when it has no tests.
    pub fn build_test(
        directory: &Path,
        package: &Package,
        flags: &[OsString],
        executable: &Path,
    ) -> Result<Option<String>, Error> {
        let toolchain = Toolchain::locate(&Tools::default())?;
        let mut command = toolchain.command(directory, toolchain.explicit_cgo());
        command.args(["test", "-c", "-o"]).arg(executable).args(flags).args(&package.arguments);
        let output = toolchain.run(&mut command)?;
        check("go test -c", &output)?;
        Ok(executable.is_file().then_some(toolchain.version))
    }

    /// What turns the output of a test program into JSON.
    pub const TEST2JSON: &str = "go tool test2json";

    /// [`Self::TEST2JSON`] for one package, with the time of each line.
    pub fn test2json(directory: &Path, package: &Package) -> Result<Command, Error> {
        let toolchain = Toolchain::locate(&Tools::default())?;
        // A tool of this machine: none for the guest.
        let mut command = toolchain.tools.command(&toolchain.program);
        command.current_dir(directory).args(["tool", "test2json", "-t", "-p"]);
        command.arg(&package.import_path);
        Ok(command)
    }

    /// Whether the user wants cgo, which is off without a word.
    #[must_use]
    pub fn explicit_cgo() -> bool {
        explicit_cgo(&Tools::default())
    }

    /// The root of the Go installation.
    pub fn root() -> Result<PathBuf, Error> {
        let toolchain = Toolchain::locate(&Tools::default())?;
        let output =
            toolchain.run(toolchain.command(Path::new("."), false).args(["env", "GOROOT"]))?;
        check("go env", &output)?;
        Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    }
}

/// What Go calls the package that files make up which the user names.
const OF_FILES: &str = "command-line-arguments";

/// One line of `go list`, which was asked for `patterns`.
fn parse_package(line: &str, patterns: &[String]) -> Option<Package> {
    let mut parts = line.split('\t');
    let import_path = parts.next()?.to_owned();
    let directory = PathBuf::from(parts.next()?);
    let standard = parts.next()? == "true";
    let has_tests = parts.any(|count| count != "0");
    let arguments =
        if import_path == OF_FILES { patterns.to_vec() } else { vec![import_path.clone()] };
    Some(Package { import_path, arguments, directory, standard, has_tests })
}

/// A Go that is installed here.
#[derive(Debug)]
struct Toolchain {
    program: OsString,
    version: String,
    tools: Tools,
}

impl Toolchain {
    fn locate(tools: &Tools) -> Result<Self, Error> {
        let named = env::var_os(OVERRIDE);
        let program = named.clone().unwrap_or_else(|| "go".into());
        let shown = || program.to_string_lossy().into_owned();
        let wrong = |reason: String| Error::WrongToolchain {
            language: "Go",
            variable: OVERRIDE,
            program: shown(),
            reason,
        };
        let at_large = tools.at_large();
        let ask = |words: &[&str]| {
            at_large.output(at_large.command(&program).args(words)).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::Interrupted => not_run(shown(), source),
                    _ if named.is_some() => wrong(source.to_string()),
                    io::ErrorKind::NotFound => {
                        Error::NoToolchain { language: "Go", program: shown(), install: INSTALL }
                    }
                    _ => not_run(shown(), source),
                }
            })
        };
        let output = ask(&["version"])?;
        if named.is_some() && !output.stdout.starts_with(b"go version ") {
            let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
            let said = String::from_utf8_lossy(said);
            let said = said.lines().next().unwrap_or("nothing").to_owned();
            return Err(wrong(format!("`{} version` says {said}", shown())));
        }
        check("go version", &output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "go version go1.19.8 linux/amd64"
        let version = text.split_whitespace().nth(2).unwrap_or("go").to_owned();
        if minor(&version).is_some_and(|minor| minor < OLDEST_MINOR) {
            return Err(Error::OldToolchain { found: version, needed: OLDEST, install: INSTALL });
        }
        let mut tools = tools.clone();
        if tools.sandbox.is_some() {
            let output = ask(&["env", "GOROOT"])?;
            check("go env", &output)?;
            let installed = String::from_utf8_lossy(&output.stdout).trim().into();
            let program = tools.file(&program);
            if let Some(sandbox) = &mut tools.sandbox {
                sandbox.read.push(installed);
                sandbox.read.extend(program);
            }
        }
        Ok(Self { program, version, tools })
    }

    fn command(&self, directory: &Path, cgo: bool) -> Command {
        let mut command = self.tools.command(&self.program);
        command
            .current_dir(directory)
            .env("GOOS", "linux")
            .env("GOARCH", "amd64")
            .env("CGO_ENABLED", if cgo { "1" } else { "0" });
        command
    }

    fn run(&self, command: &mut Command) -> Result<Output, Error> {
        let program = || self.program.to_string_lossy().into_owned();
        self.tools.output(command).map_err(|source| not_run(program(), source))
    }

    /// What the user says about cgo; without a word, programs are static.
    fn explicit_cgo(&self) -> bool {
        explicit_cgo(&self.tools)
    }

    /// Whether the program has C in packages of its own. C in the standard library alone
    /// (`net`, `os/user`) has a pure Go twin, which makes a static program.
    fn cgo(&self, target: &Target) -> Result<bool, Error> {
        if self.tools.variable("CGO_ENABLED").is_some() {
            return Ok(self.explicit_cgo());
        }
        let format = "{{if and (not .Standard) .CgoFiles}}{{.ImportPath}}{{end}}";
        let mut command = self.command(&target.directory, true);
        command.args(["list", "-e", "-deps", "-f", format]).args(&target.arguments);
        let output = self.run(&mut command)?;
        // Errors of the program are left to the build, which shows them best.
        Ok(output.status.success() && output.stdout.iter().any(|byte| !byte.is_ascii_whitespace()))
    }
}

fn explicit_cgo(tools: &Tools) -> bool {
    tools.variable("CGO_ENABLED").is_some_and(|value| value == "1")
}

/// A tool that could not be started, or was ended.
fn not_run(program: String, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::Interrupted {
        Error::Stopped { program, reason: source }
    } else {
        Error::Start { program, source }
    }
}

/// The minor version of `go1.19.8`; development versions have none.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// What `go build` is pointed at.
#[derive(Debug)]
struct Target {
    /// As the user names it.
    given: PathBuf,
    directory: PathBuf,
    /// `.`, or the names of source files where there is no module.
    arguments: Vec<OsString>,
}

impl Target {
    fn of(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        let given = path.to_owned();
        let path = fs::canonicalize(path).map_err(unreadable)?;
        if path.is_file() {
            let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
            let name = path.file_name().unwrap_or_default().to_owned();
            return Ok(Self { given, directory, arguments: vec![name] });
        }
        if path.ancestors().any(|directory| directory.join("go.mod").is_file()) {
            return Ok(Self { given, directory: path, arguments: vec![".".into()] });
        }
        let mut files: Vec<OsString> = fs::read_dir(&path)
            .map_err(unreadable)?
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| is_source(name))
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(Error::NoProgram { directory: path, deeper: Vec::new() });
        }
        Ok(Self { given, directory: path, arguments: files })
    }

    /// The name that `go build` would give the program: the same sources have the same one,
    /// wherever they lie. `go build` of a library succeeds and makes no program, so what the
    /// package is gets asked at the same time.
    fn program_name(&self, toolchain: &Toolchain, cgo: bool) -> Result<String, Error> {
        let mut command = toolchain.command(&self.directory, cgo);
        command.args(["list", "-e", "-f", "{{.Name}}\t{{.ImportPath}}"]).args(&self.arguments);
        let output = toolchain.run(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (package, path) = text.trim_end().split_once('\t').unwrap_or_default();
        match package {
            "main" => Ok(self.executable_name(path)),
            "" => self.check_any_source(toolchain).map(|()| self.executable_name("")),
            _ => Err(Error::NotAProgram {
                directory: self.directory.clone(),
                package: package.to_owned(),
                deeper: self.deeper(toolchain),
            }),
        }
    }

    fn executable_name(&self, import_path: &str) -> String {
        let name = match self.arguments.first().map(OsString::as_os_str) {
            Some(file) if file != OsStr::new(".") => Path::new(file).file_stem(),
            _ => last_element(import_path).map(OsStr::new).or(self.directory.file_name()),
        };
        super::file_name(name.unwrap_or_default())
    }

    fn check_any_source(&self, toolchain: &Toolchain) -> Result<(), Error> {
        let any = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
            .any(|e| is_source(&e.file_name()));
        if any {
            return Ok(());
        }
        let deeper = self.deeper(toolchain);
        Err(Error::NoProgram { directory: self.directory.clone(), deeper })
    }

    /// Programs below the directory, for advice; where Go knows of none, or of too many to be
    /// of help, there is none.
    fn deeper(&self, toolchain: &Toolchain) -> Vec<PathBuf> {
        let mut command = toolchain.command(&self.directory, false);
        let format = "{{if eq .Name \"main\"}}{{.Dir}}{{end}}";
        command.args(["list", "-e", "-find", "-f", format, "./..."]);
        let Ok(output) = toolchain.run(&mut command) else { return Vec::new() };
        let text = String::from_utf8_lossy(&output.stdout);
        let found: Vec<PathBuf> = text
            .lines()
            .filter_map(|line| Path::new(line).strip_prefix(&self.directory).ok())
            .map(|relative| self.given.join(relative))
            .collect();
        if found.len() > MOST_ADVISED { Vec::new() } else { found }
    }
}

/// The last element of an import path that is not a major version, as cmd/go takes it.
fn last_element(import_path: &str) -> Option<&str> {
    let mut elements = import_path.rsplit('/');
    let last = elements.next().filter(|last| !last.is_empty())?;
    let is_version = last
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    if is_version { elements.next().or(Some(last)) } else { Some(last) }
}

/// What a finished program can use, by the functions that the linker left in: Go keeps the names
/// of all of them for its tracebacks.
fn needs(executable: &Path, cgo: bool) -> Result<Needs, Error> {
    if cgo {
        return Ok(Needs::ALL);
    }
    let bytes = fs::read(executable)
        .map_err(|source| Error::Unreadable { path: executable.to_owned(), source })?;
    let has = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    Ok(Needs {
        certificates: has(b"crypto/x509.loadSystemRoots\0"),
        time_zones: has(b"\0time.LoadLocation\0"),
    })
}

fn is_source(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(".go") && !name.ends_with("_test.go"))
}

fn check(command: &str, output: &Output) -> Result<(), Error> {
    if output.status.success() {
        return Ok(());
    }
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said).into_owned();
    let output = if said.trim().is_empty() { output.status.to_string() } else { said };
    Err(Error::Compile { command: command.to_owned(), output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(minor("go1.19.8"), Some(19));
        assert_eq!(minor("go1.26rc1"), Some(26));
        assert_eq!(minor("devel"), None);
    }

    #[test]
    fn packages_are_read_with_their_tests() {
        let package = parse_package("a/b\t/src/a/b\tfalse\t0\t2", &["./...".into()]).unwrap();
        assert_eq!(package.import_path, "a/b");
        assert_eq!(package.arguments, ["a/b"]);
        assert!(package.has_tests && !package.standard);
        let package = parse_package("os\t/go/src/os\ttrue\t0\t0", &["os".into()]).unwrap();
        assert!(!package.has_tests && package.standard);
        let files = ["b/x.go".to_owned(), "b/x_test.go".to_owned()];
        let line = "command-line-arguments\t/src/b\tfalse\t1\t0";
        assert_eq!(parse_package(line, &files).unwrap().arguments, files);
    }

    #[test]
    fn without_a_module_the_files_are_named_and_tests_left_out() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.go", "a.go", "a_test.go", "notes.txt"] {
            fs::write(directory.path().join(name), "package main\n").unwrap();
        }
        let target = Target::of(directory.path()).unwrap();
        assert_eq!(target.arguments, ["a.go", "b.go"]);
        let file = Target::of(&directory.path().join("a.go")).unwrap();
        assert_eq!(file.executable_name("command-line-arguments"), "a");
        assert_eq!(target.executable_name("command-line-arguments"), "a");
    }

    #[test]
    fn programs_are_named_as_go_build_names_them() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("go.mod"), "module example.com/x\n").unwrap();
        let target = Target::of(directory.path()).unwrap();
        for (path, name) in [
            ("example.com/x", "x"),
            ("example.com/x/v2", "x"),
            ("example.com/x/cmd/server", "server"),
            ("v2", "v2"),
            ("example.com/x/vault", "vault"),
        ] {
            assert_eq!(target.executable_name(path), name);
        }
        let of_directory = directory.path().file_name().unwrap();
        assert_eq!(target.executable_name(""), super::super::file_name(of_directory));
    }
}
