//! Operations that make other resources of an agent's resources: reservations and volumes.
//!
//! What can be found wrong without knowing the cluster is found here, in the words of Mesos where they are
//! known (`src/master/validation.cpp`, `operation`). Frameworks and operators ask for the same.

use std::{collections::BTreeSet, sync::Arc};

use mesos_core::message::Conversion;
use mesos_model::{Reservation, ReservationKind, Resource, Resources, Value, resources::Qualifier};
use mesos_proto::{
    prost::Message as _,
    v1::{
        self,
        resource::{DiskInfo, disk_info::source::Type as SourceType},
    },
    validate::validate_id,
};

use super::resources::{from_proto, printable};

/// RESERVE: `list` as it is to be; `source` as it is now, or without an entry for `list` with one
/// reservation less.
///
/// # Errors
/// Says what is wrong, in Mesos's words.
pub fn reserve(list: &[v1::Resource], source: &[v1::Resource]) -> Result<Conversion, String> {
    let converted = read(list)?;
    dynamic(list, &converted)?;
    if let Some(volume) = converted.iter().find(|resource| has_persistence(resource)) {
        return Err(format!("A persistent volume {} must already be reserved", text(volume)));
    }
    let consumed = if source.is_empty() { popped(&converted) } else { read_source(source, &converted)? };
    Ok(Conversion { name: "RESERVE".to_owned(), consumed, converted })
}

fn read_source(source: &[v1::Resource], target: &Resources) -> Result<Resources, String> {
    let source = from_proto(source).map_err(|error| format!("Invalid source: {error}"))?;
    for (what, resources) in [("source", &source), ("resources", target)] {
        let mut stacks = resources.iter().map(stack);
        let first = stacks.next();
        if stacks.any(|stack| Some(stack) != first) {
            return Err(format!("Invalid {what}: Mixed reservations are not supported: {resources}"));
        }
        if let Some(resource) = resources.iter().find(|resource| resource.is_revocable() || has_persistence(resource)) {
            return Err(format!("Invalid {what}: {} cannot be reserved anew", text(resource)));
        }
    }
    if unreserved(&source) != unreserved(target) {
        return Err(format!(
            "Source and target resources should refer to identical resource quantities: {source} vs. {target}"
        ));
    }
    Ok(source)
}

/// UNRESERVE: takes the last reservation off each of `list`.
///
/// # Errors
/// Says what is wrong, in Mesos's words.
pub fn unreserve(list: &[v1::Resource]) -> Result<Conversion, String> {
    let consumed = read(list)?;
    dynamic(list, &consumed)?;
    if let Some(volume) = consumed.iter().find(|resource| has_persistence(resource)) {
        return Err(format!(
            "A dynamically reserved persistent volume {} cannot be unreserved directly. Please destroy the persistent \
             volume first then unreserve the resource",
            text(volume)
        ));
    }
    let converted = popped(&consumed);
    Ok(Conversion { name: "UNRESERVE".to_owned(), consumed, converted })
}

/// CREATE: makes volumes of the disk that they are on.
///
/// # Errors
/// Says what is wrong, in Mesos's words.
pub fn create(volumes: &[v1::Resource]) -> Result<Conversion, String> {
    let converted = read_volumes(volumes)?;
    let consumed = plain(&converted)?;
    Ok(Conversion { name: "CREATE".to_owned(), consumed, converted })
}

/// DESTROY: makes plain disk of volumes again; their data is lost.
///
/// # Errors
/// Says what is wrong, in Mesos's words.
pub fn destroy(volumes: &[v1::Resource]) -> Result<Conversion, String> {
    let consumed = read_volumes(volumes)?;
    let converted = plain(&consumed)?;
    Ok(Conversion { name: "DESTROY".to_owned(), consumed, converted })
}

/// GROW_VOLUME: adds plain disk to a volume, which keeps its data.
///
/// # Errors
/// Says what is wrong, in Mesos's words.
pub fn grow(volume: &v1::Resource, addition: &v1::Resource) -> Result<Conversion, String> {
    let field = |name: &str, error: String| format!("Invalid resource in the 'GrowVolume.{name}' field: {error}");
    let before = from_proto(std::slice::from_ref(volume)).map_err(|error| field("volume", error))?;
    let added = from_proto(std::slice::from_ref(addition)).map_err(|error| field("addition", error))?;
    if size(&added) <= 0 {
        return Err("The size of 'GrowVolume.addition' field must be greater than zero".to_owned());
    }
    if volume.provider_id.is_some() {
        return Err("Growing a volume from a resource provider is not supported".to_owned());
    }
    volume_error(volume)
        .map_or(Ok(()), |error| Err(format!("Invalid persistent volume in the 'GrowVolume.volume' field: {error}")))?;
    if volume.shared.is_some() {
        return Err("Growing a shared persistent volume is not supported".to_owned());
    }
    if is_mount(volume) {
        return Err("Growing a persistent volume on a MOUNT disk is not supported: it has the whole disk".to_owned());
    }
    if resized(&plain(&before)?, size(&added)) != added {
        return Err("Incompatible resources in the 'GrowVolume.volume' and 'GrowVolume.addition' fields".to_owned());
    }
    let converted = resized(&before, size(&before) + size(&added));
    Ok(Conversion { name: "GROW_VOLUME".to_owned(), consumed: before.plus(&added), converted })
}

/// SHRINK_VOLUME: takes plain disk off a volume, which keeps its data.
///
/// # Errors
/// Says what is wrong, in Mesos's words.
pub fn shrink(volume: &v1::Resource, subtract: v1::value::Scalar) -> Result<Conversion, String> {
    let before = from_proto(std::slice::from_ref(volume))
        .map_err(|error| format!("Invalid resource in the 'ShrinkVolume.volume' field: {error}"))?;
    let less = mesos_model::resources::milli_from_f64("disk", subtract.value)
        .map_err(|error| format!("Invalid 'ShrinkVolume.subtract' field: {error}"))?;
    if less <= 0 {
        return Err("Value of 'ShrinkVolume.subtract' must be greater than zero".to_owned());
    }
    if volume.provider_id.is_some() {
        return Err("Shrinking a volume from a resource provider is not supported".to_owned());
    }
    volume_error(volume).map_or(Ok(()), |error| {
        Err(format!("Invalid persistent volume in the 'ShrinkVolume.volume' field: {error}"))
    })?;
    if volume.shared.is_some() {
        return Err("Shrinking a shared persistent volume is not supported".to_owned());
    }
    if is_mount(volume) {
        return Err("Shrinking a persistent volume on a MOUNT disk is not supported due to the fact that MOUNT disks \
                    cannot be subdivided"
            .to_owned());
    }
    if less >= size(&before) {
        return Err(
            "Value of 'ShrinkVolume.subtract' must be smaller than the size of 'ShrinkVolume.volume'".to_owned()
        );
    }
    let rest = resized(&before, size(&before) - less);
    let freed = resized(&plain(&before)?, less);
    Ok(Conversion { name: "SHRINK_VOLUME".to_owned(), consumed: before, converted: rest.plus(&freed) })
}

fn read(list: &[v1::Resource]) -> Result<Resources, String> {
    if list.is_empty() {
        return Err("Invalid resources: none are named".to_owned());
    }
    let resources = from_proto(list).map_err(|error| format!("Invalid resources: {error}"))?;
    if list.iter().any(|resource| resource.provider_id.is_some()) {
        return Err("Invalid resources: resource providers are not supported".to_owned());
    }
    Ok(resources)
}

/// Each of them must be reserved by an operation, and of what is not taken back at any time.
fn dynamic(list: &[v1::Resource], resources: &Resources) -> Result<(), String> {
    for resource in resources {
        if stack(resource).last().is_none_or(|last| last.kind != ReservationKind::Dynamic) {
            return Err(format!("Resource {} is not dynamically reserved", text(resource)));
        }
        if resource.is_revocable() {
            return Err(format!(
                "Invalid resources: Dynamically reserved resource {} cannot be created from revocable resources",
                text(resource)
            ));
        }
    }
    let not_volume = |resource: &&v1::Resource| resource.shared.is_some() && persistence(resource).is_none();
    match list.iter().find(not_volume) {
        Some(resource) => {
            Err(format!("Invalid resources: Resource '{}' is shared and no volume", printable(&resource.name)))
        }
        None => Ok(()),
    }
}

fn read_volumes(list: &[v1::Resource]) -> Result<Resources, String> {
    if list.is_empty() {
        return Err("Invalid resources: no volumes are named".to_owned());
    }
    // Twice the same volume would add up to one of twice the size.
    let mut seen = BTreeSet::new();
    for volume in list {
        from_proto(std::slice::from_ref(volume)).map_err(|error| format!("Invalid resources: {error}"))?;
        if volume.provider_id.is_some() {
            return Err("Invalid resources: resource providers are not supported".to_owned());
        }
        if let Some(error) = volume_error(volume) {
            return Err(format!("Not a persistent volume: {error}"));
        }
        let id = persistence(volume).map_or("", |persistence| &persistence.id);
        if !seen.insert((role(volume), id)) {
            return Err(format!("Persistence ID '{}' is not unique", printable(id)));
        }
    }
    read(list)
}

fn volume_error(volume: &v1::Resource) -> Option<String> {
    let disk = match &volume.disk {
        Some(disk) => disk,
        None => return Some(format!("Resource '{}' does not have DiskInfo", printable(&volume.name))),
    };
    let Some(persistence) = &disk.persistence else {
        return Some("'persistence' is not set in DiskInfo".to_owned());
    };
    if volume.revocable.is_some() {
        return Some("Persistent volumes cannot be created from revocable resources".to_owned());
    }
    if role(volume) == "*" {
        return Some("Persistent volumes cannot be created from unreserved resources".to_owned());
    }
    let Some(how) = &disk.volume else {
        return Some("Expecting 'volume' to be set for persistent volume".to_owned());
    };
    if how.mode() == v1::volume::Mode::Ro {
        return Some("Read-only persistent volume not supported".to_owned());
    }
    if how.host_path.is_some() || how.source.is_some() || how.image.is_some() {
        return Some("Expecting 'host_path' to be unset for persistent volume".to_owned());
    }
    if how.container_path.is_empty() {
        return Some("Expecting 'volume.container_path' to be set for persistent volume".to_owned());
    }
    if let Err(error) = validate_id(&persistence.id) {
        return Some(format!("Invalid persistence ID for persistent volume: {error}"));
    }
    match disk.source.as_ref().map(|source| source.r#type()) {
        None | Some(SourceType::Path | SourceType::Mount) => None,
        Some(other) => Some(format!("Persistent volumes cannot be created on a {} disk", other.as_str_name())),
    }
}

fn persistence(resource: &v1::Resource) -> Option<&v1::resource::disk_info::Persistence> {
    resource.disk.as_ref()?.persistence.as_ref()
}

fn is_mount(volume: &v1::Resource) -> bool {
    let source = volume.disk.as_ref().and_then(|disk| disk.source.as_ref());
    source.is_some_and(|source| source.r#type() == SourceType::Mount)
}

/// The role that it is reserved for, in either form.
fn role(resource: &v1::Resource) -> &str {
    match resource.reservations.last() {
        Some(last) => last.role.as_deref().unwrap_or("*"),
        None => resource.role.as_deref().unwrap_or("*"),
    }
}

fn stack(resource: &Resource) -> &[Reservation] {
    resource.qualifier.as_deref().map_or(&[], |qualifier| &qualifier.reservations)
}

fn disk(resource: &Resource) -> Option<DiskInfo> {
    let bytes = &resource.qualifier.as_deref()?.disk;
    (!bytes.is_empty()).then(|| DiskInfo::decode(bytes.as_slice()).ok()).flatten()
}

fn has_persistence(resource: &Resource) -> bool {
    disk(resource).is_some_and(|disk| disk.persistence.is_some())
}

/// The same amounts with other qualifiers.
fn requalified(resources: &Resources, change: impl Fn(&mut Qualifier)) -> Resources {
    let mut out = Resources::new();
    for resource in resources {
        let mut qualifier = resource.qualifier.as_deref().cloned().unwrap_or_default();
        change(&mut qualifier);
        let qualifier = (qualifier != Qualifier::default()).then(|| Arc::new(qualifier));
        out.add_entry(Resource { qualifier, ..resource.clone() });
    }
    out
}

fn popped(resources: &Resources) -> Resources {
    requalified(resources, |qualifier| {
        qualifier.reservations.pop();
    })
}

fn unreserved(resources: &Resources) -> Resources {
    requalified(resources, |qualifier| qualifier.reservations.clear())
}

/// The disk that volumes are on: what it comes from and who it is reserved for stays.
fn plain(volumes: &Resources) -> Result<Resources, String> {
    let plain = requalified(volumes, |qualifier| {
        qualifier.shared = false;
        if let Ok(disk) = DiskInfo::decode(qualifier.disk.as_slice()) {
            qualifier.disk = DiskInfo { persistence: None, volume: None, ..disk }.encode_to_vec();
        }
    });
    // Two volumes may be on one disk, and their sum must still be an amount.
    Resources::try_from_entries(plain.iter().cloned()).map_err(|error| format!("Invalid resources: {error}"))
}

/// The amount of the only entry, in thousandths.
fn size(resources: &Resources) -> i64 {
    resources.scalar("disk")
}

fn resized(resources: &Resources, milli: i64) -> Resources {
    let mut out = Resources::new();
    for resource in resources {
        out.add_entry(Resource { value: Value::Scalar(milli), ..resource.clone() });
    }
    out
}

fn text(resource: &Resource) -> String {
    let mut one = Resources::new();
    one.add_entry(resource.clone());
    one.to_string()
}

#[cfg(test)]
mod tests {
    use mesos_proto::json;

    use super::*;

    fn resource(text: &str) -> v1::Resource {
        json::decode(text.as_bytes()).unwrap()
    }

    fn cpus(qualifier: &str) -> v1::Resource {
        resource(&format!(r#"{{"name":"cpus","type":"SCALAR","scalar":{{"value":2}}{qualifier}}}"#))
    }

    fn disk(size: f64, more: &str) -> v1::Resource {
        resource(&format!(
            r#"{{"name":"disk","type":"SCALAR","scalar":{{"value":{size}}},
                "reservations":[{{"type":"DYNAMIC","role":"ads","principal":"p"}}]{more}}}"#
        ))
    }

    fn volume(size: f64, id: &str, source: &str) -> v1::Resource {
        disk(
            size,
            &format!(
                r#","disk":{{"persistence":{{"id":"{id}"}},"volume":{{"container_path":"data","mode":"RW"}}{source}}}"#
            ),
        )
    }

    const MOUNT: &str = r#","source":{"type":"MOUNT","mount":{"root":"/m"}}"#;
    const PATH: &str = r#","source":{"type":"PATH","path":{"root":"/p"}}"#;

    fn of(list: &[v1::Resource]) -> Resources {
        from_proto(list).unwrap()
    }

    #[test]
    fn a_reservation_takes_what_has_one_less_and_comes_off_again() {
        let cases = [
            (r#","role":"ads","reservation":{"principal":"p"}"#, ""),
            (r#","reservations":[{"type":"DYNAMIC","role":"ads"}]"#, ""),
            (
                r#","reservations":[{"type":"STATIC","role":"ads"},{"type":"DYNAMIC","role":"ads/web"}]"#,
                r#","role":"ads""#,
            ),
        ];
        for (reserved, before) in cases {
            let (reserved, before) = ([cpus(reserved)], [cpus(before)]);
            let made = reserve(&reserved, &[]).unwrap();
            assert_eq!((made.consumed, made.converted), (of(&before), of(&reserved)));
            let undone = unreserve(&reserved).unwrap();
            assert_eq!((undone.consumed, undone.converted), (of(&reserved), of(&before)));
        }
    }

    #[test]
    fn a_reservation_with_a_source_takes_the_source() {
        let (ads, web) = (cpus(r#","reservations":[{"type":"DYNAMIC","role":"ads"}]"#), cpus(r#","role":"web""#));
        let made = reserve(std::slice::from_ref(&ads), std::slice::from_ref(&web)).unwrap();
        assert_eq!((made.consumed, made.converted), (of(&[web.clone()]), of(&[ads.clone()])));
        let more = v1::Resource { scalar: Some(v1::value::Scalar { value: 3.0 }), ..web.clone() };
        assert!(reserve(std::slice::from_ref(&ads), &[more]).unwrap_err().contains("identical resource quantities"));
        let mixed = v1::Resource { name: "mem".into(), role: Some("x".into()), ..web.clone() };
        assert!(reserve(&[ads], &[web, mixed]).unwrap_err().contains("Mixed reservations"));
    }

    #[test]
    fn what_cannot_be_reserved_is_said() {
        for (qualifier, words) in [
            ("", "is not dynamically reserved"),
            (r#","role":"ads""#, "is not dynamically reserved"),
            (r#","role":"*","reservation":{}"#, "cannot be dynamically reserved"),
            (r#","role":"ads","reservation":{},"revocable":{}"#, "revocable"),
            (r#","role":"ads","reservation":{},"shared":{}"#, "shared"),
            (r#","role":"ads","reservation":{},"provider_id":{"value":"x"}"#, "resource providers"),
            (r#","reservations":[{"type":"DYNAMIC","role":"ads"},{"type":"STATIC","role":"ads/a"}]"#, "STATIC"),
            (r#","reservations":[{"type":"DYNAMIC","role":"ads"},{"type":"DYNAMIC","role":"web"}]"#, "refine"),
        ] {
            for error in [reserve(&[cpus(qualifier)], &[]).unwrap_err(), unreserve(&[cpus(qualifier)]).unwrap_err()] {
                assert!(error.contains(words), "{qualifier}: {error}");
            }
        }
        assert!(reserve(&[], &[]).is_err());
        assert!(reserve(&[volume(1.0, "v", "")], &[]).unwrap_err().contains("must already be reserved"));
        assert!(unreserve(&[volume(1.0, "v", "")]).unwrap_err().contains("destroy the persistent volume first"));
    }

    #[test]
    fn a_volume_takes_the_disk_that_it_is_on_and_gives_it_back() {
        for source in ["", MOUNT, PATH] {
            let on = if source.is_empty() { String::new() } else { format!(r#","disk":{{{}}}"#, &source[1..]) };
            let list = [volume(64.0, "v", source)];
            let made = create(&list).unwrap();
            assert_eq!((made.consumed, made.converted), (of(&[disk(64.0, &on)]), of(&list)), "{source}");
            let gone = destroy(&list).unwrap();
            assert_eq!((gone.consumed, gone.converted), (of(&list), of(&[disk(64.0, &on)])), "{source}");
        }
        let shared = v1::Resource { shared: Some(v1::resource::SharedInfo {}), ..volume(1.0, "v", "") };
        let made = create(&[shared]).unwrap();
        assert!(made.converted.iter().all(Resource::is_shared) && !made.consumed.iter().any(Resource::is_shared));
    }

    #[test]
    fn what_is_no_volume_is_said() {
        let with = |persistence: &str, how: &str| {
            disk(1.0, &format!(r#","disk":{{"persistence":{{"id":"{persistence}"}},"volume":{{{how}}}}}"#))
        };
        let fine = r#""container_path":"d","mode":"RW""#;
        let cases = [
            (disk(1.0, ""), "does not have DiskInfo"),
            (disk(1.0, r#","disk":{}"#), "'persistence' is not set"),
            (disk(1.0, r#","disk":{"persistence":{"id":"v"}}"#), "Expecting 'volume' to be set"),
            (with("", fine), "Invalid persistence ID"),
            (with("../x", fine), "Invalid persistence ID"),
            (with("v", r#""container_path":"d","mode":"RO""#), "Read-only"),
            (with("v", r#""container_path":"","mode":"RW""#), "container_path"),
            (with("v", r#""container_path":"d","mode":"RW","host_path":"/etc""#), "host_path"),
            (v1::Resource { reservations: vec![], ..with("v", fine) }, "unreserved"),
            (v1::Resource { revocable: Some(v1::resource::RevocableInfo {}), ..with("v", fine) }, "revocable"),
            (volume(1.0, "v", r#","source":{"type":"RAW"}"#), "RAW"),
        ];
        for (volume, words) in cases {
            for error in [create(std::slice::from_ref(&volume)).unwrap_err(), destroy(&[volume]).unwrap_err()] {
                assert!(error.contains(words), "{words}: {error}");
            }
        }
        let twice = [volume(1.0, "v", ""), volume(2.0, "v", "")];
        assert_eq!(create(&twice).unwrap_err(), "Persistence ID 'v' is not unique");
    }

    #[test]
    fn a_volume_grows_by_plain_disk_and_shrinks_to_it() {
        for source in ["", PATH] {
            let on = if source.is_empty() { String::new() } else { format!(r#","disk":{{{}}}"#, &source[1..]) };
            let (small, big, rest) = (volume(64.0, "v", source), volume(96.0, "v", source), disk(32.0, &on));
            let parts = of(&[small.clone(), rest.clone()]);
            let grown = grow(&small, &rest).unwrap();
            assert_eq!((grown.consumed, grown.converted), (parts.clone(), of(&[big.clone()])));
            let shrunk = shrink(&big, v1::value::Scalar { value: 32.0 }).unwrap();
            assert_eq!((shrunk.consumed, shrunk.converted), (of(&[big]), parts));
        }
    }

    #[test]
    fn volumes_that_cannot_change_their_size_say_so() {
        let small = volume(64.0, "v", "");
        let shared = v1::Resource { shared: Some(v1::resource::SharedInfo {}), ..small.clone() };
        let elsewhere = disk(1.0, &format!(r#","disk":{{{}}}"#, &PATH[1..]));
        for (volume, addition, words) in [
            (&small, &disk(0.0, ""), "greater than zero"),
            (&small, &cpus(""), "greater than zero"),
            (&small, &elsewhere, "Incompatible"),
            (&disk(1.0, ""), &disk(1.0, ""), "Invalid persistent volume"),
            (&shared, &disk(1.0, ""), "shared"),
            (&volume(1.0, "v", MOUNT), &disk(1.0, ""), "MOUNT"),
        ] {
            let error = grow(volume, addition).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        for (volume, less, words) in [
            (&small, 0.0, "greater than zero"),
            (&small, f64::NAN, "Invalid"),
            (&small, 64.0, "smaller than"),
            (&disk(9.0, ""), 1.0, "Invalid persistent volume"),
            (&shared, 1.0, "shared"),
            (&volume(9.0, "v", MOUNT), 1.0, "MOUNT"),
        ] {
            let error = shrink(volume, v1::value::Scalar { value: less }).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
