//! A table in Markdown with aligned columns, to read on a terminal or paste into a page.

use std::fmt;

/// Rows of cells under a head; the first column is text, the others are figures.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head.
    #[must_use]
    pub fn new<I: Into<String>>(head: impl IntoIterator<Item = I>) -> Self {
        Self { rows: vec![head.into_iter().map(Into::into).collect()] }
    }

    /// Appends a row.
    pub fn push<I: Into<String>>(&mut self, row: impl IntoIterator<Item = I>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default().max(3)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        for (number, row) in self.rows.iter().enumerate() {
            f.write_str("|")?;
            for (column, cell) in row.iter().enumerate() {
                let width = self.width(column);
                if column == 0 { write!(f, " {cell:<width$} |")? } else { write!(f, " {cell:>width$} |")? }
            }
            f.write_str("\n")?;
            if number == 0 {
                f.write_str("|")?;
                for column in 0..columns {
                    let line = "-".repeat(self.width(column));
                    if column == 0 { write!(f, " {line} |")? } else { write!(f, " {line}:|")? }
                }
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["what", "n"]);
        table.push(["a", "1000"]);
        assert_eq!(table.to_string(), "| what |    n |\n| ---- | ----:|\n| a    | 1000 |\n");
    }
}
