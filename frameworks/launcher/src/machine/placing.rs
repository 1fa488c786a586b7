//! Jobs onto offers: oldest job first, first offer that fits, several jobs on one offer.

use std::{collections::VecDeque, time::Duration};

use mesos_core::message::Offer;
use mesos_model::{Resource, Resources, Role, TaskId, Time, Trace, Value, attribute::Attribute};

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
            .into_values()
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
        // Agents with GPUs are kept for those who want some.
        held.sort_by_key(|held| held.left.scalar("gpus"));
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
                let found = (0..held.len()).find_map(|at| {
                    let held = &mut held[at];
                    if held.offer.role != role || !has_attributes(&held.offer.attributes, &row.attributes) {
                        return None;
                    }
                    let resources = allot(&row.resources, &held.left)?;
                    // One ACCEPT belongs to one trace; the rest of the offer comes back at once.
                    if !held.placed.is_empty() && held.trace != row.trace {
                        held.kept_off = true;
                        return None;
                    }
                    Some((at, resources))
                });
                let Some((at, resources)) = found else {
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
                held.left.take_what_is_there(&resources);
                held.trace = row.trace;
                let agent = held.offer.agent.clone();
                held.placed.push(Placed {
                    task: task.clone(),
                    agent,
                    template: row.body.clone(),
                    resources,
                    trace: row.trace,
                });
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

/// What of an offer a task takes: what is reserved for its role first, then what is everybody's. `None` if it
/// does not fit. Needs that name a reservation, a disk or revocable resources are met by exactly those.
#[must_use]
pub fn allot(wanted: &Resources, offered: &Resources) -> Option<Resources> {
    let mut left = offered.clone();
    let mut taken = Resources::new();
    for want in wanted {
        let exact = Resources::try_from_entries([want.clone()]).ok()?;
        if want.qualifier.is_some() {
            left.take(&exact).then_some(())?;
            taken.add(&exact);
            continue;
        }
        let mut need = want.clone();
        // What is nobody's sorts before what is reserved.
        let all = left.clone();
        let named: Vec<&Resource> = all.iter().filter(|have| have.name == want.name && is_plain(have)).collect();
        for have in named.into_iter().rev() {
            let Some(part) = part_of(have, &need) else { continue };
            let part = Resources::try_from_entries([part]).ok()?;
            left.take_what_is_there(&part);
            let bare = Resources::try_from_entries(part.iter().map(bare)).ok()?;
            taken.add(&part);
            let rest = Resources::try_from_entries([need.clone()]).ok()?.minus(&bare);
            match rest.iter().next() {
                Some(entry) => need = entry.clone(),
                None => {
                    need.value = Value::Scalar(0);
                    break;
                }
            }
        }
        if need.value != Value::Scalar(0) {
            return None;
        }
    }
    Some(taken)
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
