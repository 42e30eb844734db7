// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All that goes to standard output, in the form that was asked for.

mod human;
mod rows;
mod table;
mod template;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use serde_json::Value;

pub(crate) use human::bytes;
pub(crate) use rows::{NamedImage, Used, exposed, host_side};

use rows::Row;
use table::Cell;
use template::Template;

use crate::Failure;
use crate::arguments::Format;

/// How results are written.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    /// For people.
    Table,
    /// JSON with indents, or a line for each when the list has no end.
    Json,
    /// YAML.
    Yaml,
    /// A line for each, by a template.
    Template(Template),
    /// What names it, a line for each.
    Quiet,
}

/// Writes results.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    /// What `-o` said.
    pub(crate) format: Option<Format>,
    colours: bool,
}

impl Printer {
    pub(crate) fn new(format: Option<Format>) -> Self {
        // https://no-color.org: any value but an empty one.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, colours: !refused && io::stdout().is_terminal() }
    }

    /// The style that `-o`, `--format` and `-q` come to.
    pub(crate) fn style(&self, format: Option<&str>, quiet: bool) -> Result<Style, Failure> {
        if quiet {
            return Ok(Style::Quiet);
        }
        match (format, self.format) {
            (Some("json"), _) => Ok(Style::Json),
            (Some("yaml"), _) => Ok(Style::Yaml),
            (Some("table"), _) | (None, None | Some(Format::Table)) => Ok(Style::Table),
            (Some(text), _) => Template::parse(text).map(Style::Template).map_err(|error| {
                Failure::usage(format!("the format {text:?} cannot be used: {error}"))
                    .advise("write for example --format '{{.Name}}\\t{{.State}}', or -o json")
            }),
            (None, Some(Format::Json)) => Ok(Style::Json),
            (None, Some(Format::Yaml)) => Ok(Style::Yaml),
        }
    }

    /// Whether programs read.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Some(Format::Json)
    }

    /// Bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// A line.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// A list of things, in tables with ids in full or not.
    pub(crate) fn list<T: Row + Serialize>(
        &self,
        items: &[T],
        full: bool,
        style: &Style,
    ) -> Result<(), Failure> {
        match style {
            Style::Quiet if full => self.lines(items.iter().map(Row::full_handle)),
            Style::Quiet => self.lines(items.iter().map(Row::handle)),
            Style::Table => {
                let rows: Vec<Vec<Cell>> = items.iter().map(|item| item.cells(full)).collect();
                self.raw(table::render(T::TITLES, &rows, self.colours).as_bytes())
            }
            Style::Json => self.line(&json(&items)?),
            Style::Yaml => self.raw(yaml(&items)?.as_bytes()),
            Style::Template(template) => {
                let mut lines = Vec::new();
                for item in items {
                    lines.push(template.render(&fields(item)?));
                }
                if let Some(titles) = template.titles() {
                    let split =
                        |line: &String| line.split('\t').map(Cell::plain).collect::<Vec<_>>();
                    let rows: Vec<Vec<Cell>> = lines.iter().map(split).collect();
                    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
                    return self.raw(table::render(&titles, &rows, false).as_bytes());
                }
                self.lines(lines.into_iter())
            }
        }
    }

    /// One thing of a list that has no end.
    pub(crate) fn streamed<T: Serialize>(
        &self,
        item: &T,
        style: &Style,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match style {
            Style::Table | Style::Quiet => self.line(&text()),
            Style::Json => self.line(&serde_json::to_string(item).map_err(unwritable)?),
            Style::Yaml => self.raw(format!("---\n{}", yaml(item)?).as_bytes()),
            Style::Template(template) => self.line(&template.render(&value(item)?)),
        }
    }

    /// One thing: `text` for people.
    pub(crate) fn one<T: Serialize>(
        &self,
        item: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.styled(item, &self.style(None, false)?, text)
    }

    /// One thing in a style.
    pub(crate) fn styled<T: Serialize>(
        &self,
        item: &T,
        style: &Style,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match style {
            Style::Table | Style::Quiet => self.line(&text()),
            Style::Json => self.line(&json(item)?),
            Style::Yaml => self.raw(yaml(item)?.as_bytes()),
            Style::Template(template) => self.line(&template.render(&value(item)?)),
        }
    }

    /// Documents that have no table: JSON unless something else was asked for.
    pub(crate) fn documents(&self, items: &[Value], style: &Style) -> Result<(), Failure> {
        match style {
            Style::Table | Style::Json | Style::Quiet => self.line(&json(&items)?),
            Style::Yaml => self.raw(yaml(&items)?.as_bytes()),
            Style::Template(template) => self.lines(items.iter().map(|item| template.render(item))),
        }
    }

    /// A table, on top of the one before when this is a terminal.
    pub(crate) fn screen<T: Row>(&self, items: &[T], again: bool) -> Result<(), Failure> {
        let rows: Vec<Vec<Cell>> = items.iter().map(|item| item.cells(false)).collect();
        let table = table::render(T::TITLES, &rows, self.colours);
        // To the corner, and clear what follows: ECMA-48, CUP and ED.
        let before = if again && io::stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
        self.raw(format!("{before}{table}").as_bytes())
    }

    fn lines(&self, lines: impl Iterator<Item = String>) -> Result<(), Failure> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }
}

/// What a template sees: the fields of the interface, and those with docker's names.
fn fields<T: Row + Serialize>(item: &T) -> Result<Value, Failure> {
    let mut all = value(item)?;
    if let Value::Object(all) = &mut all {
        for (name, text) in item.extras() {
            all.insert(name.to_owned(), Value::String(text));
        }
    }
    Ok(all)
}

pub(crate) fn value(item: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(item).map_err(unwritable)
}

fn json(item: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(item).map_err(unwritable)
}

fn yaml(item: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_saphyr::to_string(item).map_err(unwritable)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the result cannot be written: {error}"))
}
