//! Calls of the operator API that this version does not do, from one table.

use mesos_proto::v1::master::call::Type;

/// Calls that are answered with 501, and what they are for.
pub const UNSUPPORTED: &[(Type, &str)] = &[
    (Type::SetLoggingLevel, "changing the log level while running"),
    (Type::GetOperations, "operations of resource providers"),
];

/// Why a call is not done, if it is one of those.
#[must_use]
pub fn reason(kind: Type) -> Option<String> {
    let (_, what) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == kind)?;
    Some(format!("{} is not supported by this version ({what})", kind.as_str_name()))
}
