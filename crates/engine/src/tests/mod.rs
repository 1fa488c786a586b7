//! Proofs that the engine does what it should.

mod found;
