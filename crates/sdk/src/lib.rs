//! A client for framework writers: one subscription over gRPC that mends itself, and calls that arrive.
//!
//! # Layout
//! - [`client`]: [`SchedulerClient::connect`], the options, and the loop that keeps the subscription up.
//! - [`handle`]: [`Handle`], by which a framework calls.
//! - [`event`]: [`Event`], what a framework is told.
//! - [`build`]: tasks and resources with few words.
//!
//! # Example
//! A framework that runs one command and leaves:
//! ```no_run
//! use mesos_sdk::{Event, Options, SchedulerClient, build, v1};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let framework = v1::FrameworkInfo { name: "hello".into(), user: "nobody".into(), ..Default::default() };
//! let (master, mut events) = SchedulerClient::connect(&["127.0.0.1:5050"], framework, Options::default())?;
//! let wanted = [build::cpus(0.1), build::mem(32.0)];
//! let mut launched = false;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Offers(offers) => {
//!             for offer in offers {
//!                 if launched || !build::fits(&offer, &wanted) {
//!                     master.decline([offer.id], None).await?;
//!                     continue;
//!                 }
//!                 let task = build::command_task("hello-1", &offer, "echo Hello", wanted.to_vec());
//!                 master.launch(&offer, vec![task]).await?;
//!                 launched = true;
//!             }
//!         }
//!         // With the default options every update is acknowledged as soon as it was handed over.
//!         Event::Update(status) if build::is_terminal(status.state()) => break,
//!         Event::Error(message) => return Err(message.into()),
//!         _ => {}
//!     }
//! }
//! master.teardown().await?;
//! # Ok(())
//! # }
//! ```

pub mod build;
pub mod client;
pub mod event;
pub mod handle;

pub use client::{ConnectError, Events, Options, SchedulerClient};
pub use event::Event;
pub use handle::{CallError, Handle};
pub use mesos_proto::{
    dial::{Access, Token},
    v1,
};
