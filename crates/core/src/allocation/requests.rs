//! REQUEST: what frameworks would like to have, and room that is gathered for it.

use std::collections::{BTreeMap, BTreeSet};

use mesos_engine::needs::{COUNT_MAX, NEEDS_MAX};
use mesos_model::{FrameworkId, Role, Time};

use super::Allocator;
use crate::message::{NeedView, Request, RequestView};

/// Requests kept per framework.
const REQUESTS_MAX: usize = 100;
/// The longest time that room is held for a request: one hour.
const HOLD_MAX_MS: u64 = 3_600_000;

impl Allocator {
    /// A framework says what it would like, in the place of all that it said before.
    ///
    /// # Errors
    /// Says what is wrong with a request; then what it said before stands.
    pub(super) fn request(&mut self, now: Time, framework: &FrameworkId, requests: Vec<Request>) -> Result<(), String> {
        let Some(state) = self.frameworks.get_mut(framework) else { return Ok(()) };
        let roles: BTreeSet<Role> = state.row.iter().flat_map(|row| row.info.roles.iter().cloned()).collect();
        validate(&requests, &roles)?;
        state.demand = requests;
        self.preemptions.look(now);
        self.set_appetite(now, framework, &roles);
        Ok(())
    }

    /// What a framework asks for in a role; a request that names no role is for its first one.
    pub(super) fn requests_of<'a>(
        &'a self,
        framework: &FrameworkId,
        role: &'a Role,
    ) -> impl Iterator<Item = &'a Request> {
        let state = self.frameworks.get(framework);
        let first = state.and_then(|state| state.row.as_ref()?.info.roles.first());
        let requests = state.map_or(&[][..], |state| &state.demand);
        requests.iter().filter(move |request| request.role.as_ref().or(first) == Some(role))
    }

    /// Tells the engine what a framework asks for in a role; one that is not there asks for nothing.
    pub(super) fn state_demand(&mut self, now: Time, framework: &FrameworkId, role: &Role) {
        let Some(client) = self.engine.find_client(framework, role) else { return };
        let requests: Vec<Request> = if self.engine.is_hungry(client) {
            self.requests_of(framework, role).cloned().collect()
        } else {
            Vec::new()
        };
        self.engine.set_requests(now, client, &requests);
    }

    /// What frameworks have asked for, as long as they want offers in that role.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestView> {
        let mut views = Vec::new();
        for (framework, state) in &self.frameworks {
            let first = state.row.as_ref().and_then(|row| row.info.roles.first());
            for request in &state.demand {
                let Some(role) = request.role.as_ref().or(first) else { continue };
                let client = self.engine.find_client(framework, role);
                if client.is_some_and(|client| self.engine.is_hungry(client)) {
                    views.push(RequestView {
                        framework: framework.clone(),
                        role: role.clone(),
                        resources: request.resources.clone(),
                        count: request.count,
                    });
                }
            }
        }
        views
    }

    /// What waits for room.
    #[must_use]
    pub fn needs(&self) -> Vec<NeedView> {
        self.engine.needs()
    }
}

fn validate(requests: &[Request], roles: &BTreeSet<Role>) -> Result<(), String> {
    if requests.len() > REQUESTS_MAX {
        return Err(format!("More than {REQUESTS_MAX} requests"));
    }
    let mut holding: BTreeMap<(&Option<Role>, &str), usize> = BTreeMap::new();
    for request in requests {
        let name = &request.name;
        if request.resources.is_empty() {
            return Err(format!("Request '{name}' asks for no resources"));
        }
        if request.count == 0 || request.count > COUNT_MAX {
            return Err(format!("Request '{name}': the count must be between 1 and {COUNT_MAX}"));
        }
        if let Some(role) = request.role.as_ref().filter(|role| !roles.contains(*role)) {
            return Err(format!("Request '{name}': the framework is not subscribed to role '{role}'"));
        }
        let Some(hold) = request.hold_ms else { continue };
        if hold == 0 || hold > HOLD_MAX_MS {
            return Err(format!("Request '{name}': room can be held for one hour at most, and not for no time"));
        }
        let twice = holding.insert((&request.role, name.as_str()), 1).is_some();
        if twice {
            return Err(format!("Two requests that hold room have the name '{name}'"));
        }
    }
    if holding.len() > NEEDS_MAX {
        return Err(format!("More than {NEEDS_MAX} requests that hold room"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
