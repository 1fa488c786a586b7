//! Why something waits: the engine's answer, with what only this machine knows.

use mesos_model::Time;

use super::{Allocator, state::Framework};
use crate::message::{Change, Explanation, Query, WhatIf};

impl Allocator {
    /// Why a framework, a role or a request gets nothing now, and the smallest changes that would help.
    ///
    /// # Errors
    /// For a framework, role or request that is not known.
    pub fn explain(&self, now: Time, query: &Query) -> Result<Explanation, String> {
        self.check_query(query)?;
        self.engine.explain(now, query)
    }

    /// The same after some changes.
    ///
    /// # Errors
    /// For a change that cannot be supposed, too.
    pub fn what_if(&self, now: Time, changes: &[Change], query: &Query) -> Result<WhatIf, String> {
        self.check_query(query)?;
        self.engine.what_if(now, changes, query)
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
