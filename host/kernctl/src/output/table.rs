// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Columns for people: as wide as their widest cell, three blanks between them, no lines.

const GAP: usize = 3;

/// What colour says; the words say it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Good,
    Bad,
    Waiting,
    Dim,
}

impl Colour {
    /// Select Graphic Rendition, ECMA-48 8.3.117.
    fn code(self) -> u8 {
        match self {
            Self::Good => 32,
            Self::Bad => 31,
            Self::Waiting => 33,
            Self::Dim => 2,
        }
    }
}

/// A field of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::coloured(text, None)
    }

    pub(crate) fn coloured(text: impl Into<String>, colour: impl Into<Option<Colour>>) -> Self {
        // What comes from others must not move the cursor nor end the line.
        let text: String =
            text.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { text, colour: colour.into() }
    }
}

/// Makes the lines, the titles first.
pub(crate) fn render(titles: &[&str], rows: &[Vec<Cell>], colours: bool) -> String {
    let mut widths: Vec<usize> = titles.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = cell.text.chars().count();
            match widths.get_mut(at) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    let titles: Vec<Cell> = titles.iter().map(|title| Cell::plain(*title)).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width + GAP - cell.text.chars().count();
            match cell.colour.filter(|_| colours) {
                Some(colour) => {
                    line.push_str(&format!("\x1b[{}m{}\x1b[0m", colour.code(), cell.text));
                }
                None => line.push_str(&cell.text),
            }
            line.push_str(&" ".repeat(padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec![Cell::plain("a"), Cell::coloured("running", Colour::Good)],
            vec![Cell::plain("longer"), Cell::plain("é")],
        ];
        assert_eq!(
            render(&["ID", "STATE"], &rows, false),
            "ID       STATE\na        running\nlonger   é\n"
        );
        assert!(
            render(&["ID", "STATE"], &rows, true).contains("a        \x1b[32mrunning\x1b[0m\n")
        );
    }

    #[test]
    fn cells_cannot_act_on_the_terminal() {
        let rows = vec![vec![Cell::plain("a\n\x1b[2Jb")]];
        assert_eq!(render(&["X"], &rows, true), "X\na  [2Jb\n");
    }
}
