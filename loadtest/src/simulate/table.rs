//! Tables that read well on a terminal and are Markdown as they stand.

use std::fmt;

/// Rows of text under a heading. The first column is words, the others are figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new<T: Into<String>>(heading: impl IntoIterator<Item = T>) -> Self {
        Self { rows: vec![heading.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn push<T: Into<String>>(&mut self, row: impl IntoIterator<Item = T>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default().max(2)
    }

    fn columns(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or_default()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.rows.iter().enumerate() {
            for column in 0..self.columns() {
                let (cell, width) = (row.get(column).map_or("", String::as_str), self.width(column));
                if column == 0 {
                    write!(f, "| {cell:<width$} |")?;
                } else {
                    write!(f, " {cell:>width$} |")?;
                }
            }
            writeln!(f)?;
            if index == 0 {
                for column in 0..self.columns() {
                    let width = self.width(column);
                    let rule = if column == 0 {
                        format!("| {:-<width$} |", "")
                    } else {
                        format!(" {:->width$} |", ":")
                    };
                    f.write_str(&rule)?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_figures_stand_to_the_right() {
        let mut table = Table::new(["rule", "0.8", "1.1"]);
        table.push(["weir", "97.0", "8"]);
        table.push(["a"]);
        let expected = "| rule |  0.8 | 1.1 |\n\
                        | ---- | ---: | --: |\n\
                        | weir | 97.0 |   8 |\n\
                        | a    |      |     |\n";
        assert_eq!(table.to_string(), expected);
    }
}
