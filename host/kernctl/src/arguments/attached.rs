// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values that stand at their short options, as in `run -p8080:80`. Since what follows the image may
//! begin with a hyphen, the library takes such a word for the image.

use std::ffi::OsString;

use clap::Arg;

use super::{Description, docker};

/// `-dp8080:80` as `-d --publish=8080:80`, in commands whose last argument takes all that follows,
/// up to that argument.
pub(crate) fn detached(words: Vec<OsString>, description: &Description) -> Vec<OsString> {
    let command = docker::verb(&words, description).and_then(|at| {
        let command = description.find_subcommand(words.get(at)?)?;
        command.get_positionals().any(Arg::is_trailing_var_arg_set).then_some((at, command))
    });
    let Some((at, command)) = command else { return words };
    let known: Vec<&Arg> = command.get_arguments().chain(description.get_arguments()).collect();
    let mut done: Vec<OsString> = words[..=at].to_vec();
    let mut rest = words[at + 1..].iter();
    while let Some(word) = rest.next() {
        let text = word.to_str().unwrap_or_default();
        if !text.starts_with('-') || matches!(text, "-" | "--") {
            done.push(word.clone());
            break;
        }
        let (taken, wants_value) = match text.strip_prefix("--") {
            Some(long) => (vec![word.clone()], takes_next(long, &known)),
            None => short(text, &known),
        };
        done.extend(taken);
        if wants_value {
            done.extend(rest.next().cloned());
        }
    }
    done.extend(rest.cloned());
    done
}

/// Whether the value of a long option is the next word.
fn takes_next(long: &str, known: &[&Arg]) -> bool {
    let named = |argument: &&&Arg| {
        argument.get_long() == Some(long)
            || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    };
    known.iter().find(named).is_some_and(|argument| argument.get_action().takes_values())
}

/// A word of short options, taken apart where a value begins; and whether the next word is one.
fn short(text: &str, known: &[&Arg]) -> (Vec<OsString>, bool) {
    for (index, letter) in text.char_indices().skip(1) {
        let argument = known.iter().find(|argument| argument.get_short() == Some(letter));
        // What is not known stays as it is, to be told of.
        let Some(argument) = argument else { break };
        if !argument.get_action().takes_values() {
            continue;
        }
        let value = &text[index + letter.len_utf8()..];
        let (false, Some(long)) = (value.is_empty(), argument.get_long()) else {
            return (vec![text.into()], value.is_empty());
        };
        let value = value.strip_prefix('=').unwrap_or(value);
        let mut words = Vec::new();
        if index > 1 {
            words.push(text[..index].into());
        }
        words.push(format!("--{long}={value}").into());
        return (words, false);
    }
    (vec![text.into()], false)
}

#[cfg(test)]
mod tests {
    use super::super::description;
    use super::*;

    #[test]
    fn values_are_taken_off_before_the_image_alone() {
        for (line, wanted) in [
            ("kernctl run -p8080:80 web", "kernctl run --publish=8080:80 web"),
            ("kernctl run -itdp=80 web -p9", "kernctl run -itd --publish=80 web -p9"),
            ("kernctl run -p 80 -eA=b web", "kernctl run -p 80 --env=A=b web"),
            ("kernctl run --name -p8 -m64 web", "kernctl run --name -p8 --memory=64 web"),
            ("kernctl run --vol -p8 -m64 web", "kernctl run --vol -p8 --memory=64 web"),
            ("kernctl run --net=none -m64 web", "kernctl run --net=none --memory=64 web"),
            ("kernctl -H h run -ojson web", "kernctl -H h run --output=json web"),
            ("kernctl create -- -m64", "kernctl create -- -m64"),
            ("kernctl run -x80 web", "kernctl run -x80 web"),
            ("kernctl run -e", "kernctl run -e"),
            ("kernctl volume create -s1G data", "kernctl volume create -s1G data"),
            ("kernctl logs -n5 web", "kernctl logs -n5 web"),
        ] {
            let words = line.split(' ').map(OsString::from).collect();
            let words = detached(words, &description());
            assert_eq!(words.join(" ".as_ref()).into_string().unwrap(), wanted);
        }
    }
}
