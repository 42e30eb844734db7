// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `--format`: the part of Go's templates that people use with docker. Text, `{{.Field.Sub}}`,
//! `{{json .Field}}`, `{{join .List ","}}`, `upper`, `lower`, `len`, `println`, and `table` in
//! front for titles.

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    table: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Action { function: Function, path: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Function {
    Show,
    Json,
    Join(String),
    Upper,
    Lower,
    Len,
}

const FUNCTIONS: &str = "json, join, upper, lower and len";

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            push_text(&mut parts, &rest[..start]);
            let inner = &rest[start + 2..];
            let end = inner.find("}}").ok_or("a {{ is not closed")?;
            parts.push(action(inner[..end].trim())?);
            rest = &inner[end + 2..];
        }
        push_text(&mut parts, rest);
        Ok(Self { parts, table })
    }

    /// Fills in the fields of a thing.
    pub(crate) fn render(&self, item: &Value) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Action { function, path } => {
                    text.push_str(&apply(function, find(item, path)));
                }
            }
        }
        text
    }

    /// The titles of the columns, when a table is wanted.
    pub(crate) fn titles(&self) -> Option<Vec<String>> {
        self.table.then(|| {
            let mut line = String::new();
            for part in &self.parts {
                match part {
                    Part::Text(text) => line.push_str(text),
                    Part::Action { path, .. } => {
                        line.push_str(
                            &path.last().map_or_else(String::new, |name| name.to_uppercase()),
                        );
                    }
                }
            }
            line.split('\t').map(str::to_owned).collect()
        })
    }
}

/// docker takes `\t` and `\n` for what they mean, for shells that do not.
fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.replace("\\t", "\t").replace("\\n", "\n")));
    }
}

fn action(text: &str) -> Result<Part, String> {
    let text = text.trim_start_matches("- ").trim_end_matches(" -").trim();
    if text.starts_with('.') {
        return Ok(Part::Action { function: Function::Show, path: path(text)? });
    }
    let (name, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let arguments = arguments.trim();
    let (argument, separator) = match arguments.split_once(char::is_whitespace) {
        Some((argument, rest)) => (argument, Some(rest.trim())),
        None => (arguments, None),
    };
    let function = match (name, separator) {
        ("json", None) => Function::Json,
        ("upper", None) => Function::Upper,
        ("lower", None) => Function::Lower,
        ("len", None) => Function::Len,
        ("join", Some(separator)) => {
            let text = serde_json::from_str(separator)
                .map_err(|_| format!("{separator} is not a text in double quotes"))?;
            Function::Join(text)
        }
        ("json" | "upper" | "lower" | "len", Some(_)) => {
            return Err(format!("{name} takes one field"));
        }
        ("join", None) => {
            return Err("join takes a field and a separator in double quotes".to_owned());
        }
        _ => {
            return Err(format!(
                "{{{{{text}}}}} is not known; there are {{{{.Field}}}}, {FUNCTIONS}"
            ));
        }
    };
    if !argument.starts_with('.') {
        return Err(format!("{name} takes a field, for example {{{{{name} .Name}}}}"));
    }
    Ok(Part::Action { function, path: path(argument)? })
}

fn path(text: &str) -> Result<Vec<String>, String> {
    if text == "." {
        return Ok(Vec::new());
    }
    let names: Vec<String> = text[1..].split('.').map(str::to_owned).collect();
    let sound = |name: &String| {
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    if names.iter().all(sound) { Ok(names) } else { Err(format!("{text} is not a field")) }
}

/// `ExitCode` finds `exit_code`, `ID` finds `id`: Go's names for ours.
fn find<'a>(item: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut at = item;
    for name in path {
        let fields = at.as_object()?;
        let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
        at = fields
            .get(name)
            .or_else(|| fields.iter().find(|(key, _)| plain(key) == plain(name)).map(|(_, v)| v))?;
    }
    Some(at)
}

fn apply(function: &Function, value: Option<&Value>) -> String {
    let Some(value) = value else {
        return match function {
            Function::Json => "null".to_owned(),
            Function::Len => "0".to_owned(),
            // As text/template has it.
            Function::Show => "<no value>".to_owned(),
            _ => String::new(),
        };
    };
    match function {
        Function::Show => show(value),
        Function::Json => value.to_string(),
        Function::Upper => show(value).to_uppercase(),
        Function::Lower => show(value).to_lowercase(),
        Function::Len => match value {
            Value::Array(items) => items.len().to_string(),
            Value::Object(fields) => fields.len().to_string(),
            Value::String(text) => text.len().to_string(),
            _ => "0".to_owned(),
        },
        Function::Join(separator) => match value {
            Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(separator),
            other => show(other),
        },
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let pairs: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}={}", show(value))).collect();
            pairs.join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> String {
        let item = serde_json::json!({
            "id": "abc", "exit_code": 3, "names": ["a:1", "b:2"], "labels": {"k": "v"}, "ok": true, "Names": "shown",
        });
        Template::parse(template).unwrap().render(&item)
    }

    #[test]
    fn fields_are_found_by_either_name() {
        for (template, text) in [
            ("plain", "plain"),
            ("{{.ID}}", "abc"),
            ("{{ .ExitCode }}-{{.exit_code}}", "3-3"),
            ("{{.Names}} {{join .names \", \"}}", "shown a:1, b:2"),
            ("{{.labels.k}}{{.labels}}", "vk=v"),
            ("{{json .names}}", "[\"a:1\",\"b:2\"]"),
            ("{{.Absent}}{{json .Absent}}", "<no value>null"),
            ("{{upper .id}}\\t{{lower .ID}}\\n", "ABC\tabc\n"),
            ("{{len .names}} {{.ok}}", "2 true"),
            ("{{json .labels}}}", "{\"k\":\"v\"}}"),
        ] {
            assert_eq!(rendered(template), text, "{template}");
        }
        assert!(rendered("{{json .}}").starts_with("{\""));
    }

    #[test]
    fn tables_have_titles() {
        let template = Template::parse("table {{.ID}}\\t{{.ExitCode}}").unwrap();
        assert_eq!(template.titles().unwrap(), ["ID", "EXITCODE"]);
        assert_eq!(Template::parse("{{.ID}}").unwrap().titles(), None);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for template in [
            "{{",
            "{{.a",
            "{{}}",
            "{{range .x}}",
            "{{.a b}}",
            "{{json}}",
            "{{json a}}",
            "{{join .a}}",
            "{{join .a x}}",
            "{{..}}",
            "{{upper .a .b}}",
            "{{.a|json}}",
        ] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
