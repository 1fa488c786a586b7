//! What one task needs, and how often an offer has it.

use std::{collections::BTreeMap, sync::Arc};

use mesos_model::{Resource, Resources, Value, resources::ranges_normal};

use crate::bundle::{Bundle, HOT};

/// What one task needs.
///
/// An entry without a qualifier is had from whatever of that name an offer has, reserved or not; a task's share
/// of one name is either all revocable or not at all, as Mesos demands. An entry with a qualifier is had from
/// exactly such. A scalar amount of something that comes in ranges or sets is a number of its items; ranges and
/// sets are those items, so only one task of an agent has them.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) resources: Resources,
    scalars: Vec<(Arc<str>, i64)>,
    /// Names of which a task takes something special too: whether that, and so the rest, is revocable.
    bound: Vec<(Arc<str>, bool)>,
    /// Ranges and sets without a qualifier.
    items: Vec<Resource>,
    special: Vec<Resource>,
}

/// One resource of which there is too little.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Short {
    pub(crate) name: Arc<str>,
    /// What there is, in thousandths.
    pub(crate) have: i64,
}

impl Demand {
    pub(crate) fn new(resources: &Resources) -> Demand {
        let mut demand = Demand {
            resources: resources.clone(),
            scalars: Vec::new(),
            bound: Vec::new(),
            items: Vec::new(),
            special: Vec::new(),
        };
        for resource in resources {
            match (&resource.value, &resource.qualifier) {
                (_, Some(_)) => {
                    demand.bound.push((resource.name.clone(), resource.is_revocable()));
                    demand.special.push(resource.clone());
                }
                (Value::Scalar(amount), None) => demand.scalars.push((resource.name.clone(), *amount)),
                (_, None) => demand.items.push(resource.clone()),
            }
        }
        demand
    }

    /// Ordinary scalars, in thousandths.
    pub(crate) fn scalars(&self) -> &[(Arc<str>, i64)] {
        &self.scalars
    }

    /// How much of a scalar is asked for.
    pub(crate) fn amount(&self, name: &str) -> i64 {
        self.scalars.iter().find(|(of, _)| &**of == name).map_or(0, |(_, amount)| *amount)
    }

    /// The same with another amount of an ordinary scalar; 0 leaves it out.
    pub(crate) fn with(&self, name: &str, amount: i64) -> Demand {
        let mut resources = Resources::new();
        for resource in &self.resources {
            let mut resource = resource.clone();
            if resource.qualifier.is_none() && &*resource.name == name {
                if amount == 0 {
                    continue;
                }
                resource.value = Value::Scalar(amount);
            }
            resources.add_entry(resource);
        }
        Demand::new(&resources)
    }

    pub(crate) fn fits(&self, have: &Bundle) -> bool {
        self.times_in(have, 1) == 1
    }

    /// How many tasks there is room for, at most so many.
    pub(crate) fn times_in(&self, have: &Bundle, most: u32) -> u32 {
        if self.special.is_empty() {
            return self.plain_times_in(have, most);
        }
        // More tasks need more, so the first number that does not fit ends it.
        let mut times = 0;
        while times < most {
            let Some(rest) = self.without_special(have, times + 1) else { break };
            if self.plain_times_in(&rest, times + 1) <= times {
                break;
            }
            times += 1;
        }
        times
    }

    /// What is left when so many tasks have taken what is special.
    fn without_special(&self, have: &Bundle, times: u32) -> Option<Bundle> {
        let mut wanted = Resources::new();
        for resource in &self.special {
            let mut resource = resource.clone();
            match &mut resource.value {
                // Several tasks may use the same.
                _ if resource.qualifier.as_ref().is_some_and(|qualifier| qualifier.shared) => {}
                Value::Scalar(amount) => *amount = amount.saturating_mul(i64::from(times)),
                _ if times > 1 => return None,
                _ => {}
            }
            wanted.add_entry(resource);
        }
        let wanted = Bundle::from(&wanted);
        have.contains(&wanted).then(|| have.minus(&wanted))
    }

    fn plain_times_in(&self, have: &Bundle, most: u32) -> u32 {
        let mut times = if self.items.iter().all(|item| has_items(have, item)) { most } else { 0 };
        if !self.items.is_empty() {
            times = times.min(1);
        }
        for (name, amount) in &self.scalars {
            let (firm, revocable) = self.amounts(have, name);
            let room = firm / (*amount).max(1) + revocable / (*amount).max(1);
            times = times.min(u32::try_from(room).unwrap_or(u32::MAX));
        }
        times
    }

    /// Of what a task finds too little.
    pub(crate) fn shorts(&self, have: &Bundle) -> Vec<Short> {
        let mut out = Vec::new();
        for (name, amount) in &self.scalars {
            let (firm, revocable) = self.amounts(have, name);
            if firm < *amount && revocable < *amount {
                out.push(Short { name: name.clone(), have: firm.max(revocable) });
            }
        }
        for item in self.items.iter().filter(|item| !has_items(have, item)) {
            out.push(Short { name: item.name.clone(), have: 0 });
        }
        for special in &self.special {
            let wanted = Bundle::from(&Resources::try_from_entries([special.clone()]).unwrap_or_default());
            if !have.contains(&wanted) {
                out.push(Short { name: special.name.clone(), have: 0 });
            }
        }
        out
    }

    /// What there is of a name for a task: what stays, and what may be taken back.
    fn amounts(&self, have: &Bundle, name: &str) -> (i64, i64) {
        let (firm, revocable) = amounts(have, name);
        match self.bound.iter().find(|(bound, _)| &**bound == name) {
            None => (firm, revocable),
            Some((_, true)) => (0, revocable),
            Some((_, false)) => (firm, 0),
        }
    }

    /// How much is asked for under a name, in words.
    pub(crate) fn wanted(&self, name: &str) -> String {
        let named = self.resources.filter(|resource| &*resource.name == name);
        let text = named.to_string();
        text.strip_prefix(&format!("{name}:")).unwrap_or(&text).to_owned()
    }
}

/// Whether an ordinary task may be put onto it: no volume, no disk of its own.
fn is_usable(resource: &Resource) -> bool {
    resource.qualifier.as_ref().is_none_or(|qualifier| qualifier.disk.is_empty() && !qualifier.shared)
}

/// What there is of a name: what stays, and what may be taken back.
fn amounts(have: &Bundle, name: &str) -> (i64, i64) {
    let firm = HOT.iter().position(|hot| *hot == name).map_or(0, |kind| have.hot()[kind]);
    let mut out = (firm, 0);
    for resource in have.rest().into_iter().flatten().filter(|resource| &*resource.name == name) {
        if is_usable(resource) {
            let amount = match &resource.value {
                Value::Scalar(amount) => *amount,
                Value::Ranges(ranges) => thousandths(
                    ranges.iter().fold(0, |sum: u64, (begin, end)| sum.saturating_add((end - begin).saturating_add(1))),
                ),
                Value::Set(items) => thousandths(items.len() as u64),
            };
            *(if resource.is_revocable() { &mut out.1 } else { &mut out.0 }) += amount;
        }
    }
    out
}

fn thousandths(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(1000)
}

fn has_items(have: &Bundle, item: &Resource) -> bool {
    let named =
        || have.rest().into_iter().flatten().filter(|resource| resource.name == item.name && is_usable(resource));
    match &item.value {
        Value::Scalar(_) => true,
        Value::Ranges(wanted) => {
            let mut ranges = Vec::new();
            for resource in named() {
                if let Value::Ranges(more) = &resource.value {
                    ranges.extend(more.iter().copied());
                }
            }
            let ranges = ranges_normal(ranges);
            wanted.iter().all(|(begin, end)| ranges.iter().any(|(from, to)| from <= begin && end <= to))
        }
        Value::Set(wanted) => wanted.iter().all(|wanted| {
            named().any(|resource| matches!(&resource.value, Value::Set(items) if items.contains(wanted)))
        }),
    }
}

/// How many tasks there is room for in several agents' offers together, at most so many.
pub(crate) fn times_in_all(demand: &Demand, given: &BTreeMap<u32, Bundle>, most: u32) -> u32 {
    let mut times = 0;
    for bundle in given.values() {
        times += demand.times_in(bundle, most - times);
        if times >= most {
            break;
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use mesos_model::resources_text::parse;

    use super::*;

    fn times(demand: &str, have: &str) -> u32 {
        let have = Bundle::from(&parse(have, "*").unwrap());
        Demand::new(&parse(demand, "*").unwrap()).times_in(&have, 100)
    }

    #[test]
    fn a_task_fits_as_often_as_its_scarcest_resource_allows() {
        assert_eq!(times("cpus:1;mem:100", "cpus:8;mem:350"), 3);
        assert_eq!(times("cpus:1;mem:100", "cpus:8"), 0);
        assert_eq!(times("licences:2", "cpus:1;licences:5"), 2);
        assert_eq!(times("cpus:0.001", "cpus:8"), 100);
    }

    #[test]
    fn an_ordinary_demand_is_had_from_reservations_too_and_a_reserved_one_only_from_them() {
        assert_eq!(times("cpus:3", "cpus:2;cpus(web):4"), 2);
        assert_eq!(times("cpus(web):2", "cpus:9;cpus(web):5"), 2);
        assert_eq!(times("cpus(web):2;cpus:1", "cpus:1;cpus(web):5"), 2);
        assert_eq!(times("cpus(web):2", "cpus:9"), 0);
    }

    #[test]
    fn ports_are_counted_by_number_unless_certain_ones_are_asked_for() {
        assert_eq!(times("ports:2", "ports:[1-3,7-8]"), 2);
        assert_eq!(times("ports:[2-3]", "ports:[1-3,7-8]"), 1);
        assert_eq!(times("ports:[3-7]", "ports:[1-3,7-8]"), 0);
        assert_eq!(times("zones:{a}", "zones:{a,b}"), 1);
    }

    #[test]
    fn a_task_is_on_revocable_resources_or_not_but_never_half() {
        let mut have = parse("cpus:3", "*").unwrap();
        let revocable = mesos_model::resources::Qualifier { revocable: true, ..Default::default() };
        have.add_entry(Resource { qualifier: Some(Arc::new(revocable)), ..Resource::scalar("cpus", 3000) });
        let demand = Demand::new(&parse("cpus:2", "*").unwrap());
        assert_eq!(demand.times_in(&Bundle::from(&have), 9), 2);
        let reserved = Demand::new(&parse("cpus:2;cpus(web):1", "*").unwrap());
        have.add(&parse("cpus(web):9", "*").unwrap());
        assert_eq!(reserved.times_in(&Bundle::from(&have), 9), 4);
        have = have.minus(&parse("cpus(web):9", "*").unwrap());
        assert_eq!(demand.with("cpus", 4000).shorts(&Bundle::from(&have)), [Short { name: "cpus".into(), have: 3000 }]);
    }
}
