//! Agents that join: a one-time token makes one agent a member, under an id that is given with it.
//!
//! A row holds a token's hash until the token ends. A token that was used is remembered for as long, so that a join
//! whose answer was lost is answered as the first was, and so that nobody else joins with it.

use std::collections::BTreeMap;

use mesos_model::{
    AgentId, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output, timers::Timers};
use crate::{
    machine::Effects,
    row::{AgentState, JoinTokenRow, Joined, Row, RowKey},
};

type Refusal = (u16, String);

/// Tokens at the same time, used ones too until they end.
const TOKENS_MAX: usize = 1024;
/// The longest that a token is good for: 30 days.
const TTL_MAX_MS: u64 = 30 * 24 * 3600 * 1000;
/// A SHA-256 in hex, and an Ed25519 key in hex.
const HEX: usize = 64;

/// Join tokens, as their rows say.
#[derive(Debug, Default)]
pub(super) struct Joins {
    tokens: BTreeMap<String, JoinTokenRow>,
    ends: Timers<String>,
}

impl Joins {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.ends.first()
    }

    pub(super) fn put(&mut self, row: JoinTokenRow) {
        self.ends.set(row.hash.clone(), row.expires);
        self.tokens.insert(row.hash.clone(), row);
    }

    pub(super) fn remove(&mut self, hash: &str) {
        self.tokens.remove(hash);
        self.ends.clear(&hash.to_owned());
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &JoinTokenRow> {
        self.tokens.values()
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == HEX && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Allocator {
    /// An operator makes a join token, of which only the hash comes here.
    ///
    /// # Errors
    /// For a time that is too long, and if there are too many tokens.
    pub(super) fn add_join_token(
        &mut self,
        now: Time,
        hash: String,
        ttl_ms: u64,
        fx: &mut Effects<Output>,
    ) -> Result<(), Refusal> {
        if !is_hex(&hash) {
            return Err((400, "a join token's hash has to be 64 hexadecimal digits".to_owned()));
        }
        if ttl_ms == 0 || ttl_ms > TTL_MAX_MS {
            return Err((400, "a join token is good for more than nothing and at most 30 days".to_owned()));
        }
        self.end_join_tokens(now, fx);
        if self.joins.tokens.contains_key(&hash) {
            return Ok(());
        }
        if self.joins.tokens.len() >= TOKENS_MAX {
            return Err((
                409,
                format!("there are {TOKENS_MAX} join tokens; make another when some of them have ended"),
            ));
        }
        let expires = now.after(std::time::Duration::from_millis(ttl_ms));
        self.write_join_token(JoinTokenRow { hash, expires, used: None }, fx);
        Ok(())
    }

    /// An agent joins with a token: gives its id. `key` is what it shows from then on; `wanted` is the id that it
    /// has already.
    ///
    /// # Errors
    /// For a token that is not good for it, and an id that is not its own.
    pub(super) fn join(
        &mut self,
        now: Time,
        join: crate::message::Join,
        fx: &mut Effects<Output>,
    ) -> Result<AgentId, Refusal> {
        let crate::message::Join { hash, key, instance, agent: wanted } = join;
        self.end_join_tokens(now, fx);
        if !is_hex(&key) {
            return Err((400, "the key has to be 64 hexadecimal digits".to_owned()));
        }
        let Some(mut row) = self.joins.tokens.get(&hash).cloned() else {
            let text = "the join token is not known or has ended; `mesos token create --agent` makes another";
            return Err((403, text.to_owned()));
        };
        if let Some(used) = row.used.as_ref().filter(|_| !is_planted(Bug::JoinTokenTwice)) {
            if used.key == key {
                return Ok(used.agent.clone());
            }
            fx.emit(Output::Trouble(format!(
                "a join token that agent {} has used was shown by another: who has a copy of it?",
                used.agent
            )));
            let text = "the join token was used already; `mesos token create --agent` makes another";
            return Err((403, text.to_owned()));
        }
        let agent = self.joining_id(instance, wanted)?;
        row.used = Some(Joined { key, agent: agent.clone() });
        self.write_join_token(row, fx);
        Ok(agent)
    }

    /// An agent that was one before it had to join, or whose certificate has ended, keeps its id.
    fn joining_id(&mut self, instance: u128, wanted: Option<AgentId>) -> Result<AgentId, Refusal> {
        let known = self.instances.get(&instance).cloned();
        if let Some(id) = wanted.or(known) {
            let row = self.agents.get(&id).and_then(|state| state.row.as_ref());
            if row.is_some_and(|row| row.instance != instance) {
                return Err((403, format!("agent id {id} belongs to another agent")));
            }
            if row.is_some_and(|row| row.state == AgentState::Gone) {
                let text = "was marked gone and does not come back; empty its work directory to make it a new agent";
                return Err((403, format!("agent {id} {text}")));
            }
            return Ok(id);
        }
        let Some(term) = self.term else { return Err((503, "No leader elected".to_owned())) };
        Ok(self.name_agent(term))
    }

    /// Tokens whose time is over go.
    pub(super) fn end_join_tokens(&mut self, now: Time, fx: &mut Effects<Output>) {
        while let Some(hash) = self.joins.ends.pop_due(now) {
            self.joins.tokens.remove(&hash);
            fx.delete(RowKey::JoinToken(hash));
        }
    }

    fn write_join_token(&mut self, row: JoinTokenRow, fx: &mut Effects<Output>) {
        fx.put(Row::JoinToken(row.clone()));
        self.joins.put(row);
    }
}

#[cfg(test)]
mod tests;
