//! Aligned columns.

use serde::Serialize;

use crate::{escape, format::Format, out, problem::Result};

/// A cell of a table.
#[derive(Debug)]
pub(crate) enum Cell {
    /// Aligned to the left, and harmless whatever it contains.
    Text(String),
    /// Aligned to the right.
    Number(String),
}

impl Cell {
    /// A cell of text.
    pub(crate) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// A cell that holds a number.
    pub(crate) fn number(number: impl ToString) -> Self {
        Self::Number(number.to_string())
    }

    /// A cell that holds a number, or `-` when there is none.
    pub(crate) fn optional(number: Option<impl ToString>) -> Self {
        Self::Number(number.map_or_else(|| "-".to_owned(), |number| number.to_string()))
    }

    fn shown(&self) -> std::borrow::Cow<'_, str> {
        match self {
            // An empty cell would shift the columns for programs that split the line at blanks.
            Self::Text(text) if text.is_empty() => "-".into(),
            Self::Text(text) | Self::Number(text) => escape::line(text),
        }
    }
}

/// Prints items: a row of aligned columns each, or a JSON document each.
pub(crate) fn print<T: Serialize>(format: Format, items: &[T], row: impl Fn(&T) -> Vec<Cell>) -> Result<()> {
    match format {
        Format::Text => out::print(&render(&items.iter().map(row).collect::<Vec<_>>())),
        Format::Json => out::ndjson(items),
    }
}

/// The unit of a figure, unless its name has it: `hello_ms`, `calls_pending`.
pub(crate) fn unit(name: &str, unit: &str) -> Option<Cell> {
    let is_in_name = name.split('_').any(|word| word == unit || unit.strip_suffix('s') == Some(word));
    (!is_in_name).then(|| Cell::text(unit))
}

/// Rows as lines, with two blanks between columns and none at the end.
pub(crate) fn render(rows: &[Vec<Cell>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.shown().chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| match cell {
            Cell::Text(_) => format!("{:<width$}", cell.shown()),
            Cell::Number(_) => format!("{:>width$}", cell.shown()),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_left_and_numbers_right() {
        let rows = [
            vec![Cell::text("calls"), Cell::number(12), Cell::text("calls")],
            vec![Cell::text("bytes_in"), Cell::number(3_456), Cell::text("bytes")],
        ];
        assert_eq!(render(&rows), "calls       12  calls\nbytes_in  3456  bytes\n");
    }

    #[test]
    fn a_unit_is_not_repeated() {
        assert!(unit("connections_per_uid", "connections").is_none());
        assert!(unit("hello_ms", "ms").is_none());
        assert!(unit("backlog", "connections").is_some());
    }

    #[test]
    fn a_cell_cannot_break_the_line() {
        assert_eq!(render(&[vec![Cell::text("a\nb"), Cell::text("")]]), "a\\nb  -\n");
        assert_eq!(render(&[]), "");
    }
}
