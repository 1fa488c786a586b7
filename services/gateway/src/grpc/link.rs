//! Which subjects an agent may use over its link.

use std::sync::Arc;

use mesos_bus::link::{self, LinkHandle, LinkOp, LinkPeer, LinkServerOptions, LinkService};
use mesos_core::row::service;
use mesos_model::subject::{Subjects, token};
use mesos_proto::services::v1::agent_link_server::AgentLinkServer;
use tonic::Status;

use crate::server::App;

/// The service for agents' links, and the handle that ends them.
pub fn service(app: &App) -> (AgentLinkServer<LinkService>, LinkHandle) {
    let subjects = app.ports.subjects.clone();
    let mut options = LinkServerOptions::new(
        app.id.as_str(),
        Arc::new(move |peer: &LinkPeer, op, subject: &str| allow(&subjects, peer, op, subject)),
    );
    let cluster = app.options.cluster.clone();
    options.admit = Some(Arc::new(move |peer: &LinkPeer, _: &tonic::metadata::MetadataMap| admit(&cluster, peer)));
    link::serve(app.ports.bus.clone(), options)
}

fn admit(cluster: &str, peer: &LinkPeer) -> Result<(), Status> {
    if peer.cluster.is_empty() || token(&peer.cluster) == token(cluster) {
        return Ok(());
    }
    let text = format!("this is cluster '{cluster}', not '{}': start the agent with --cluster={cluster}", peer.cluster);
    Err(Status::failed_precondition(text))
}

/// An agent speaks to the leaders of both services and hears what is for it, and nothing else.
fn allow(subjects: &Subjects, peer: &LinkPeer, op: LinkOp, subject: &str) -> bool {
    match op {
        LinkOp::Publish | LinkOp::Request => {
            subject == subjects.service(service::ALLOCATOR) || subject == subjects.service(service::REGISTRY)
        }
        LinkOp::Subscribe => {
            let own =
                |id: &str| !id.is_empty() && (subject == subjects.agent(id) || subject == subjects.agent_files(id));
            own(&peer.agent_id) || own(&peer.instance) || subject == subjects.agents()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_hears_only_what_is_for_it_and_speaks_only_to_the_services() {
        let subjects = Subjects::new("c");
        let peer = LinkPeer { agent_id: "l-S1".into(), instance: "i".into(), cluster: "c".into() };
        let may = |op, subject: String| allow(&subjects, &peer, op, &subject);
        assert!(may(LinkOp::Publish, subjects.service("allocator")));
        assert!(may(LinkOp::Request, subjects.service("registry")));
        assert!(may(LinkOp::Subscribe, subjects.agent("l-S1")));
        assert!(may(LinkOp::Subscribe, subjects.agent("i")));
        assert!(may(LinkOp::Subscribe, subjects.agent_files("l-S1")));
        assert!(may(LinkOp::Subscribe, subjects.agents()));
        for (op, subject) in [
            (LinkOp::Publish, subjects.agent("l-S2")),
            (LinkOp::Publish, subjects.agents()),
            (LinkOp::Publish, subjects.changes("allocator")),
            (LinkOp::Publish, subjects.service("launcher")),
            (LinkOp::Publish, subjects.service("pools")),
            (LinkOp::Subscribe, subjects.agent("l-S2")),
            (LinkOp::Subscribe, subjects.agent("")),
            (LinkOp::Subscribe, subjects.service("allocator")),
            (LinkOp::Subscribe, "mesos.>".to_owned()),
            (LinkOp::Subscribe, "mesos.c.agent.*".to_owned()),
            (LinkOp::Publish, Subjects::new("d").service("allocator")),
        ] {
            assert!(!may(op, subject.clone()), "{op:?} {subject}");
        }
        assert!(admit("c", &peer).is_ok());
        assert!(admit("d", &peer).is_err());
    }
}
