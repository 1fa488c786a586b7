//! The gRPC side: the scheduler service, the agents' links, health and reflection.
//!
//! # Layout
//! - [`scheduler`]: the scheduler service.
//! - [`link`]: which subjects an agent may use.

pub mod link;
pub mod scheduler;

use mesos_bus::link::LinkHandle;
use mesos_proto::{
    FILE_DESCRIPTOR_SET, GRPC_MESSAGE_MAX_BYTES,
    services::v1::{
        agents_server::AgentsServer, allocation_server::AllocationServer, files_server::FilesServer,
        launcher_server::LauncherServer, operator_server::OperatorServer, pools_server::PoolsServer,
        scheduler_server::SchedulerServer, stats_server::StatsServer,
    },
};
use tonic::service::Routes;

use crate::{allocation::Allocation, operator::services::OperatorServices, server::App};

/// The largest message of an agent that joins, in bytes.
const JOIN_BYTES_MAX: usize = 32 * 1024;

/// All gRPC services, and the handle that ends the agents' links.
///
/// # Errors
/// If the descriptors of this build cannot be served.
pub async fn routes(app: &App) -> Result<(axum::Router, LinkHandle), String> {
    let scheduler = SchedulerServer::new(scheduler::Service::new(app.clone()))
        .max_decoding_message_size(app.options.body_max.max(GRPC_MESSAGE_MAX_BYTES))
        .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES);
    let launcher = LauncherServer::new(crate::launcher::Service::new(app.clone()))
        .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<SchedulerServer<scheduler::Service>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let failed = |error| format!("gRPC reflection: {error}");
    // Many clients still ask by the older name.
    let (v1, v1alpha) = (reflection().build_v1().map_err(failed)?, reflection().build_v1alpha().map_err(failed)?);
    let operator = OperatorServices::new(app.reads.clone());
    let stats = StatsServer::new(operator.clone());
    let allocation = AllocationServer::new(Allocation::new(app.reads.clone()))
        .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
        .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES);
    let pools =
        PoolsServer::new(crate::pools::Pools::new(app.reads.clone())).max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES);
    let files = FilesServer::new(operator.clone()).max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES);
    // A whole state in one message may be far larger than anything else.
    let operator = OperatorServer::new(operator).max_encoding_message_size(usize::MAX);
    let agents = AgentsServer::new(crate::join::Service::new(app.clone())).max_decoding_message_size(JOIN_BYTES_MAX);
    let (links, handle) = link::service(app);
    let routes = Routes::new(scheduler)
        .add_service(launcher)
        .add_service(health)
        .add_service(v1)
        .add_service(v1alpha)
        .add_service(links)
        .add_service(agents)
        .add_service(operator)
        .add_service(stats)
        .add_service(allocation)
        .add_service(pools)
        .add_service(files);
    Ok((routes.prepare().into_axum_router(), handle))
}
