// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What people type who come from docker: its groups of commands, and advice where unikernels have
//! no such thing.

use std::ffi::OsString;

use super::Description;

/// docker's groups: a group's own words and what they are here. Words that are the same stand once.
const GROUPS: &[(&str, &[(&str, &str)])] = &[
    (
        "image",
        &[
            ("ls", "images"),
            ("list", "images"),
            ("rm", "rmi"),
            ("remove", "rmi"),
            ("build", "build"),
            ("import", "import"),
            ("inspect", "inspect"),
            ("pull", "pull"),
            ("push", "push"),
            ("tag", "tag"),
        ],
    ),
    (
        "container",
        &[
            ("ls", "ps"),
            ("list", "ps"),
            ("ps", "ps"),
            ("remove", "rm"),
            ("attach", "attach"),
            ("cp", "cp"),
            ("create", "create"),
            ("inspect", "inspect"),
            ("kill", "kill"),
            ("logs", "logs"),
            ("pause", "pause"),
            ("port", "port"),
            ("rename", "rename"),
            ("restart", "restart"),
            ("rm", "rm"),
            ("run", "run"),
            ("start", "start"),
            ("stats", "stats"),
            ("stop", "stop"),
            ("unpause", "unpause"),
            ("wait", "wait"),
        ],
    ),
    ("system", &[("events", "events"), ("info", "info")]),
];

/// `kernctl image ls` as `kernctl images`.
pub(crate) fn ungrouped(mut words: Vec<OsString>, description: &Description) -> Vec<OsString> {
    let Some(at) = verb(&words, description) else { return words };
    let word = |index: usize| words.get(index).and_then(|word| word.to_str());
    let group = GROUPS.iter().find(|(group, _)| word(at) == Some(group));
    let known =
        group.and_then(|(_, known)| known.iter().find(|(own, _)| word(at + 1) == Some(own)));
    if let Some((_, ours)) = known {
        words.splice(at..at + 2, [OsString::from(ours)]);
    }
    words
}

/// Where the first word is that is no option, nor the value of one.
pub(super) fn verb(words: &[OsString], description: &Description) -> Option<usize> {
    let mut value = false;
    for (index, word) in words.iter().enumerate().skip(1) {
        let text = word.to_str()?;
        if !text.starts_with('-') && !value {
            return Some(index);
        }
        value = !value && takes_value(text, description);
    }
    None
}

/// Whether the value of an option is the next word.
fn takes_value(option: &str, description: &Description) -> bool {
    description.get_arguments().any(|argument| {
        let long = argument.get_long().is_some_and(|long| option.strip_prefix("--") == Some(long));
        let short = argument.get_short().is_some_and(|short| option == format!("-{short}"));
        (long || short) && argument.get_action().takes_values()
    })
}

/// What to do instead of what docker has and we do not.
pub(crate) fn instead(word: &str) -> Option<&'static str> {
    Some(match word.split('=').next().unwrap_or(word) {
        "exec" | "top" => {
            "a unikernel is one program, without a shell: `kernctl logs`, `stats` and `attach` show what it does"
        }
        "image" => "there are `kernctl images`, build, import, tag and rmi",
        "container" => "there are `kernctl ps`, run, start, stop, rm and more: `kernctl --help`",
        "system" => "there are `kernctl info` and `kernctl events`",
        "prune" => {
            "remove by list: kernctl rm $(kernctl ps -aq -f state=stopped), kernctl rmi $(kernctl images -q -f dangling=true)"
        }
        "commit" | "diff" | "export" => {
            "what a program writes outside of volumes is gone when it stops: mount a volume, `kernctl cp` copies out of it"
        }
        "save" | "load" => {
            "images are files: `kernel build` makes kernel.elf, `kernctl import` takes it"
        }
        "history" => "an image has no layers: `kernctl inspect` shows what it has",
        "update" => "make it anew with other options: kernctl rm, then kernctl run",
        "network" => "networks are those of the daemon's machine: `kernctl run --network`",
        "compose" | "swarm" | "service" | "stack" => {
            "there is one machine and no orchestration: start each instance with `kernctl run`"
        }
        "--mount" => "write -v VOLUME:/DIRECTORY[:ro]",
        "--entrypoint" => "an image has one program; its arguments stand behind the image",
        "-w" | "--workdir" => "a program starts in /; give it paths that begin there",
        "-u" | "--user" | "--privileged" | "--cap-add" | "--cap-drop" => {
            "there is one program in the machine, and no other user: leave it out"
        }
        "-h" | "--hostname" => "leave it out, or hand a name to the program with -e",
        "-t" | "--timestamps" | "--since" | "--until" => {
            "logs are what the program wrote, without times of ours; --tail takes the last lines"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::description;
    use super::*;

    fn ours(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let words = ungrouped(words, &description());
        words.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn groups_are_taken_apart_where_they_are_the_verb() {
        for (line, wanted) in [
            ("kernctl image ls -q", "kernctl images -q"),
            ("kernctl -o json image rm web", "kernctl -o json rmi web"),
            ("kernctl --host=h container ls -a", "kernctl --host=h ps -a"),
            ("kernctl -H image container run image ls", "kernctl -H image run image ls"),
            ("kernctl system info", "kernctl info"),
            ("kernctl image", "kernctl image"),
            ("kernctl image prune", "kernctl image prune"),
            ("kernctl run image ls", "kernctl run image ls"),
            ("kernctl volume ls", "kernctl volume ls"),
            ("kernctl", "kernctl"),
        ] {
            assert_eq!(ours(line), wanted);
        }
    }

    #[test]
    fn groups_lead_to_commands_that_there_are() {
        for (_, known) in GROUPS {
            for (_, ours) in *known {
                assert!(description().find_subcommand(ours).is_some(), "{ours}");
            }
        }
    }
}
