//! One newtype per kind of id. Ids are shared strings: cloning one is cheap.
//!
//! What a client may choose as an id follows Mesos (`src/common/validation.cpp`): not empty, at most
//! 255 bytes, no slash, backslash or control character, neither `.` nor `..`.

use std::{borrow::Borrow, cell::RefCell, cmp::Ordering, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de::Visitor};

/// The longest id, in bytes.
pub const ID_LENGTH_MAX: usize = 255;

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("ID must be non-empty")]
    Empty,
    /// More than [`ID_LENGTH_MAX`] bytes.
    #[error("ID must not be greater than {ID_LENGTH_MAX} characters")]
    TooLong,
    /// `.` or `..`.
    #[error("'{0}' is disallowed")]
    Dots(String),
    /// A slash, a backslash or a control character.
    #[error("'{0}' contains invalid characters")]
    Characters(String),
}

/// Checks a text that a client chose as an id.
///
/// # Errors
/// Says in Mesos's words what is wrong with it.
pub fn validate(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_LENGTH_MAX {
        return Err(IdError::TooLong);
    }
    if text == "." || text == ".." {
        return Err(IdError::Dots(text.to_owned()));
    }
    if text.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        return Err(IdError::Characters(text.escape_debug().to_string()));
    }
    Ok(())
}

/// The longest role, in bytes.
pub const ROLE_LENGTH_MAX: usize = 1024;

/// Why a text is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// Nothing there.
    #[error("Empty role name is invalid")]
    Empty,
    /// More than [`ROLE_LENGTH_MAX`] bytes.
    #[error("Role name is longer than {ROLE_LENGTH_MAX} bytes")]
    TooLong,
    /// One of its parts may not be as it is.
    #[error("Role '{role}' is invalid: it {wrong}")]
    Part {
        /// At most 80 characters of the text, made printable.
        role: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
}

/// Checks a text that is to name a role (`src/common/roles.cpp`).
///
/// # Errors
/// Says what is wrong with it.
pub fn validate_role(text: &str) -> Result<(), RoleError> {
    if text == "*" {
        return Ok(());
    }
    if text.is_empty() {
        return Err(RoleError::Empty);
    }
    for part in text.split('/') {
        let wrong = match part {
            "" => "starts or ends with a slash or has two in a row",
            "." | ".." | "*" => "has '.', '..' or '*' as a part",
            part if part.starts_with('-') => "has a part that starts with a dash",
            part if part.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') => {
                "contains whitespace, a backslash or a control character"
            }
            _ => continue,
        };
        return Err(RoleError::Part { role: text.escape_debug().take(80).collect(), wrong });
    }
    if text.len() > ROLE_LENGTH_MAX { Err(RoleError::TooLong) } else { Ok(()) }
}

/// Reads a text into shared memory at once; serde's own way there is by a `String` that is copied and thrown away.
struct SharedText;

impl Visitor<'_> for SharedText {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Arc<str>, E> {
        Ok(Arc::from(text))
    }
}

thread_local! {
    /// Texts that were read lately and are likely to come again, by a hash: a million tasks are of few frameworks and
    /// roles.
    static LATELY: RefCell<[Option<Arc<str>>; 64]> = const { RefCell::new([const { None }; 64]) };
}

/// Reads a text that is likely to be one of few.
struct OftenText;

impl Visitor<'_> for OftenText {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Arc<str>, E> {
        let hash = text.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        LATELY.with_borrow_mut(|lately| {
            let slot = &mut lately[(hash % 64) as usize];
            match slot {
                Some(known) if **known == *text => Ok(known.clone()),
                _ => Ok(slot.insert(Arc::from(text)).clone()),
            }
        })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        id!($(#[$doc])* $name, SharedText);
    };
    ($(#[$doc:meta])* $name:ident, $reader:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text as it is; see [`validate`] for what clients may choose.
            pub fn new(text: impl AsRef<str>) -> Self {
                $name(Arc::from(text.as_ref()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name(Arc::from(""))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name::new(text)
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                // Clones of one id are compared most.
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($reader).map($name)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// `<leader>-S<n>`.
    AgentId
);
id!(
    /// `<leader>-<nnnn>`, or whatever a framework brings along after a failover.
    FrameworkId,
    OftenText
);
id!(
    /// `<leader>-O<n>`.
    OfferId
);
id!(
    /// Chosen by the framework.
    TaskId
);
id!(
    /// Chosen by the framework; of a command task it is the task's id.
    ExecutorId
);
id!(
    /// `<leader>-L<n>`: one accepted launch of one executor. Runs at most once, anywhere.
    LaunchId
);
id!(
    /// A path such as `ads/bidding`; `*` is everybody's.
    Role,
    OftenText
);
id!(
    /// Names one running gateway process, fresh at each start.
    GatewayId
);
id!(
    /// Chosen by whoever calls; a repeat of a call has the same one.
    CallId
);

impl ExecutorId {
    /// Of a command task, the executor is called as the task is: then both are kept once.
    pub fn share_with(&mut self, task: &TaskId) {
        if self.0 == task.0 {
            self.0 = task.0.clone();
        }
    }
}

/// A term of a service: the higher epoch is newer, and the leader's UUID tells two apart that were
/// never meant to share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term {
    /// Rises with each term.
    pub epoch: u64,
    /// Fresh each term; a UUID as a number.
    pub leader: u128,
}

impl Term {
    /// The leader's UUID in its usual text form; ids that this term makes begin with it.
    #[must_use]
    pub fn leader_text(&self) -> String {
        uuid_text(self.leader)
    }
}

/// A UUID in its usual text form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[must_use]
pub fn uuid_text(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    format!("{}-{}-{}-{}-{}", &hex[0..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// The inverse of [`uuid_text`]; `None` for anything else.
#[must_use]
pub fn uuid_parse(text: &str) -> Option<u128> {
    let dashes = [8, 13, 18, 23];
    if text.len() != 36 || !text.is_ascii() || dashes.iter().any(|&i| text.as_bytes()[i] != b'-') {
        return None;
    }
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_mesos_refuses_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a.b", "a b", "a*b>c", "...", &"x".repeat(255), "ü"] {
            assert_eq!(validate(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn role_names_follow_mesos() {
        for good in ["*", "a", "a/b/c", "a.b", "a-b", "ü", &"x".repeat(1024)] {
            assert_eq!(validate_role(good), Ok(()), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "a//b", ".", "..", "a/..", "-a", "a/-b", "a b", "a\tb", "a\\b", "a\0", "a/*"] {
            assert!(validate_role(bad).is_err(), "{bad:?}");
        }
        assert_eq!(validate_role(&"x".repeat(1025)), Err(RoleError::TooLong));
    }

    #[test]
    fn a_uuid_survives_its_text_form() {
        let uuid = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(uuid_text(uuid), "01234567-89ab-cdef-0011-223344556677");
        assert_eq!(uuid_parse(&uuid_text(uuid)), Some(uuid));
        assert_eq!(uuid_parse("01234567-89ab-cdef-0011-22334455667"), None);
        assert_eq!(uuid_parse("g1234567-89ab-cdef-0011-223344556677"), None);
    }
}
