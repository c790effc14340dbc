//! A figure of a study held against its limit: what the exit status and `-o json` are made of.

use serde::Serialize;

/// One figure and what it must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was measured, where and for whom.
    pub name: String,
    /// What came out: shares in 0..1, times in milliseconds.
    pub value: f64,
    /// What it is held against; the name says whether at least or at most.
    pub limit: f64,
    /// Whether it holds.
    pub ok: bool,
}

/// Which side of its limit a figure must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The limit or more.
    AtLeast,
    /// The limit or less.
    AtMost,
}

impl Check {
    /// Holds a value against a limit. A value that is no number never holds.
    #[must_use]
    pub fn new(name: String, value: f64, side: Side, limit: f64) -> Self {
        let ok = match side {
            Side::AtLeast => value >= limit,
            Side::AtMost => value <= limit,
        };
        Self { name, value, limit, ok }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_its_limit_holds_and_no_number_never_does() {
        for (value, least, most) in
            [(0.5, true, true), (0.6, true, false), (0.4, false, true), (f64::NAN, false, false)]
        {
            let holds = |side| Check::new(String::new(), value, side, 0.5).ok;
            assert_eq!((holds(Side::AtLeast), holds(Side::AtMost)), (least, most), "{value}");
        }
    }

    #[test]
    fn a_check_is_written_with_its_four_fields_and_no_other() {
        let check = Check::new("a".to_owned(), 0.25, Side::AtLeast, 0.5);
        let json = serde_json::to_string(&check).unwrap();
        assert_eq!(json, r#"{"name":"a","value":0.25,"limit":0.5,"ok":false}"#);
    }
}
