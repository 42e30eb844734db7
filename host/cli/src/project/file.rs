// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads `builderfile.toml`. Whatever is not understood is an error with its line: a typo must
//! not be ignored.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bhojpur_formats::pack::Format;
use bhojpur_monitor::{Forward, Protocol, Size};
use toml_edit::{Document, Item, TableLike, Value};

use crate::Failure;
use crate::arguments::{Pair, mount, pair, variable};

/// The name of the file.
pub const FILE_NAME: &str = "builderfile.toml";

const KEYS: &[&str] = &[
    "language",
    "path",
    "output",
    "arguments",
    "environment",
    "flags",
    "mounts",
    "includes",
    "memory",
    "cpus",
    "ports",
    "formats",
    "targets",
];
const TARGET_KEYS: &[&str] = &["description", "commands", "dependencies"];

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderFile {
    /// The language, when it is given.
    pub language: Option<String>,
    /// The directory of the program.
    pub path: PathBuf,
    /// The image.
    pub output: PathBuf,
    /// Arguments of the program.
    pub arguments: Vec<OsString>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
    /// More flags for the language's build command.
    pub flags: Vec<OsString>,
    /// Volumes and directories.
    pub mounts: Vec<Pair>,
    /// Files and directories.
    pub includes: Vec<Pair>,
    /// Memory of the guest.
    pub memory: Option<Size>,
    /// Processors of the guest.
    pub cpus: u32,
    /// Forwarded ports.
    pub ports: Vec<Forward>,
    /// What `images` makes.
    pub formats: Vec<Format>,
    /// The user's own targets.
    pub targets: BTreeMap<String, UserTarget>,
}

/// A target of the user's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserTarget {
    /// For the list.
    pub description: Option<String>,
    /// Run by the shell, one after the other.
    pub commands: Vec<String>,
    /// Targets that come before.
    pub dependencies: Vec<String>,
}

impl Default for BuilderFile {
    fn default() -> Self {
        Self {
            language: None,
            path: PathBuf::from("."),
            output: PathBuf::from("kernel.elf"),
            arguments: Vec::new(),
            environment: Vec::new(),
            flags: Vec::new(),
            mounts: Vec::new(),
            includes: Vec::new(),
            memory: None,
            cpus: 1,
            ports: Vec::new(),
            formats: Vec::new(),
            targets: BTreeMap::new(),
        }
    }
}

impl BuilderFile {
    /// Where the program listens: the guest's side of the forwarded ports, `80` or `53/udp`.
    #[must_use]
    pub fn exposed(&self) -> Vec<String> {
        let shown = |forward: &Forward| match forward.protocol {
            Protocol::Tcp => forward.guest.to_string(),
            Protocol::Udp => format!("{}/udp", forward.guest),
        };
        self.ports.iter().map(shown).collect()
    }

    /// Reads the project file of a directory.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(FILE_NAME);
        let text = fs::read_to_string(&path).map_err(|error| {
            let failure = Failure::new(format!("cannot read {}: {error}", path.display()));
            if error.kind() == io::ErrorKind::NotFound {
                failure.advise("write one (an empty file will do), or use `kernel build` directly; see builder --help")
            } else {
                failure
            }
        })?;
        Self::parse(&text).map_err(|error| error.located(&path.display().to_string(), &text))
    }

    /// Reads the text of a project file.
    fn parse(text: &str) -> Result<Self, Problem> {
        let document =
            Document::parse(text).map_err(|error| Problem::new(error.message(), error.span()))?;
        let mut file = Self::default();
        for (key, item) in document.as_table().iter() {
            let place = || document.as_table().key(key).and_then(toml_edit::Key::span);
            match key {
                "language" => file.language = Some(string(item)?),
                "path" => file.path = string(item)?.into(),
                "output" => file.output = string(item)?.into(),
                "arguments" => {
                    file.arguments = strings(item)?.into_iter().map(OsString::from).collect();
                }
                "flags" => file.flags = strings(item)?.into_iter().map(OsString::from).collect(),
                "environment" => file.environment = environment(item)?,
                "mounts" => file.mounts = parsed(item, mount)?,
                "includes" => file.includes = parsed(item, pair)?,
                "memory" => file.memory = Some(memory(item)?),
                "cpus" => file.cpus = cpus(item)?,
                "ports" => file.ports = parsed(item, Forward::from_str)?,
                "formats" => file.formats = parsed(item, Format::from_str)?,
                "targets" => file.targets = targets(item)?,
                _ => return Err(unknown(key, KEYS, place())),
            }
        }
        Ok(file)
    }
}

/// What is wrong, and where in the text.
#[derive(Debug)]
struct Problem {
    what: String,
    advice: Option<String>,
    place: Option<Range<usize>>,
}

impl Problem {
    fn new(what: impl ToString, place: Option<Range<usize>>) -> Self {
        Self { what: what.to_string(), advice: None, place }
    }

    fn located(self, name: &str, text: &str) -> Failure {
        let line =
            self.place.map(|place| text[..place.start.min(text.len())].matches('\n').count() + 1);
        let what = match line {
            Some(line) => format!("{name}:{line}: {}", self.what),
            None => format!("{name}: {}", self.what),
        };
        self.advice.into_iter().fold(Failure::new(what), Failure::advise)
    }
}

fn unknown(key: &str, known: &[&str], place: Option<Range<usize>>) -> Problem {
    let mut problem = Problem::new(format!("the key {key:?} is not known"), place);
    let nearest = known.iter().min_by_key(|candidate| strsim::damerau_levenshtein(key, candidate));
    let advice = match nearest {
        Some(nearest) => format!("the nearest key is {nearest:?}; known are {}", known.join(", ")),
        None => return problem,
    };
    problem.advice = Some(advice);
    problem
}

fn wrong(item: &Item, wanted: &str) -> Problem {
    Problem::new(format!("{wanted} is wanted here, not {}", item.type_name()), item.span())
}

fn string(item: &Item) -> Result<String, Problem> {
    item.as_str().map(str::to_owned).ok_or_else(|| wrong(item, "a string"))
}

/// The strings of a list, with their places.
fn values(item: &Item) -> Result<Vec<(&Value, &str)>, Problem> {
    let array = item.as_array().ok_or_else(|| wrong(item, "a list of strings"))?;
    array
        .iter()
        .map(|value| {
            let text = value
                .as_str()
                .ok_or_else(|| Problem::new("a string is wanted here", value.span()))?;
            Ok((value, text))
        })
        .collect()
}

fn strings(item: &Item) -> Result<Vec<String>, Problem> {
    Ok(values(item)?.into_iter().map(|(_, text)| text.to_owned()).collect())
}

fn parsed<T, E: ToString>(
    item: &Item,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Problem> {
    values(item)?
        .into_iter()
        .map(|(value, text)| parse(text).map_err(|error| Problem::new(error, value.span())))
        .collect()
}

fn environment(item: &Item) -> Result<Vec<String>, Problem> {
    let table = table(item)?;
    table
        .iter()
        .map(|(name, value)| {
            if name.contains('=') {
                return Err(Problem::new("the name of a variable cannot contain =", value.span()));
            }
            let text = format!("{name}={}", string(value)?);
            variable(&text).map_err(|error| Problem::new(error, value.span()))
        })
        .collect()
}

fn memory(item: &Item) -> Result<Size, Problem> {
    let text = match item.as_integer() {
        Some(mebibytes) => mebibytes.to_string(),
        None => string(item)?,
    };
    text.parse().map_err(|error| Problem::new(error, item.span()))
}

fn cpus(item: &Item) -> Result<u32, Problem> {
    let number = item.as_integer().ok_or_else(|| wrong(item, "a number"))?;
    match u32::try_from(number) {
        Ok(cpus @ 1..=255) => Ok(cpus),
        _ => Err(Problem::new("a machine has 1 to 255 processors", item.span())),
    }
}

fn table(item: &Item) -> Result<&dyn TableLike, Problem> {
    item.as_table_like().ok_or_else(|| wrong(item, "a table"))
}

fn targets(item: &Item) -> Result<BTreeMap<String, UserTarget>, Problem> {
    let mut targets = BTreeMap::new();
    let all = table(item)?;
    for (name, item) in all.iter() {
        let place = all.key(name).and_then(toml_edit::Key::span);
        if super::targets::is_built_in(name) {
            return Err(Problem::new(
                format!("{name:?} is a built-in target; choose another name"),
                place,
            ));
        }
        let target_table = table(item)?;
        let mut target = UserTarget::default();
        for (key, item) in target_table.iter() {
            match key {
                "description" => target.description = Some(string(item)?),
                "commands" => target.commands = strings(item)?,
                "dependencies" => target.dependencies = strings(item)?,
                _ => {
                    return Err(unknown(
                        key,
                        TARGET_KEYS,
                        target_table.key(key).and_then(toml_edit::Key::span),
                    ));
                }
            }
        }
        targets.insert(name.to_owned(), target);
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> (String, Option<String>) {
        let problem = BuilderFile::parse(text).unwrap_err();
        let advice = problem.advice.clone();
        (problem.located("f", text).to_string(), advice)
    }

    #[test]
    fn every_key_is_read() {
        let file = BuilderFile::parse(
            "language = 'go'\npath = 'cmd'\noutput = 'a.elf'\narguments = ['-v']\nflags = ['-tags', 'x']\n\
             mounts = ['a:/b']\nincludes = ['c:/d']\nmemory = '256M'\ncpus = 2\nports = ['80:8080/udp']\n\
             formats = ['iso', 'ova']\n[environment]\nA = 'b'\n[targets.x]\ncommands = ['true']\n\
             dependencies = ['kernel']\ndescription = 'does x'\n",
        )
        .unwrap();
        assert_eq!(file.memory, Some(Size::mebibytes(256)));
        assert_eq!(file.environment, ["A=b"]);
        assert_eq!(file.exposed(), ["8080/udp"]);
        assert_eq!(file.formats, [Format::Iso, Format::Ova]);
        assert_eq!(file.targets["x"].commands, ["true"]);
        assert_eq!(BuilderFile::parse("").unwrap(), BuilderFile::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        let (what, advice) = failure("path = '.'\n\nenviroment = {}\n");
        assert_eq!(what, "f:3: the key \"enviroment\" is not known");
        assert!(advice.unwrap().contains("nearest key is \"environment\""));
        let (what, advice) = failure("[targets.x]\ncommand = []\n");
        assert_eq!(what, "f:2: the key \"command\" is not known");
        assert!(advice.unwrap().contains("\"commands\""));
    }

    #[test]
    fn wrong_values_have_their_line() {
        for (text, line) in [
            ("path = 3", "f:1:"),
            ("\nports = [\n'80'\n]", "f:3:"),
            ("cpus = 0", "f:1:"),
            ("memory = 'much'", "f:1:"),
            ("formats = ['floppy']", "f:1:"),
            ("a = \n", "f:1:"),
            ("\n[targets.kernel]\n", "f:2:"),
            ("[environment]\nA = 1\n", "f:2:"),
            ("[environment]\n'A=B' = 'c'\n", "f:2:"),
        ] {
            let (what, _) = failure(text);
            assert!(what.starts_with(line), "{text:?}: {what}");
        }
    }
}
