//! Tables for people: columns as wide as what stands in them, nothing cut off, and nothing in them that a terminal obeys.

use std::fmt;

use unicode_width::UnicodeWidthStr;

/// Between two columns.
const GAP: &str = "   ";

/// What stands where there is nothing to say, so that every row has as many words as there are columns.
const NOTHING: &str = "-";

/// A heading, and rows of as many cells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self {
            rows: vec![heading.map(str::to_owned).to_vec()],
        }
    }

    /// Adds a row.
    pub fn add<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len(), "a cell for each column");
        self.rows.push(cells.map(harmless).to_vec());
    }
}

/// Names come from whoever configures the mesh: a control character in one must not reach the terminal, nor a line break
/// make a row of its own.
fn harmless(cell: String) -> String {
    if cell.is_empty() {
        return NOTHING.to_owned();
    }
    if !cell.contains(char::is_control) {
        return cell;
    }
    cell.chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].width()).max();
        let widths: Vec<_> = (0..columns)
            .map(|column| width(column).unwrap_or_default())
            .collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                f.write_str(cell)?;
                // Nothing behind the last one.
                if column + 1 < columns {
                    // The format's own padding counts characters, and some take two places.
                    let missing = widths[column] - cell.width();
                    write!(f, "{:missing$}{GAP}", "")?;
                }
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_what_a_terminal_shows() {
        let mut table = Table::new(["NAME", "SCOPE"]);
        table.add(["a-long-name".to_owned(), "x".to_owned()]);
        table.add(["帳簿".to_owned(), String::new()]);
        let expected = "NAME          SCOPE\na-long-name   x\n帳簿          -\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        let mut table = Table::new(["NAME"]);
        table.add(["a\u{1b}[2Jb\nc".to_owned()]);
        assert_eq!(table.to_string(), "NAME\na\\u{1b}[2Jb\\nc\n");
    }
}
