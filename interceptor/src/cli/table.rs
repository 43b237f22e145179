//! Columns that line up.

/// Rows under a head (or none), columns as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: &[&[String]]) -> String {
    let head: Vec<String> = head.iter().map(|name| name.to_uppercase()).collect();
    let columns = rows.iter().map(|row| row.len()).chain([head.len()]).max().unwrap_or(0);
    let all = || (!head.is_empty()).then_some(head.as_slice()).into_iter().chain(rows.iter().copied());
    let width =
        |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows: Vec<Vec<String>> = vec![vec!["a".into(), "long".into()], vec!["longer".into(), "b".into()]];
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        assert_eq!(table(&["x", "y"], &rows), "X       Y\na       long\nlonger  b\n");
        assert_eq!(table(&[], &[]), "");
    }
}
