//! RESERVE, UNRESERVE, CREATE and DESTROY, as gateways read them for the allocator.

use std::sync::Arc;

use mesos_core::message::Conversion;
use mesos_model::{
    Resource, Resources, Role, Value,
    resources::{Qualifier, Reservation, ReservationKind},
};

use crate::rng::Rng;

/// An operation on some of `left`, if one can be thought of. Whatever it makes carries the label, so that no two
/// operations make the same.
#[must_use]
pub fn draw(rng: &mut Rng, left: &Resources, role: &Role, label: &str) -> Option<Conversion> {
    let entries: Vec<&Resource> = left.iter().filter(|entry| matches!(entry.value, Value::Scalar(_))).collect();
    let entry = *entries.get(rng.below(entries.len() as u64) as usize)?;
    let Value::Scalar(there) = entry.value else { return None };
    let some = |rng: &mut Rng| {
        let part = i64::try_from(100 * rng.between(1, 10)).unwrap_or(100).min(there);
        Resource { value: Value::Scalar(part), ..entry.clone() }
    };
    if entry.qualifier.is_none() {
        let part = some(rng);
        return (role.as_str() != "*").then(|| {
            convert("RESERVE", part, |qualifier| {
                qualifier.reservations.push(Reservation {
                    kind: ReservationKind::Dynamic,
                    role: role.clone(),
                    principal: None,
                    labels: vec![("made-by".to_owned(), Some(label.to_owned()))],
                });
            })
        });
    }
    if is_volume(entry) || &*entry.name != "disk" || rng.below(3) == 0 {
        return undo(&if is_volume(entry) { entry.clone() } else { some(rng) });
    }
    let part = some(rng);
    Some(convert("CREATE", part, |qualifier| qualifier.disk = label.as_bytes().to_vec()))
}

/// The operation that takes an entry back: of a volume the volume, of a reservation the reservation.
#[must_use]
pub fn undo(entry: &Resource) -> Option<Conversion> {
    entry.qualifier.as_ref()?;
    Some(if is_volume(entry) {
        convert("DESTROY", entry.clone(), |qualifier| qualifier.disk.clear())
    } else {
        convert("UNRESERVE", entry.clone(), |qualifier| {
            qualifier.reservations.pop();
        })
    })
}

/// Whether a disk is a volume.
#[must_use]
pub fn is_volume(entry: &Resource) -> bool {
    entry.qualifier.as_ref().is_some_and(|qualifier| !qualifier.disk.is_empty())
}

fn convert(name: &str, consumed: Resource, change: impl FnOnce(&mut Qualifier)) -> Conversion {
    let mut qualifier = consumed.qualifier.as_deref().cloned().unwrap_or_default();
    change(&mut qualifier);
    let qualifier = (qualifier != Qualifier::default()).then(|| Arc::new(qualifier));
    let converted = Resource { qualifier, ..consumed.clone() };
    let bundle = |entry: Resource| Resources::try_from_entries([entry]).unwrap_or_default();
    Conversion { name: name.to_owned(), consumed: bundle(consumed), converted: bundle(converted) }
}
