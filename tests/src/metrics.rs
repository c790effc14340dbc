//! Reads values off a Prometheus page.

use anyhow::{Context, Result};

use crate::Client;

/// The sum of the series of `metric` whose labels contain all of `labels` (such as `worker="a"`).
///
/// # Errors
/// The page cannot be had, or has no such series.
pub async fn value(client: Client, metric: &str, labels: &[&str]) -> Result<f64> {
    let page = client.get("/metrics").await?;
    let text = String::from_utf8_lossy(&page.body);
    sum(&text, metric, labels).with_context(|| format!("no {metric} {labels:?} in\n{text}"))
}

fn sum(page: &str, metric: &str, labels: &[&str]) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, set) = series.split_once('{').unwrap_or((series, ""));
        let wanted = name == metric && labels.iter().all(|label| set.contains(label));
        wanted.then(|| value.parse::<f64>().ok()).flatten()
    });
    values.fold(None, |total, value| Some(total.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_chosen_by_name_and_labels_and_summed() {
        let page = "# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na_b{x=\"1\"} 9\nc 5\n";
        assert_eq!(sum(page, "a", &["x=\"1\""]), Some(7.0));
        assert_eq!(sum(page, "a", &["x=\"1\"", "y=\"3\""]), Some(4.0));
        assert_eq!((sum(page, "c", &[]), sum(page, "d", &[])), (Some(5.0), None));
    }
}
