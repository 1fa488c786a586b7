//! Operations that are understood but not done yet, and what a framework is told about them.

/// Mesos's operation, and why it fails.
const TABLE: &[(&str, &str)] = &[
    ("RESERVE", "dynamic reservations are not supported by this version"),
    ("UNRESERVE", "dynamic reservations are not supported by this version"),
    ("CREATE", "persistent volumes are not supported by this version"),
    ("DESTROY", "persistent volumes are not supported by this version"),
    ("GROW_VOLUME", "persistent volumes are not supported by this version"),
    ("SHRINK_VOLUME", "persistent volumes are not supported by this version"),
    ("CREATE_DISK", "storage resource providers are not supported by this version"),
    ("DESTROY_DISK", "storage resource providers are not supported by this version"),
];

/// Why an operation of this name is not done.
pub(super) fn reason(name: &str) -> String {
    let known = TABLE.iter().find(|(known, _)| *known == name);
    match known {
        Some((_, why)) => format!("{name} failed: {why}"),
        None => format!("{name} failed: unknown operation"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_mesos_that_is_not_a_launch_has_its_reason() {
        for (name, why) in TABLE {
            assert_eq!(reason(name), format!("{name} failed: {why}"));
        }
        assert_eq!(reason("DANCE"), "DANCE failed: unknown operation");
    }
}
