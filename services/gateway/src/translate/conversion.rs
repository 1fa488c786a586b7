//! Reservations and volumes: from an operation to what goes and what comes.

use mesos_core::message::Conversion;
use mesos_model::{
    Resources,
    resources::{Qualifier, milli_from_f64},
};
use mesos_proto::v1;

use super::resources::from_proto;

fn some(resources: &[v1::Resource]) -> Result<Resources, String> {
    if resources.is_empty() {
        return Err("there are no resources".to_owned());
    }
    from_proto(resources)
}

/// The same with their qualifiers changed.
fn changed(resources: &Resources, change: impl Fn(&mut Qualifier) -> Result<(), String>) -> Result<Resources, String> {
    let entries = resources.iter().map(|entry| {
        let mut entry = entry.clone();
        let mut qualifier = entry.qualifier.as_deref().cloned().unwrap_or_default();
        change(&mut qualifier)?;
        entry.qualifier = (qualifier != Qualifier::default()).then(|| std::sync::Arc::new(qualifier));
        Ok(entry)
    });
    let entries = entries.collect::<Result<Vec<_>, String>>()?;
    Resources::try_from_entries(entries).map_err(|error| error.to_string())
}

fn unreserved(resources: &Resources) -> Result<Resources, String> {
    changed(resources, |qualifier| {
        qualifier.reservations.pop().map(drop).ok_or_else(|| "the resources are not reserved".to_owned())
    })
}

fn conversion(name: &str, consumed: Resources, converted: Resources) -> Conversion {
    Conversion { name: name.to_owned(), consumed, converted }
}

/// RESERVE; `source` is what they are before, if that is not the same with one reservation less.
///
/// # Errors
/// Says what is wrong with the resources.
pub fn reserve(resources: &[v1::Resource], source: &[v1::Resource]) -> Result<Conversion, String> {
    let converted = some(resources)?;
    let consumed = if source.is_empty() { unreserved(&converted)? } else { from_proto(source)? };
    Ok(conversion("RESERVE", consumed, converted))
}

/// UNRESERVE.
///
/// # Errors
/// Says what is wrong with the resources.
pub fn unreserve(resources: &[v1::Resource]) -> Result<Conversion, String> {
    let consumed = some(resources)?;
    let converted = unreserved(&consumed)?;
    Ok(conversion("UNRESERVE", consumed, converted))
}

fn without_volume(volumes: &Resources) -> Result<Resources, String> {
    changed(volumes, |qualifier| {
        if qualifier.disk.is_empty() {
            return Err("the resources are no volumes".to_owned());
        }
        qualifier.disk.clear();
        Ok(())
    })
}

/// CREATE.
///
/// # Errors
/// Says what is wrong with the volumes.
pub fn create(volumes: &[v1::Resource]) -> Result<Conversion, String> {
    let converted = some(volumes)?;
    Ok(conversion("CREATE", without_volume(&converted)?, converted))
}

/// DESTROY.
///
/// # Errors
/// Says what is wrong with the volumes.
pub fn destroy(volumes: &[v1::Resource]) -> Result<Conversion, String> {
    let consumed = some(volumes)?;
    let converted = without_volume(&consumed)?;
    Ok(conversion("DESTROY", consumed, converted))
}

fn resized(volume: &v1::Resource, milli: i64) -> Result<(Resources, Resources), String> {
    let before = from_proto(std::slice::from_ref(volume))?;
    let size = before.scalar("disk") + milli;
    if size <= 0 {
        return Err("nothing would be left of the volume".to_owned());
    }
    let mut after = volume.clone();
    after.scalar = Some(v1::value::Scalar { value: super::resources::amount(size) });
    Ok((before, from_proto(&[after])?))
}

/// `GROW_VOLUME`.
///
/// # Errors
/// Says what is wrong with the volume or the addition.
pub fn grow(volume: &v1::Resource, addition: &v1::Resource) -> Result<Conversion, String> {
    let addition = from_proto(std::slice::from_ref(addition))?;
    let (before, after) = resized(volume, addition.scalar("disk"))?;
    Ok(conversion("GROW_VOLUME", before.plus(&addition), after))
}

/// `SHRINK_VOLUME`.
///
/// # Errors
/// Says what is wrong with the volume or the amount.
pub fn shrink(volume: &v1::Resource, subtract: v1::value::Scalar) -> Result<Conversion, String> {
    let milli = milli_from_f64("subtract", subtract.value).map_err(|error| error.to_string())?;
    if milli == 0 {
        return Err("'subtract' must be above 0".to_owned());
    }
    let (before, after) = resized(volume, -milli)?;
    let mut freed = volume.clone();
    freed.disk = None;
    freed.scalar = Some(v1::value::Scalar { value: super::resources::amount(milli) });
    Ok(conversion("SHRINK_VOLUME", before, after.plus(&from_proto(&[freed])?)))
}
