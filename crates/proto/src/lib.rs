//! The contract: generated types of the Mesos v1 API and of our gRPC services, and their wire forms.
//!
//! # Layout
//! - [`v1`]: the messages of Apache Mesos v1, with its names and numbers; [`services`]: our gRPC
//!   services. Clients are made with `XxxClient::new(channel)`; servers take a scheduler's call as
//!   [`Raw`].
//! - [`json`]: Mesos JSON to protobuf and back, as tolerant as Mesos is.
//! - [`recordio`]: the framing of event streams over HTTP.
//! - [`dial`]: the way to a gateway: addresses, TLS, tokens.
//! - [`compose`]: adds to undecoded bytes, and leaves out of them.
//! - [`raw`] and [`wire`]: keep and find undecoded bytes, so that unknown fields survive.
//! - [`validate`]: required fields, which prost does not check, and the rules for ids.

pub mod compose;
pub mod dial;
pub mod json;
pub mod raw;
pub mod recordio;
pub mod validate;
pub mod wire;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

pub use bytes;
pub use prost;
pub use prost_types;
pub use raw::Raw;
pub use tonic;

/// The encoded `FileDescriptorSet` of every file in `proto/` and its imports, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// How large a gRPC message may be, in bytes: a 4 MiB payload of the bus with room for its envelope
/// and for a few statuses around it. Clients and servers of every service set it, as tonic's own
/// limit for received messages is 4 MiB flat.
pub const GRPC_MESSAGE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The metadata key that ties a unary call to a subscription, as the header of the HTTP API does.
pub const STREAM_ID_HEADER: &str = "mesos-stream-id";

/// The descriptors of [`FILE_DESCRIPTOR_SET`], decoded once.
#[allow(clippy::expect_used)] // The bytes are made by this crate's build script.
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("embedded descriptors are well formed"));
    &POOL
}

/// The descriptor of a message by its full name (`mesos.v1.TaskInfo`), if the contract has it.
pub fn descriptor(full_name: &str) -> Option<MessageDescriptor> {
    descriptors().get_message_by_name(full_name)
}

/// The messages of Apache Mesos v1 (package `mesos.v1`).
#[allow(clippy::all, unreachable_pub, rustdoc::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/mesos.v1.rs"));

    /// The operator API of the agent.
    pub mod agent {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.agent.rs"));
    }
    /// What the allocator tells about inverse offers.
    pub mod allocator {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.allocator.rs"));
    }
    /// The executor API.
    pub mod executor {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.executor.rs"));
    }
    /// Planned absence of machines.
    pub mod maintenance {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.maintenance.rs"));
    }
    /// The operator API of the master.
    pub mod master {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.master.rs"));
    }
    /// Quota of roles.
    pub mod quota {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.quota.rs"));
    }
    /// The scheduler API.
    pub mod scheduler {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.scheduler.rs"));
    }
}

/// Our gRPC services over the messages of [`v1`].
pub mod services {
    /// Package `mesos.services.v1`: clients, servers and the messages of their own.
    #[allow(clippy::all, unreachable_pub, rustdoc::all)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/mesos.services.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/servers/mesos.services.v1.rs"));
    }
}
