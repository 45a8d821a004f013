//! Aligned tables for the terminal.

/// Writes rows under a heading, each column as wide as its widest cell.
pub(crate) fn render(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = line(heading.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["cache".to_owned(), "up".to_owned()],
            vec!["load balancer".to_owned(), "down".to_owned()],
        ];
        assert_eq!(
            render(&["ROLE", "STATE"], &rows),
            "  ROLE           STATE\n  cache          up\n  load balancer  down\n"
        );
    }
}
