//! The plain types that everything else speaks: ids, resources, task states, the envelope.
//!
//! # Layout
//! - [`id`]: one newtype per kind of id, and what an id may contain.
//! - [`resources`]: the algebra of resources, in fixed point.
//! - [`resources_text`]: `cpus:4;mem:4GB;ports:[31000-32000]` and back.
//! - [`task`]: task states, reasons, statuses.
//! - [`attribute`]: what agents say about themselves.
//! - [`trace`]: W3C trace context.
//! - [`envelope`]: the one wrapping of every row, checkpoint and bus message.
//! - [`planted`]: bugs planted on request, to show that tests find them.
//! - [`subject`]: names on the bus.
//! - [`time`] - points in time and spans, in milliseconds.

pub mod attribute;
pub mod envelope;
pub mod id;
pub mod planted;
pub mod resources;
pub mod resources_text;
pub mod subject;
pub mod task;
pub mod time;
pub mod trace;

pub use id::*;
pub use resources::{Reservation, ReservationKind, Resource, Resources, Value};
pub use task::{Reason, Source, TaskState, TaskStatus};
pub use time::Time;
pub use trace::Trace;
