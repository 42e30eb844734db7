// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The flags of `go test` (`go help testflag`, `go help build`), and whose each of them is.

use super::flags::Word;
use Home::{
    Build, Compile, CoverProfile, Instrument, Json, OutputDirectory, Profile, Program, Refused,
};
use Word::{Switch, Value};

/// Where a flag goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// To all that looks at packages: `go list` and `go test -c`.
    Build,
    /// To `go test -c` alone; `go list` does not know it.
    Compile,
    /// To the build as well, but the compiler needs cgo for it.
    Instrument,
    /// To the test program, with `test.` before its name.
    Program,
    /// To the test program, and the file that it names is brought out of the guest.
    Profile,
    /// The same, and the files of all packages become one; the compiler gets `-cover`.
    CoverProfile,
    /// Where such files go; it is carried out here.
    OutputDirectory,
    /// It is carried out here: the output goes through `go tool test2json`.
    Json,
    /// Nowhere, for this reason.
    Refused(&'static str),
}

const MADE: &str = "`kernel test` runs what it builds and keeps nothing; use `go test` for it";

/// All flags that `go test` has a meaning for. One that is not here is the tests' own.
#[rustfmt::skip]
pub(super) const FLAGS: &[(&str, Word, Home)] = &[
    ("C", Value, Refused("it comes too late here: change the directory before `kernel test`")),
    ("a", Switch, Build),
    ("asan", Switch, Instrument),
    ("asmflags", Value, Build),
    ("bench", Value, Program),
    ("benchmem", Switch, Program),
    ("benchtime", Value, Program),
    ("blockprofile", Value, Profile),
    ("blockprofilerate", Value, Program),
    ("buildmode", Value, Build),
    ("buildvcs", Switch, Build),
    ("c", Switch, Refused(MADE)),
    ("compiler", Value, Build),
    ("count", Value, Program),
    ("cover", Switch, Compile),
    ("covermode", Value, Compile),
    ("coverpkg", Value, Compile),
    ("coverprofile", Value, CoverProfile),
    ("cpu", Value, Program),
    ("cpuprofile", Value, Profile),
    ("exec", Value, Refused("the unikernel executes the tests, and nothing can stand before it")),
    ("failfast", Switch, Program),
    ("fullpath", Switch, Program),
    ("fuzz", Value, Refused("what it finds would stay in the guest; without it, the seeds are run as tests")),
    ("fuzzminimizetime", Value, Program),
    ("fuzztime", Value, Program),
    ("gccgoflags", Value, Build),
    ("gcflags", Value, Build),
    ("i", Switch, Refused("Go has given it up; leave it away")),
    ("installsuffix", Value, Build),
    ("json", Switch, Json),
    ("ldflags", Value, Build),
    ("linkshared", Switch, Build),
    ("list", Value, Program),
    ("memprofile", Value, Profile),
    ("memprofilerate", Value, Program),
    ("mod", Value, Build),
    ("modcacherw", Switch, Build),
    ("modfile", Value, Build),
    ("msan", Switch, Instrument),
    ("mutexprofile", Value, Profile),
    ("mutexprofilefraction", Value, Program),
    ("n", Switch, Refused("`kernel test` runs what it builds; use `go test` to see the commands")),
    ("o", Value, Refused(MADE)),
    ("outputdir", Value, OutputDirectory),
    ("overlay", Value, Build),
    ("p", Value, Build),
    ("parallel", Value, Program),
    ("pgo", Value, Build),
    ("pkgdir", Value, Build),
    ("race", Switch, Instrument),
    ("run", Value, Program),
    ("short", Switch, Program),
    ("shuffle", Value, Program),
    ("skip", Value, Program),
    ("tags", Value, Build),
    ("timeout", Value, Program),
    ("toolexec", Value, Build),
    ("trace", Value, Profile),
    ("trimpath", Switch, Build),
    ("v", Switch, Program),
    ("vet", Value, Compile),
    ("work", Switch, Refused("what Go says of a build is shown only when it fails; use `go test`")),
    ("x", Switch, Refused("what Go says of a build is shown only when it fails; use `go test`")),
];

/// What is known of a flag.
pub(super) fn find(name: &str) -> Option<(Word, Home)> {
    FLAGS.iter().find(|(known, ..)| *known == name).map(|(_, word, home)| (*word, *home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_there_once() {
        assert!(FLAGS.is_sorted_by(|(before, ..), (after, ..)| before < after));
    }
}
