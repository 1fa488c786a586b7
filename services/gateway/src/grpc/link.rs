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
    let (cluster, door) = (app.options.cluster.clone(), app.door.clone());
    options.admit = Some(Arc::new(move |peer: &LinkPeer, metadata: &tonic::metadata::MetadataMap| {
        admit(&cluster, peer)?;
        let shown = door.agent(metadata.as_ref(), peer.certificate.as_ref());
        is_itself(peer, shown.map_err(Status::unauthenticated)?.as_deref())
    }));
    link::serve(app.ports.bus.clone(), options)
}

fn admit(cluster: &str, peer: &LinkPeer) -> Result<(), Status> {
    if peer.cluster.is_empty() || token(&peer.cluster) == token(cluster) {
        return Ok(());
    }
    let text = format!("this is cluster '{cluster}', not '{}': start the agent with --cluster={cluster}", peer.cluster);
    Err(Status::failed_precondition(text))
}

/// The link is bound to the agent whose certificate or token was shown; where nobody is asked, to whom it says it is.
fn is_itself(peer: &LinkPeer, shown: Option<&str>) -> Result<(), Status> {
    match shown {
        Some(shown) if shown != peer.agent_id => Err(Status::permission_denied(format!(
            "this is the certificate or token of agent {shown}, not of '{}'; a copied work directory must be emptied \
             before its agent starts",
            peer.agent_id.escape_debug()
        ))),
        _ => Ok(()),
    }
}

/// An agent speaks to the leaders of both services and hears what is for it, and nothing else.
fn allow(subjects: &Subjects, peer: &LinkPeer, op: LinkOp, subject: &str) -> bool {
    match op {
        LinkOp::Publish | LinkOp::Request => {
            // Under its instance as long as it has no id.
            let own = if peer.agent_id.is_empty() { &peer.instance } else { &peer.agent_id };
            let says = |service| subject == subjects.said(service, own);
            says(service::ALLOCATOR) || says(service::REGISTRY)
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
        let peer = LinkPeer { agent_id: "l-S1".into(), instance: "i".into(), cluster: "c".into(), certificate: None };
        let may = |op, subject: String| allow(&subjects, &peer, op, &subject);
        assert!(may(LinkOp::Publish, subjects.said("allocator", "l-S1")));
        assert!(may(LinkOp::Request, subjects.said("registry", "l-S1")));
        assert!(may(LinkOp::Subscribe, subjects.agent("l-S1")));
        assert!(may(LinkOp::Subscribe, subjects.agent("i")));
        assert!(may(LinkOp::Subscribe, subjects.agent_files("l-S1")));
        assert!(may(LinkOp::Subscribe, subjects.agents()));
        for (op, subject) in [
            (LinkOp::Publish, subjects.said("allocator", "l-S2")),
            (LinkOp::Publish, subjects.said("allocator", "i")),
            (LinkOp::Publish, subjects.service("allocator")),
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
            (LinkOp::Publish, Subjects::new("d").said("allocator", "l-S1")),
            (LinkOp::Subscribe, subjects.inbox("allocator")),
        ] {
            assert!(!may(op, subject.clone()), "{op:?} {subject}");
        }
        assert!(admit("c", &peer).is_ok());
        assert!(admit("d", &peer).is_err());
        assert!(is_itself(&peer, None).is_ok() && is_itself(&peer, Some("l-S1")).is_ok());
        assert!(is_itself(&peer, Some("l-S2")).is_err() && is_itself(&peer, Some("")).is_err());
        let fresh = LinkPeer { agent_id: String::new(), ..peer.clone() };
        assert!(allow(&subjects, &fresh, LinkOp::Publish, &subjects.said("allocator", "i")));
    }
}
