//! Tests from end to end, with real processes only. `scripts/setup` installs what they need.

mod harness;
