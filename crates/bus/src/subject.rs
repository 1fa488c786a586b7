//! What may be said on a bus: the rules for subjects, patterns, headers and sizes, the same on
//! every adapter, so that what passes in memory also passes on a server.

use bytes::Bytes;
use mesos_ports::bus::{BusError, Headers};

/// The longest subject or pattern, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 1024;
/// The largest payload of one message, in bytes. Adapters cut it into chunks where their wire wants it.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest sum of all header names and values of one message, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Header names that begin so belong to the adapters.
pub(crate) const RESERVED_HEADER: &str = "Mesos-Bus-";

/// Subjects that begin so are where requests wait for their answers.
pub(crate) const INBOX: &str = "_INBOX.";

/// Accepts a concrete subject: non-empty tokens between dots, no space, no wildcard.
pub fn check_subject(subject: &str) -> Result<(), BusError> {
    check_length(subject)?;
    // One pass over the bytes: this runs on every publish.
    let mut token_is_empty = true;
    for byte in subject.bytes() {
        match byte {
            b'.' if token_is_empty => return Err(refused(subject, "has an empty token")),
            b'.' => token_is_empty = true,
            b'*' | b'>' => return Err(refused(subject, "has a wildcard")),
            _ if is_forbidden(byte) => {
                return Err(refused(subject, "has a space or control character"));
            }
            _ => token_is_empty = false,
        }
    }
    if token_is_empty {
        return Err(refused(subject, "has an empty token"));
    }
    Ok(())
}

/// Accepts what can be subscribed to: as a subject, and `*` as a whole token, `>` as the whole last one.
pub fn check_pattern(pattern: &str) -> Result<(), BusError> {
    check_length(pattern)?;
    let mut tokens = pattern.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err(refused(pattern, "has an empty token")),
            "*" => {}
            ">" if tokens.peek().is_none() => {}
            ">" => return Err(refused(pattern, "has a > that is not last")),
            _ if token.contains(['*', '>']) => {
                return Err(refused(pattern, "has a wildcard inside a token"));
            }
            _ if token.bytes().any(is_forbidden) => {
                return Err(refused(pattern, "has a space or control character"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a checked pattern stands for more than one subject.
pub(crate) fn has_wildcard(pattern: &str) -> bool {
    pattern.bytes().any(|byte| byte == b'*' || byte == b'>')
}

/// Accepts a message as a whole.
pub(crate) fn check_message(subject: &str, headers: &Headers, payload: &Bytes) -> Result<(), BusError> {
    check_subject(subject)?;
    if !headers.is_empty() {
        check_headers(headers)?;
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(BusError::Refused(format!(
            "a payload of {} bytes is larger than {PAYLOAD_BYTES_MAX}",
            payload.len()
        )));
    }
    Ok(())
}

/// Headers are printable ASCII, because that is what every wire carries unchanged: no colon or space
/// in a name, no space at the ends of a value.
fn check_headers(headers: &Headers) -> Result<(), BusError> {
    let mut bytes = 0;
    for (name, value) in headers {
        bytes += name.len() + value.len();
        let name_is_good = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':' && byte != b',')
            && !name.starts_with(RESERVED_HEADER);
        let value_is_good =
            value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && value.trim().len() == value.len();
        if !name_is_good || !value_is_good {
            return Err(BusError::Refused(format!("the header {name:?} is not acceptable")));
        }
    }
    if bytes > HEADER_BYTES_MAX {
        return Err(BusError::Refused(format!("headers of {bytes} bytes are larger than {HEADER_BYTES_MAX}")));
    }
    Ok(())
}

fn check_length(text: &str) -> Result<(), BusError> {
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(BusError::Refused(format!("a subject of {} bytes is too long", text.len())));
    }
    Ok(())
}

fn is_forbidden(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

fn refused(subject: &str, why: &str) -> BusError {
    BusError::Refused(format!("the subject {subject:?} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_made_of_plain_tokens() {
        for good in ["a", "a.b", "mesos.c.agent.x-1.cmd", "_INBOX.q.1", "ä.b"] {
            assert!(check_subject(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\tb", "a\r\nPUB x", "a*b", "\u{7f}"] {
            assert!(matches!(check_subject(bad), Err(BusError::Refused(_))), "{bad:?}");
        }
        assert!(check_subject(&"a".repeat(SUBJECT_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_pattern_has_wildcards_only_as_whole_tokens() {
        for good in ["a", "*", ">", "a.*", "a.>", "*.b.*", "*.>"] {
            assert!(check_pattern(good).is_ok(), "{good}");
        }
        for bad in ["", "a.", "a..>", ">.a", "a.>.b", "a*", "a.b>", "a b", "* "] {
            assert!(matches!(check_pattern(bad), Err(BusError::Refused(_))), "{bad:?}");
        }
    }

    #[test]
    fn headers_that_could_break_a_wire_are_refused() {
        let with =
            |name: &str, value: &str| check_message("a", &vec![(name.to_owned(), value.to_owned())], &Bytes::new());
        assert!(with("traceparent", "00-ab-cd-01").is_ok());
        assert!(with("kind", "").is_ok());
        for (name, value) in [
            ("", "x"),
            ("a:b", "x"),
            ("a b", "x"),
            ("a", "x\r\ny: z"),
            ("a", " x"),
            ("a", "ü"),
            ("Mesos-Bus-Chunk", "x"),
        ] {
            assert!(matches!(with(name, value), Err(BusError::Refused(_))), "{name:?}: {value:?}");
        }
    }
}
