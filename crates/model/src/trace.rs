//! W3C trace context: which trace a message belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A position in a trace. Only sampled traces travel; an unsampled one is `None` wherever a trace may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace {
    /// The trace.
    pub trace_id: u128,
    /// The span that caused what carries this.
    pub span_id: u64,
}

impl Trace {
    /// Reads a `traceparent` header; `None` if it is malformed or not sampled.
    #[must_use]
    pub fn parse(text: &str) -> Option<Trace> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let trace_id = u128::from_str_radix(trace, 16).ok()?;
        let span_id = u64::from_str_radix(span, 16).ok()?;
        (flags & 1 == 1 && trace_id != 0 && span_id != 0).then_some(Trace { trace_id, span_id })
    }
}

impl fmt::Display for Trace {
    /// The `traceparent` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_survives_its_text_form() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(Trace::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
    }

    #[test]
    fn unsampled_and_malformed_ones_are_no_trace() {
        for text in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f-00f067aa0ba902b7-01",
            "",
            "garbage",
        ] {
            assert_eq!(Trace::parse(text), None, "{text}");
        }
    }
}
