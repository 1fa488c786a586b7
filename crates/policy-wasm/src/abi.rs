//! Mesos policy ABI v1: the names of a module's exports and the bytes of a view.

use mesos_engine::policy::ClientView;

/// The version of the interface, which a module's `mesos_policy_abi` returns.
pub const ABI: i32 = 1;

/// Bytes of the buffer that a module keeps for a view. [`encode`] describes those that are in use; the others
/// are 0 and reserved, so that a field can be added without a new version.
pub const VIEW_BYTES: usize = 256;

/// The buffer's address is a multiple of this, so that a module can read it as a structure.
pub(crate) const VIEW_ALIGN: usize = 8;

pub(crate) const MEMORY: &str = "memory";
pub(crate) const ABI_EXPORT: &str = "mesos_policy_abi";
pub(crate) const VIEW_EXPORT: &str = "mesos_policy_view";
pub(crate) const SCORE_EXPORT: &str = "mesos_policy_score";
/// Called once, before everything else, if the module has it: it starts the runtime of a language.
pub(crate) const INITIALIZE_EXPORT: &str = "_initialize";
/// What a program has, which runs once and ends; a policy is a library.
pub(crate) const PROGRAM_EXPORT: &str = "_start";

/// The bytes of a view, little-endian; `docs/policies.md` has the same table for those who write modules.
pub(crate) fn encode(view: &ClientView) -> [u8; VIEW_BYTES] {
    let mut bytes = [0; VIEW_BYTES];
    let mut put = |at: usize, field: [u8; 8]| bytes[at..at + 8].copy_from_slice(&field);
    put(0, view.now_ms.to_le_bytes());
    put(8, view.waiting_since_ms.to_le_bytes());
    put(16, view.share_ppb.to_le_bytes());
    put(24, view.demand_ppb.to_le_bytes());
    put(32, view.weight_milli.to_le_bytes());
    put(40, view.priority.to_le_bytes());
    put(48, view.offers.to_le_bytes());
    put(56, view.arrival.to_le_bytes());
    for (index, amount) in view.allocated.iter().enumerate() {
        put(64 + 8 * index, amount.to_le_bytes());
    }
    for (index, amount) in view.total.iter().enumerate() {
        put(96 + 8 * index, amount.to_le_bytes());
    }
    put(128, u64::from(view.depth).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::{VIEW_BYTES, encode};
    use mesos_engine::policy::ClientView;

    /// The table in the documentation is what others build on, so the test reads it.
    #[test]
    fn every_field_is_where_the_documentation_says() {
        let view = ClientView {
            now_ms: 1,
            waiting_since_ms: 2,
            share_ppb: 3,
            demand_ppb: 4,
            weight_milli: 5,
            priority: -6,
            offers: 7,
            arrival: 8,
            depth: 9,
            allocated: [10, 11, 12, 13],
            total: [14, 15, 16, 17],
        };
        let expected = |field: &str| match field {
            "now_ms" => vec![1],
            "waiting_since_ms" => vec![2],
            "share_ppb" => vec![3],
            "demand_ppb" => vec![4],
            "weight_milli" => vec![5],
            "priority" => vec![-6],
            "offers" => vec![7],
            "arrival" => vec![8],
            "depth" => vec![9],
            "allocated" => vec![10, 11, 12, 13],
            "total" => vec![14, 15, 16, 17],
            other => panic!("the documentation has a field {other} that this test does not know"),
        };
        let bytes = encode(&view);
        let document = include_str!("../../../docs/policies.md");
        let mut covered = 0;
        let mut fields = 0;
        for line in document.lines().filter(|line| line.starts_with("| ") && line.contains("| `")) {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let Ok(offset) = cells[1].parse::<usize>() else { continue };
            assert_eq!(offset, covered, "the table has a gap or an overlap before {}", cells[3]);
            let values = expected(cells[3]);
            for (index, value) in values.iter().enumerate() {
                let at = offset + 8 * index;
                assert_eq!(i64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()), *value, "{}", cells[3]);
            }
            covered += 8 * values.len();
            fields += 1;
        }
        assert_eq!(fields, 11);
        assert!(bytes[covered..].iter().all(|byte| *byte == 0), "the reserved bytes are 0");
        assert_eq!(bytes.len(), VIEW_BYTES);
    }
}
