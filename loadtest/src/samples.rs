//! Labelled samples from a CSV file: `label,value,value,...`, one sample a line.
//!
//! Pure text to numbers. A first line whose label is no number is a heading; blank lines and lines that begin with
//! `#` are skipped. The payload turns samples into tensors, the answer check compares labels.

use anyhow::{Context, Result, bail};

/// One labelled sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Index of the right class.
    pub label: u32,
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// Samples of one length; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Parses the text of a CSV file; every value is multiplied by `scale`.
    ///
    /// # Errors
    /// The number of the first line that is not a sample or whose length differs from the first, or that there is
    /// none.
    pub fn parse(text: &str, scale: f32) -> Result<Self> {
        let mut samples: Vec<Sample> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let heading = index == 0 && line.split(',').next().is_some_and(|f| f.parse::<u32>().is_err());
            if line.is_empty() || line.starts_with('#') || heading {
                continue;
            }
            let at = || format!("line {}: write LABEL,VALUE,VALUE,...", index + 1);
            let sample = parse_line(line, scale).with_context(at)?;
            if samples.first().is_some_and(|first| first.values.len() != sample.values.len()) {
                bail!(
                    "line {}: {} values, the lines before have another number",
                    index + 1,
                    sample.values.len()
                );
            }
            samples.push(sample);
        }
        if samples.is_empty() {
            bail!("no samples: write LABEL,VALUE,VALUE,... lines");
        }
        Ok(Self(samples))
    }

    /// The samples in file order.
    #[must_use]
    pub fn as_slice(&self) -> &[Sample] {
        &self.0
    }

    /// Values of each sample.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.first().map_or(0, |sample| sample.values.len())
    }
}

fn parse_line(line: &str, scale: f32) -> Result<Sample> {
    let (label, values) = line.split_once(',').context("no values")?;
    let values = values.split(',').map(|v| v.trim().parse::<f32>().map(|v| v * scale));
    Ok(Sample { label: label.trim().parse()?, values: values.collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heading_comments_and_blank_lines_are_skipped_and_values_scaled() {
        let samples = Samples::parse("digit,p0,p1\n# a comment\n\n3,0,16\n1, 8 ,4\n", 0.0625).unwrap();
        let expected =
            [Sample { label: 3, values: vec![0.0, 1.0] }, Sample { label: 1, values: vec![0.5, 0.25] }];
        assert_eq!((samples.as_slice(), samples.width()), (expected.as_slice(), 2));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line) in
            [("1,2\n1,2,3", "line 2"), ("1,2\nx,2", "line 2"), ("1,x", "line 1"), ("1,2\n1", "line 2")]
        {
            let error = format!("{:#}", Samples::parse(text, 1.0).unwrap_err());
            assert!(error.contains(line), "{text:?}: {error}");
        }
        assert!(Samples::parse("label,value\n", 1.0).is_err());
    }
}
