//! Why something waits: the engine's answer, with what only this machine knows.

use mesos_engine::Engine;
use mesos_model::{AgentId, FrameworkId, Resources, Role, Time};

use super::{Allocator, state::Framework};
use crate::message::{Change, Explanation, Query, WhatIf};

impl Allocator {
    /// Why a framework, a role or a request gets nothing now, and the smallest changes that would help.
    ///
    /// # Errors
    /// For a framework, role or request that is not known.
    pub fn explain(&self, now: Time, query: &Query) -> Result<Explanation, String> {
        let (engine, query) = self.question(now, query)?;
        engine.as_ref().unwrap_or(&self.engine).explain(now, &query)
    }

    /// The same after some changes.
    ///
    /// # Errors
    /// For a change that cannot be supposed, too.
    pub fn what_if(&self, now: Time, changes: &[Change], query: &Query) -> Result<WhatIf, String> {
        let (engine, query) = self.question(now, query)?;
        let running = |agent: &AgentId| self.running_on(agent);
        engine.as_ref().unwrap_or(&self.engine).what_if_running(now, changes, &query, &running)
    }

    /// Who runs what on an agent.
    fn running_on(&self, agent: &AgentId) -> Vec<(FrameworkId, Role, Resources)> {
        let launches = self.agents.get(agent).into_iter().flat_map(|state| state.launches.get());
        let rows = launches.filter_map(|launch| self.launch_row(launch));
        rows.map(|row| (row.framework.clone(), row.role.clone(), row.resources())).collect()
    }

    /// The query with what only this machine knows: what a request asks for, and a framework that the engine has
    /// forgotten, since it has nothing and wants nothing; for that one the engine is a copy.
    fn question(&self, now: Time, query: &Query) -> Result<(Option<Engine>, Query), String> {
        let mut query = query.clone();
        let Some(id) = query.framework.clone() else { return Ok((None, query)) };
        self.check_query(&query)?;
        let first = self.frameworks.get(&id).and_then(|state| state.row.as_ref()?.info.roles.first().cloned());
        let request = query
            .request
            .as_ref()
            .and_then(|name| self.frameworks.get(&id)?.demand.iter().find(|request| request.name == *name));
        if let Some(request) = request {
            query.role = request.role.clone().or(query.role);
            query.resources = Some(request.resources.clone());
            query.count = request.count;
        }
        let role = query.role.clone().or(first).unwrap_or_default();
        query.role = Some(role.clone());
        let known = self.engine.find_client(&id, &role);
        if known.is_some() && !query.fresh {
            return Ok((None, query));
        }
        let mut engine = self.engine.clone();
        if let Some(client) = known {
            engine.drop_filters(client);
            engine.wake(client);
            return Ok((Some(engine), query));
        }
        engine.suppose_client(now, &id, &role, self.appetite(&id, &role))?;
        Ok((Some(engine), query))
    }

    fn check_query(&self, query: &Query) -> Result<(), String> {
        let Some(id) = &query.framework else { return Ok(()) };
        let state = self.frameworks.get(id);
        let Some((state, row)) = state.and_then(|state| Some((state, state.row.as_ref()?))) else {
            return Err(format!("Framework {id} is not known; `mesos frameworks` lists those that are"));
        };
        if Framework::connection(state).is_none() {
            return Err(format!(
                "Framework {id} ({}) is not connected, so it is offered nothing; it has to subscribe again",
                row.info.name
            ));
        }
        match &query.role {
            Some(role) if !row.info.roles.contains(role) => {
                let roles: Vec<&str> = row.info.roles.iter().map(mesos_model::Role::as_str).collect();
                Err(format!("Framework {id} is not subscribed to role '{role}'; its roles: {}", roles.join(", ")))
            }
            _ => Ok(()),
        }
    }
}
