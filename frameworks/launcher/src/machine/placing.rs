//! Jobs onto offers: the highest priority first, then the oldest; the emptiest offer that fits, so that load
//! spreads over agents; several jobs on one offer.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use mesos_core::message::Offer;
use mesos_model::{
    AgentId, ReservationKind, Resource, Resources, Role, TaskId, Time, Trace, Value, attribute::Attribute,
};

use super::{Launcher, Out, Output, Placed, REVIVE_AFTER, has_attributes};

/// How long an offer that did not fit is not wanted while tasks wait: it may fit what is submitted next, but
/// that revives anyway.
const REFUSE_WAITING: Duration = Duration::from_secs(60);
/// The same while nothing waits.
const REFUSE_IDLE: Duration = Duration::from_secs(3600);
/// How many different needs that did not fit are kept in mind while one set of offers is handed out.
const MISFITS_MAX: usize = 16;

struct Held {
    offer: Offer,
    left: Resources,
    placed: Vec<Placed>,
    trace: Option<Trace>,
    /// A task was kept off because its trace is another one.
    kept_off: bool,
}

/// How full an offer is: agents with GPUs are kept for those who want some, of the others the emptiest comes
/// first, then the one with the fewest of our tasks, then the one that was offered first.
type Fullness = (i64, Reverse<i64>, usize, usize);

/// Offers of each role in the order in which they are tried.
struct Order {
    offers: BTreeMap<Role, BTreeSet<Fullness>>,
    present: Vec<Fullness>,
    /// The most that any offer has, of cpus and of mem.
    most: [i64; 2],
}

impl Order {
    fn new(held: &[Held], on_agents: &BTreeMap<AgentId, usize>) -> Order {
        let most = MEASURED.map(|name| held.iter().map(|held| held.left.scalar(name)).max().unwrap_or_default());
        let mut order = Order { offers: BTreeMap::new(), present: Vec::new(), most };
        for (at, one) in held.iter().enumerate() {
            let tasks = on_agents.get(&one.offer.agent).copied().unwrap_or_default();
            let fullness = (one.left.scalar("gpus"), Reverse(order.free(&one.left)), tasks, at);
            order.offers.entry(one.offer.role.clone()).or_default().insert(fullness);
            order.present.push(fullness);
        }
        order
    }

    /// What is left of what it has least of, in millionths of the most that any offer has.
    fn free(&self, left: &Resources) -> i64 {
        let measured = MEASURED.iter().zip(self.most).filter(|(_, most)| *most > 0);
        let parts = measured.map(|(name, most)| {
            i64::try_from(i128::from(left.scalar(name)) * 1_000_000 / i128::from(most)).unwrap_or(i64::MAX)
        });
        parts.min().unwrap_or_default()
    }

    /// The offers of a role, the emptiest first.
    fn of(&self, role: &Role) -> impl Iterator<Item = usize> {
        self.offers.get(role).into_iter().flatten().map(|(.., at)| *at)
    }

    /// Something of an offer was taken for one more task.
    fn took(&mut self, at: usize, held: &Held) {
        let (gpus, _, tasks, _) = self.present[at];
        let fullness = (gpus, Reverse(self.free(&held.left)), tasks + 1, at);
        let before = std::mem::replace(&mut self.present[at], fullness);
        if let Some(offers) = self.offers.get_mut(&held.offer.role) {
            offers.remove(&before);
            offers.insert(fullness);
        }
    }
}

/// By what offers are compared.
const MEASURED: [&str; 2] = ["cpus", "mem"];

/// A need for which no offer had room.
struct Misfit {
    resources: Resources,
    attributes: Vec<Attribute>,
    role: Role,
}

impl Launcher {
    pub(super) fn place(&mut self, now: Time, out: &mut Out) {
        let Some(lead) = self.lead.as_mut() else { return };
        if lead.offers.is_empty() {
            return;
        }
        let mut held: Vec<Held> = std::mem::take(&mut lead.offers)
            .into_iter()
            .map(|offer| Held {
                left: offer.resources.clone(),
                offer,
                placed: Vec::new(),
                trace: None,
                kept_off: false,
            })
            .collect();
        for offer in &held {
            if lead.largest.as_ref().is_none_or(|largest| largest.scalar("cpus") < offer.left.scalar("cpus")) {
                lead.largest = Some(offer.left.clone());
            }
        }
        if lead.revive_at.is_some() {
            lead.revive_at = Some(now.after(REVIVE_AFTER));
        }
        let taken = self.hand_out(&mut held);
        for (task, at) in taken {
            let agent = held[at].offer.agent.clone();
            self.change(&task, out, |job| {
                job.row.agent = Some(agent);
                job.row.message = None;
                job.unknown_since = None;
                job.ask = Some((now.after(super::updates::ASK_AFTER), 0));
            });
        }
        let refuse = if self.waiting_count == 0 { REFUSE_IDLE } else { REFUSE_WAITING };
        let mut declined = Vec::new();
        for Held { offer, placed, kept_off, .. } in held {
            if placed.is_empty() {
                declined.push(offer.id);
            } else {
                let refuse = if kept_off { Duration::ZERO } else { refuse };
                out.emit(Output::Accept { offer: offer.id, tasks: placed, refuse });
            }
        }
        if !declined.is_empty() {
            out.emit(Output::Decline { offers: declined, refuse });
        }
    }

    /// Which task goes onto which offer. The offers' rest is kept right; the jobs are as they were.
    fn hand_out(&self, held: &mut [Held]) -> Vec<(TaskId, usize)> {
        let mut taken = Vec::new();
        let mut order = Order::new(held, &self.on_agents);
        let mut misfits: VecDeque<Misfit> = VecDeque::new();
        for group in self.waiting.values() {
            for task in group {
                let Some(job) = self.jobs.get(task) else { continue };
                let row = &job.row;
                let role = Self::role_of(row);
                let hopeless = misfits.iter().any(|misfit| {
                    misfit.role == role
                        && misfit.attributes == row.attributes
                        && row.resources.contains(&misfit.resources)
                });
                if hopeless {
                    break;
                }
                let found = order.of(&role).find_map(|at| {
                    let held = &mut held[at];
                    if !has_attributes(&held.offer.attributes, &row.attributes) {
                        return None;
                    }
                    let allotment = allot(&row.resources, &held.left)?;
                    // One ACCEPT belongs to one trace; the rest of the offer comes back at once.
                    if !held.placed.is_empty() && held.trace != row.trace {
                        held.kept_off = true;
                        return None;
                    }
                    Some((at, allotment))
                });
                let Some((at, allotment)) = found else {
                    // What was only kept off by its trace is no misfit.
                    if !held.iter().any(|held| held.kept_off) {
                        misfits.push_back(Misfit {
                            resources: row.resources.clone(),
                            attributes: row.attributes.clone(),
                            role,
                        });
                    }
                    if misfits.len() > MISFITS_MAX {
                        misfits.pop_front();
                    }
                    break;
                };
                let held = &mut held[at];
                held.left.take_what_is_there(&allotment.in_offer());
                held.trace = row.trace;
                let agent = held.offer.agent.clone();
                held.placed.push(Placed {
                    task: task.clone(),
                    agent,
                    template: row.body.clone(),
                    resources: allotment.resources,
                    reserve: allotment.reserve,
                    priority: row.priority,
                    trace: row.trace,
                });
                order.took(at, held);
                taken.push((task.clone(), at));
            }
            if held.iter().all(|held| held.left.is_empty()) {
                break;
            }
        }
        taken
    }

    /// Revives when something was submitted or nothing was offered for long, and suppresses when nothing waits.
    pub(super) fn say_what_is_wanted(&mut self, now: Time, out: &mut Out) {
        let waits = self.waiting_count > 0;
        let roles = self.roles();
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.connected) else { return };
        if lead.roles_said != roles.len() {
            lead.roles_said = roles.len();
            out.emit(Output::Roles(roles));
        }
        if !waits {
            lead.fresh = false;
            if lead.revive_at.take().is_some() {
                out.emit(Output::Suppress);
            }
            return;
        }
        let overdue = lead.revive_at.is_none_or(|at| at <= now);
        if std::mem::take(&mut lead.fresh) || overdue {
            lead.largest = None;
            lead.revive_at = Some(now.after(REVIVE_AFTER));
            out.emit(Output::Revive);
        }
    }
}

/// What of an offer a task takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allotment {
    /// What it has then.
    pub resources: Resources,
    /// Of that, what has to be reserved before: it is everybody's in the offer.
    pub reserve: Resources,
}

impl Allotment {
    /// The same as it stands in the offer.
    fn in_offer(&self) -> Resources {
        self.resources.minus(&self.reserve).plus(&without_reservations(&self.reserve))
    }
}

/// What of an offer a task takes: what is reserved for its role first, then what is everybody's. `None` if it
/// does not fit. A need for a reservation without a principal and labels is met by what is reserved for that
/// role already, and by reserving what is everybody's. Needs that name any other reservation, a disk or
/// revocable resources are met by exactly those.
#[must_use]
pub fn allot(wanted: &Resources, offered: &Resources) -> Option<Allotment> {
    let mut left = offered.clone();
    let mut out = Allotment::default();
    // Whoever needs a reservation has the first choice of what is reserved.
    let (particular, plain): (Vec<&Resource>, Vec<&Resource>) =
        wanted.iter().partition(|want| want.qualifier.is_some());
    for want in particular.into_iter().chain(plain) {
        let exact = Resources::try_from_entries([want.clone()]).ok()?;
        let role = role_to_reserve_for(want);
        if want.qualifier.is_some() && role.is_none() {
            left.take(&exact).then_some(())?;
            out.resources.add(&exact);
            continue;
        }
        let suits = |have: &Resource| is_plain(have) && (role.is_none() || have.reserved_for() == role);
        let Some(missing) = draw(&mut left, &mut out.resources, bare(want), &want.name, suits) else { continue };
        role?;
        let missing = Resources::try_from_entries([missing]).ok()?;
        left.take(&missing).then_some(())?;
        let entries = missing.iter().map(|entry| Resource { qualifier: want.qualifier.clone(), ..entry.clone() });
        let reserve = Resources::try_from_entries(entries).ok()?;
        out.resources.add(&reserve);
        out.reserve.add(&reserve);
    }
    Some(out)
}

/// Moves as much as is needed from one to the other; gives what is missing then.
fn draw(
    left: &mut Resources,
    taken: &mut Resources,
    mut need: Resource,
    name: &str,
    suits: impl Fn(&Resource) -> bool,
) -> Option<Resource> {
    let all = left.clone();
    // What is nobody's sorts before what is reserved.
    let named: Vec<&Resource> = all.iter().filter(|have| &*have.name == name && suits(have)).collect();
    for have in named.into_iter().rev() {
        let Some(part) = part_of(have, &need) else { continue };
        let Ok(part) = Resources::try_from_entries([part]) else { continue };
        left.take_what_is_there(&part);
        taken.add(&part);
        let Ok(needed) = Resources::try_from_entries([need.clone()]) else { return Some(need) };
        match needed.minus(&without_reservations(&part)).iter().next() {
            Some(rest) => need = rest.clone(),
            None => return None,
        }
    }
    Some(need)
}

/// The role for which a need may be reserved by us: one that names nothing but the role.
fn role_to_reserve_for(want: &Resource) -> Option<&Role> {
    let qualifier = want.qualifier.as_deref()?;
    let [only] = &qualifier.reservations[..] else { return None };
    let by_anybody = only.kind == ReservationKind::Dynamic && only.principal.is_none() && only.labels.is_empty();
    (by_anybody && is_plain(want)).then_some(&only.role)
}

/// Needs as they are before anything is reserved for them.
pub(super) fn before_reserving(wanted: &Resources) -> Resources {
    let entries = wanted.iter().map(|want| if role_to_reserve_for(want).is_some() { bare(want) } else { want.clone() });
    let mut out = Resources::new();
    entries.for_each(|entry| out.add_entry(entry));
    out
}

fn without_reservations(resources: &Resources) -> Resources {
    let mut out = Resources::new();
    resources.iter().map(bare).for_each(|entry| out.add_entry(entry));
    out
}

/// Reserved or not, but neither revocable nor shared nor a disk of its own.
fn is_plain(have: &Resource) -> bool {
    have.qualifier.as_deref().is_none_or(|qualifier| {
        !qualifier.revocable && !qualifier.shared && qualifier.disk.is_empty() && qualifier.provider.is_none()
    })
}

fn bare(resource: &Resource) -> Resource {
    Resource { qualifier: None, ..resource.clone() }
}

/// As much of `have` as `need` can use.
fn part_of(have: &Resource, need: &Resource) -> Option<Resource> {
    let value = match (&have.value, &need.value) {
        (Value::Scalar(have), Value::Scalar(need)) => Value::Scalar(*have.min(need)),
        (Value::Ranges(have), Value::Ranges(need)) => {
            let common = need.iter().flat_map(|need| {
                have.iter()
                    .map(move |have| (have.0.max(need.0), have.1.min(need.1)))
                    .filter(|(begin, end)| begin <= end)
            });
            Value::Ranges(common.collect())
        }
        (Value::Set(have), Value::Set(need)) => {
            Value::Set(need.iter().filter(|item| have.contains(item)).cloned().collect())
        }
        _ => return None,
    };
    let nothing = match &value {
        Value::Scalar(milli) => *milli <= 0,
        Value::Ranges(ranges) => ranges.is_empty(),
        Value::Set(items) => items.is_empty(),
    };
    (!nothing).then(|| Resource { name: have.name.clone(), value, qualifier: have.qualifier.clone() })
}
