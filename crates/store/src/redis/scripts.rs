//! The Lua scripts. Numbers travel as decimal text, since Lua's own would round above 2^53; where a
//! script must calculate (epoch, time) they stay far below that.

use std::collections::HashMap;

use ::redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind, Value};
use mesos_model::{
    Term,
    planted::{Bug, is_planted},
};
use mesos_ports::store::{Change, StoreError};
use uuid::Uuid;

use super::error::malformed;

/// KEYS record, rows, cold rows, entries. ARGV epoch, leader, seq, next seq, batch, peer cursor, lease in ms, the
/// entry's bytes, then for rows and cold rows each: number of puts, number of deletes, key and value of each put, the
/// keys to delete.
/// `XADD` is the first write: it is refused when memory is short, a later one would not be.
const COMMIT: &str = r"
local r = redis.call('HMGET', KEYS[1], 'epoch', 'leader', 'seq', 'batch', 'at')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return {'fenced', r[1] or '0'} end
if r[3] ~= ARGV[3] then
  if r[3] == ARGV[4] and r[4] == ARGV[5] then return {'done', r[3], r[5]} end
  return {'rolled-back', r[3]}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local at = string.format('%.0f', now)
redis.call('XADD', KEYS[4], ARGV[4] .. '-0', 't', ARGV[1] .. ' ' .. ARGV[2], 'c', ARGV[8])
redis.call('HSET', KEYS[1], 'seq', ARGV[4], 'last', ARGV[1] .. ' ' .. ARGV[2], 'batch', ARGV[5], 'peer', ARGV[6],
  'until', string.format('%.0f', now + ARGV[7]), 'at', at)
local first = 9
local function each(command, key, last)
  while first <= last do
    local stop = math.min(first + 1999, last)
    redis.call(command, key, unpack(ARGV, first, stop))
    first = stop + 1
  end
end
for at = 2, 3 do
  local puts, deletes = 2 * ARGV[first], tonumber(ARGV[first + 1])
  first = first + 2
  each('HSET', KEYS[at], first + puts - 1)
  each('HDEL', KEYS[at], first + deletes - 1)
end
return {'done', ARGV[4], at}
";

/// KEYS record, entries. ARGV leader, previous leader or '', least epoch, lease in ms.
/// A stream that is not at the record's number was restored apart from it: it starts anew, and whoever
/// follows it is told to load the rows.
const ACQUIRE: &str = r"
local r = redis.call('HMGET', KEYS[1], 'epoch', 'leader', 'seq', 'until', 'peer', 'last')
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if r[1] and r[2] ~= ARGV[1] and r[2] ~= ARGV[2] then
  local left = tonumber(r[4] or '0') - now
  if left > 0 then return {'held', string.format('%.0f', left)} end
end
local epoch = string.format('%.0f', math.max(tonumber(r[1] or '0') + 1, tonumber(ARGV[3])))
local seq = r[3] or '0'
redis.call('HSET', KEYS[1], 'epoch', epoch, 'leader', ARGV[1], 'seq', seq,
  'until', string.format('%.0f', now + ARGV[4]))
if redis.call('EXISTS', KEYS[2]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' and info[i + 1] ~= seq .. '-0' then redis.call('DEL', KEYS[2]) end
  end
end
return {'acquired', epoch, seq, string.format('%.0f', now), r[5] or '0', r[6] or ''}
";

/// KEYS record. ARGV epoch, leader, seq.
const RELEASE: &str = r"
local r = redis.call('HMGET', KEYS[1], 'epoch', 'leader', 'seq')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return {'fenced', r[1] or '0'} end
if r[3] ~= ARGV[3] then return {'rolled-back', r[3]} end
redis.call('HSET', KEYS[1], 'until', '0')
return {'done'}
";

/// KEYS record.
const HEAD: &str = r"
local r = redis.call('HMGET', KEYS[1], 'seq', 'epoch', 'leader', 'until')
if not r[2] then return {'none'} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return {'head', r[1], r[2], r[3], string.format('%.0f', math.max(0, tonumber(r[4] or '0') - now)),
  string.format('%.0f', now)}
";

/// The scripts with their hashes.
pub(super) struct Scripts {
    pub(super) commit: Script,
    pub(super) acquire: Script,
    pub(super) release: Script,
    pub(super) head: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Scripts {
            commit: Script::new(COMMIT),
            acquire: Script::new(ACQUIRE),
            release: Script::new(RELEASE),
            head: Script::new(HEAD),
        }
    }
}

/// A call of a script by its hash; arguments are to be added.
pub(super) fn call(script: &Script, keys: &[&str]) -> Cmd {
    let mut cmd = ::redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(keys.len()).arg(keys);
    cmd
}

/// Whether the server does not have the script (yet, or any more).
pub(super) fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Of several changes of one row the last one counts; the script writes puts before deletes, so the
/// earlier ones must not reach it.
pub(super) fn last_changes(changes: &[Change]) -> Vec<&Change> {
    let mut at: HashMap<&str, usize> = HashMap::with_capacity(changes.len());
    let mut last: Vec<&Change> = Vec::with_capacity(changes.len());
    for change in changes {
        match at.get(change.key.as_str()) {
            Some(&index) => last[index] = change,
            None => {
                at.insert(&change.key, last.len());
                last.push(change);
            }
        }
    }
    last
}

/// A term as the scripts write it: its epoch, a space, its leader.
pub(super) fn term(text: &str) -> Option<Term> {
    let (epoch, leader) = text.split_once(' ')?;
    Some(Term { epoch: epoch.parse().ok()?, leader: leader.parse::<Uuid>().ok()?.as_u128() })
}

/// A script's answer: a word and its numbers.
pub(super) struct Answer(Vec<String>);

impl Answer {
    pub(super) fn new(values: Vec<Value>) -> Result<Self, StoreError> {
        let words: Result<Vec<String>, _> = values.into_iter().map(::redis::from_redis_value).collect();
        words.map(Answer).map_err(|_| malformed("a script"))
    }

    pub(super) fn tag(&self) -> &str {
        self.text(0)
    }

    pub(super) fn text(&self, index: usize) -> &str {
        self.0.get(index).map_or("", String::as_str)
    }

    pub(super) fn number(&self, index: usize) -> Result<u64, StoreError> {
        self.text(index).parse().map_err(|_| malformed("a number"))
    }

    /// The error that a fenced script answered with, if it did not do its work.
    pub(super) fn refused(&self, ours: u64) -> Result<(), StoreError> {
        match self.tag() {
            "done" => Ok(()),
            "fenced" => Err(StoreError::Fenced { epoch: self.number(1)? }),
            "rolled-back" if is_planted(Bug::RollBackUnseen) => Ok(()),
            "rolled-back" => Err(StoreError::RolledBack { stored: self.number(1)?, ours }),
            _ => Err(malformed("a fenced script")),
        }
    }
}
