// SPDX-License-Identifier: Apache-2.0 OR MIT
//! In which order targets are made.

use super::BuilderFile;
use super::targets::{BUILT_IN, BuiltIn};
use crate::Failure;

/// One target, in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// One of ours.
    BuiltIn(BuiltIn),
    /// One of the user's own, by its name.
    User(&'a str),
}

/// The target with all that it depends on, each once, in order.
pub fn plan<'a>(file: &'a BuilderFile, target: &'a str) -> Result<Vec<Step<'a>>, Failure> {
    let mut planner = Planner { file, steps: Vec::new(), path: Vec::new() };
    planner.visit(target)?;
    Ok(planner.steps)
}

struct Planner<'a> {
    file: &'a BuilderFile,
    steps: Vec<Step<'a>>,
    /// The targets that led to the one at hand.
    path: Vec<&'a str>,
}

impl<'a> Planner<'a> {
    fn visit(&mut self, name: &'a str) -> Result<(), Failure> {
        if self.path.contains(&name) {
            let circle = [self.path.join(" -> "), name.to_owned()].join(" -> ");
            return Err(Failure::new(format!("targets depend on each other: {circle}")));
        }
        let step = self.step(name)?;
        if self.steps.contains(&step) {
            return Ok(());
        }
        self.path.push(name);
        match step {
            Step::User(_) => {
                let file = self.file;
                for dependency in
                    file.targets.get(name).into_iter().flat_map(|target| &target.dependencies)
                {
                    self.visit(dependency)?;
                }
            }
            Step::BuiltIn(target) => {
                for dependency in target.dependencies() {
                    self.visit(dependency)?;
                }
            }
        }
        self.path.pop();
        self.steps.push(step);
        Ok(())
    }

    fn step(&self, name: &'a str) -> Result<Step<'a>, Failure> {
        if let Some((_, built_in, _)) = BUILT_IN.iter().find(|(known, ..)| *known == name) {
            return Ok(Step::BuiltIn(*built_in));
        }
        if self.file.targets.contains_key(name) {
            return Ok(Step::User(name));
        }
        let known = BUILT_IN
            .iter()
            .map(|(name, ..)| *name)
            .chain(self.file.targets.keys().map(String::as_str));
        let nearest = known
            .min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate))
            .unwrap_or("list");
        let by =
            self.path.last().map(|by| format!(" (a dependency of {by:?})")).unwrap_or_default();
        Err(Failure::new(format!("there is no target {name:?}{by}"))
            .advise(format!("the nearest is {nearest:?}; `builder list` shows all")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::UserTarget;
    use super::*;

    fn file(targets: &[(&str, &[&str])]) -> BuilderFile {
        let mut file = BuilderFile::default();
        for (name, dependencies) in targets {
            let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
            file.targets
                .insert((*name).to_owned(), UserTarget { dependencies, ..UserTarget::default() });
        }
        file
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let file = file(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d", "iso"]), ("d", &[])]);
        let steps = plan(&file, "a").unwrap();
        let built = [Step::BuiltIn(BuiltIn::Kernel), Step::BuiltIn(BuiltIn::Iso)];
        assert_eq!(
            steps,
            [
                Step::User("d"),
                Step::User("b"),
                built[0],
                built[1],
                Step::User("c"),
                Step::User("a")
            ]
        );
    }

    #[test]
    fn circles_and_strangers_are_named() {
        let circle = file(&[("a", &["b"]), ("b", &["a"])]);
        assert!(plan(&circle, "a").unwrap_err().to_string().contains("a -> b -> a"));
        let stranger = file(&[("a", &["kernl"])]);
        assert!(plan(&stranger, "a").unwrap_err().to_string().contains("kernl"));
    }
}
