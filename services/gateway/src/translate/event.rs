//! What a framework is told on its stream, as the undecoded form of `scheduler.Event`.
//!
//! Events are made as bytes, so that fields of a status that this version does not know reach the
//! framework; JSON is written from the same bytes.

use bytes::Bytes;
use mesos_core::{
    message::{InverseOffer, Offer, StreamEvent},
    row::Capabilities,
};
use mesos_model::{FrameworkId, TaskStatus};
use mesos_proto::{
    compose::{put_bytes, put_varint, without},
    prost::Message as _,
    v1::{
        self,
        scheduler::{Event, event},
    },
};

use super::resources::{self, Form};

/// The seconds between two HEARTBEATs; Mesos has no option for it either.
pub const HEARTBEAT_SECONDS: u64 = 15;

/// SUBSCRIBED.
#[must_use]
pub fn subscribed(framework: &FrameworkId, master: v1::MasterInfo) -> Bytes {
    encode(Event {
        r#type: Some(event::Type::Subscribed.into()),
        subscribed: Some(event::Subscribed {
            framework_id: super::framework_id(framework),
            heartbeat_interval_seconds: Some(HEARTBEAT_SECONDS as f64),
            master_info: Some(master),
        }),
        ..Event::default()
    })
}

/// HEARTBEAT.
#[must_use]
pub fn heartbeat() -> Bytes {
    encode(Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() })
}

/// ERROR.
#[must_use]
pub fn error(message: &str) -> Bytes {
    encode(Event {
        r#type: Some(event::Type::Error.into()),
        error: Some(event::Error { message: message.to_owned() }),
        ..Event::default()
    })
}

fn encode(event: Event) -> Bytes {
    event.encode_to_vec().into()
}

/// Any other event, for a framework with these capabilities.
#[must_use]
pub fn stream_event(framework: &FrameworkId, capabilities: &Capabilities, event: &StreamEvent) -> Bytes {
    use event::Type;
    let out = match event {
        StreamEvent::Error(message) => return error(message),
        StreamEvent::Update { status, .. } => return update(status),
        StreamEvent::Offers(offers) => Event {
            r#type: Some(Type::Offers.into()),
            offers: Some(event::Offers {
                offers: offers.iter().map(|it| offer(framework, capabilities, it)).collect(),
            }),
            ..Event::default()
        },
        StreamEvent::Rescind(offer) => Event {
            r#type: Some(Type::Rescind.into()),
            rescind: Some(event::Rescind { offer_id: super::offer_id(offer) }),
            ..Event::default()
        },
        StreamEvent::InverseOffers(offers) => Event {
            r#type: Some(Type::InverseOffers.into()),
            inverse_offers: Some(event::InverseOffers {
                inverse_offers: offers.iter().map(|it| inverse_offer(framework, it)).collect(),
            }),
            ..Event::default()
        },
        StreamEvent::RescindInverse(offer) => Event {
            r#type: Some(Type::RescindInverseOffer.into()),
            rescind_inverse_offer: Some(event::RescindInverseOffer { inverse_offer_id: super::offer_id(offer) }),
            ..Event::default()
        },
        StreamEvent::OperationError { operation, agent, message } => Event {
            r#type: Some(Type::UpdateOperationStatus.into()),
            update_operation_status: Some(event::UpdateOperationStatus {
                status: v1::OperationStatus {
                    operation_id: Some(v1::OperationId { value: operation.clone() }),
                    state: v1::OperationState::OperationError.into(),
                    message: Some(message.clone()),
                    agent_id: agent.as_ref().map(super::agent_id),
                    ..v1::OperationStatus::default()
                },
            }),
            ..Event::default()
        },
        StreamEvent::OperationFinished { operation, agent, converted } => Event {
            r#type: Some(Type::UpdateOperationStatus.into()),
            update_operation_status: Some(event::UpdateOperationStatus {
                status: v1::OperationStatus {
                    operation_id: Some(v1::OperationId { value: operation.clone() }),
                    state: v1::OperationState::OperationFinished.into(),
                    agent_id: Some(super::agent_id(agent)),
                    // Mesos has the stacks of reservations in here, whatever the framework understands.
                    converted_resources: resources::to_proto(converted, Form { allocated_to: None, refined: true }),
                    ..v1::OperationStatus::default()
                },
            }),
            ..Event::default()
        },
        StreamEvent::Message { agent, executor, data } => Event {
            r#type: Some(Type::Message.into()),
            message: Some(event::Message {
                agent_id: super::agent_id(agent),
                executor_id: super::executor_id(executor),
                data: data.clone(),
            }),
            ..Event::default()
        },
        StreamEvent::Failure { agent, executor, status } => Event {
            r#type: Some(Type::Failure.into()),
            failure: Some(event::Failure {
                agent_id: Some(super::agent_id(agent)),
                executor_id: executor.as_ref().map(super::executor_id),
                status: *status,
            }),
            ..Event::default()
        },
    };
    encode(out)
}

/// An offer in the form that a framework with these capabilities understands.
#[must_use]
pub fn offer(framework: &FrameworkId, capabilities: &Capabilities, offer: &Offer) -> v1::Offer {
    let role = capabilities.multi_role.then_some(&offer.role);
    let form = Form { allocated_to: role, refined: capabilities.reservation_refinement };
    v1::Offer {
        id: super::offer_id(&offer.id),
        framework_id: super::framework_id(framework),
        agent_id: super::agent_id(&offer.agent),
        hostname: offer.hostname.clone(),
        url: Some(agent_url(&offer.hostname, &offer.ip, offer.port)),
        domain: offer.domain.as_ref().map(|(region, zone)| super::domain(region, zone)),
        resources: resources::to_proto(&offer.resources, form),
        attributes: super::attributes(&offer.attributes),
        executor_ids: offer.executors.iter().map(super::executor_id).collect(),
        unavailability: offer.unavailability.as_ref().map(crate::leave::unavailability),
        allocation_info: role.map(|role| v1::resource::AllocationInfo { role: Some(role.as_str().to_owned()) }),
    }
}

/// An inverse offer. Mesos has no resources in one for maintenance: all of the agent is meant.
fn inverse_offer(framework: &FrameworkId, offer: &InverseOffer) -> v1::InverseOffer {
    v1::InverseOffer {
        id: super::offer_id(&offer.id),
        url: Some(agent_url(&offer.hostname, &offer.ip, offer.port)),
        framework_id: super::framework_id(framework),
        agent_id: Some(super::agent_id(&offer.agent)),
        unavailability: crate::leave::unavailability(&offer.unavailability),
        resources: Vec::new(),
    }
}

fn agent_url(hostname: &str, ip: &str, port: u32) -> v1::Url {
    v1::Url {
        scheme: "http".to_owned(),
        address: v1::Address {
            hostname: Some(hostname.to_owned()),
            ip: (!ip.is_empty()).then(|| ip.to_owned()),
            port: i32::try_from(port).unwrap_or(0),
        },
        path: Some("/slave(1)".to_owned()),
        query: Vec::new(),
        fragment: None,
    }
}

/// Field numbers of `mesos.v1` that are written by hand.
mod number {
    pub(super) const EVENT_TYPE: u32 = 1;
    pub(super) const EVENT_UPDATE: u32 = 5;
    pub(super) const UPDATE_STATUS: u32 = 1;
    pub(super) const TASK_ID: u32 = 1;
    pub(super) const STATE: u32 = 2;
    pub(super) const MESSAGE: u32 = 4;
    pub(super) const AGENT_ID: u32 = 5;
    pub(super) const TIMESTAMP: u32 = 6;
    pub(super) const EXECUTOR_ID: u32 = 7;
    pub(super) const HEALTHY: u32 = 8;
    pub(super) const SOURCE: u32 = 9;
    pub(super) const REASON: u32 = 10;
    pub(super) const UUID: u32 = 11;
    pub(super) const UNREACHABLE_TIME: u32 = 14;
    pub(super) const EXIT_CODE: u32 = 10_000;
}

fn update(status: &TaskStatus) -> Bytes {
    let (mut update, mut event) = (Vec::new(), Vec::new());
    put_bytes(&mut update, number::UPDATE_STATUS, &task_status_bytes(status));
    put_varint(&mut event, number::EVENT_TYPE, event::Type::Update as i32 as u64);
    put_bytes(&mut event, number::EVENT_UPDATE, &update);
    event.into()
}

/// A status as the contract has it; see [`task_status_bytes`].
#[must_use]
pub fn task_status(status: &TaskStatus) -> v1::TaskStatus {
    // Both parts were checked when the bytes were made.
    v1::TaskStatus::decode(task_status_bytes(status).as_slice()).unwrap_or_else(|_| facts(status))
}

/// A status undecoded: the facts, and beside them whatever else its executor or agent wrote. A body that is
/// no status is left out.
#[must_use]
pub fn task_status_bytes(status: &TaskStatus) -> Vec<u8> {
    let mut out = facts(status).encode_to_vec();
    if !status.body.is_empty() && v1::TaskStatus::decode(status.body.clone()).is_ok() {
        let mut known = vec![
            number::TASK_ID,
            number::STATE,
            number::SOURCE,
            number::TIMESTAMP,
            number::UUID,
            number::UNREACHABLE_TIME,
        ];
        for (number, is_known) in [
            (number::MESSAGE, status.message.is_some()),
            (number::REASON, status.reason.is_some()),
            (number::AGENT_ID, status.agent.is_some()),
            (number::EXECUTOR_ID, status.executor.is_some()),
            (number::HEALTHY, status.healthy.is_some()),
            (number::EXIT_CODE, status.exit_code.is_some()),
        ] {
            known.extend(is_known.then_some(number));
        }
        if let Ok(rest) = without(&status.body, &known) {
            out.extend_from_slice(&rest);
        }
    }
    out
}

fn facts(status: &TaskStatus) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: super::task_id(&status.task),
        state: status.state.number(),
        message: status.message.clone(),
        source: Some(status.source as i32),
        reason: status.reason.map(|reason| reason.0),
        agent_id: status.agent.as_ref().map(super::agent_id),
        executor_id: status.executor.as_ref().map(super::executor_id),
        timestamp: Some(status.time.as_seconds()),
        uuid: status.uuid.map(|uuid| Bytes::copy_from_slice(&uuid.to_be_bytes())),
        healthy: status.healthy,
        unreachable_time: status.unreachable.map(|time| v1::TimeInfo {
            nanoseconds: i64::try_from(time.0).unwrap_or(i64::MAX).saturating_mul(1_000_000),
        }),
        exit_code: status.exit_code,
        ..v1::TaskStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use mesos_core::message::Unavailability;
    use mesos_model::{Reason, Resources, Source, TaskState, Time};
    use mesos_proto::json::{self, Defaults};

    use super::*;

    fn away() -> Unavailability {
        Unavailability { start_ns: 7, duration_ns: Some(9) }
    }

    fn an_offer() -> Offer {
        Offer {
            id: "l-O1".into(),
            role: "ads".into(),
            agent: "l-S1".into(),
            hostname: "10.0.0.1".into(),
            ip: "10.0.0.1".into(),
            port: 5051,
            resources: Resources::of(&[("cpus", 1500)]),
            attributes: mesos_model::attribute::parse("rack:r2;n:5;span:[1-2]").unwrap(),
            domain: Some(("eu".into(), "a".into())),
            executors: vec!["e".into()],
            unavailability: Some(away()),
        }
    }

    fn an_inverse_offer() -> InverseOffer {
        InverseOffer {
            id: "l-I1".into(),
            agent: "l-S1".into(),
            hostname: "h".into(),
            ip: String::new(),
            port: 5051,
            unavailability: away(),
        }
    }

    #[test]
    fn an_inverse_offer_says_which_agent_will_be_away_and_when() {
        let event = StreamEvent::InverseOffers(vec![an_inverse_offer()]);
        let event = as_json(&stream_event(&"f".into(), &Capabilities::default(), &event));
        let offer = &event["inverse_offers"]["inverse_offers"][0];
        assert_eq!(offer["id"]["value"], "l-I1");
        assert_eq!((&offer["agent_id"]["value"], &offer["framework_id"]["value"]), (&"l-S1".into(), &"f".into()));
        assert_eq!(offer["unavailability"]["start"]["nanoseconds"], 7);
    }

    fn as_json(bytes: &Bytes) -> serde_json::Value {
        let text = json::encode_bytes("mesos.v1.scheduler.Event", bytes, Defaults::Declared).unwrap();
        assert!(text.is_ascii() && !text.contains('\n'));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_offer_is_whole_and_complete_in_the_form_that_the_framework_understands() {
        let event = StreamEvent::Offers(vec![an_offer()]);
        let plain = as_json(&stream_event(&"f".into(), &Capabilities::default(), &event));
        let offer = &plain["offers"]["offers"][0];
        assert_eq!(offer["url"]["path"], "/slave(1)");
        assert_eq!(offer["url"]["address"]["ip"], "10.0.0.1");
        assert_eq!(offer["url"]["address"]["port"], 5051);
        assert_eq!(offer["unavailability"]["duration"]["nanoseconds"], 9);
        assert_eq!(offer["domain"]["fault_domain"]["region"]["name"], "eu");
        assert_eq!(offer["attributes"][0]["text"]["value"], "r2");
        assert_eq!(offer["executor_ids"][0]["value"], "e");
        assert_eq!(offer["resources"][0]["role"], "*");
        assert!(offer.get("allocation_info").is_none() && offer["resources"][0].get("allocation_info").is_none());

        let both = Capabilities { multi_role: true, reservation_refinement: true, ..Capabilities::default() };
        let new = as_json(&stream_event(&"f".into(), &both, &event));
        let offer = &new["offers"]["offers"][0];
        assert_eq!(offer["allocation_info"]["role"], "ads");
        assert_eq!(offer["resources"][0]["allocation_info"]["role"], "ads");
        assert!(offer["resources"][0].get("role").is_none());
    }

    #[test]
    fn the_facts_of_a_status_win_over_its_body_and_the_rest_of_the_body_stays() {
        let body = v1::TaskStatus {
            task_id: v1::TaskId { value: "wrong".into() },
            state: TaskState::Failed.number(),
            data: Some(Bytes::from_static(b"data")),
            uuid: Some(Bytes::from_static(&[7; 16])),
            message: Some("from the body".into()),
            reason: Some(1),
            ..v1::TaskStatus::default()
        };
        let mut body = body.encode_to_vec();
        put_bytes(&mut body, 29_999, b"of a newer executor");
        let mut status = TaskStatus::new("t".into(), TaskState::Running, Source::Executor, Time(1500));
        status.body = body.into();
        status.reason = Some(Reason::RECONCILIATION);
        let out = task_status(&status);
        assert_eq!((out.task_id.value.as_str(), out.state, out.uuid), ("t", 1, None));
        assert_eq!((out.data.as_deref(), out.message.as_deref()), (Some(&b"data"[..]), Some("from the body")));
        assert_eq!((out.reason, out.timestamp), (Some(9), Some(1.5)));
        let event = stream_event(&"f".into(), &Capabilities::default(), &StreamEvent::Update { status, trace: None });
        assert!(event.windows(19).any(|part| part == b"of a newer executor"));
        assert_eq!(as_json(&event)["update"]["status"]["state"], "TASK_RUNNING");
    }

    #[test]
    fn a_damaged_body_is_left_out() {
        let mut status = TaskStatus::new("t".into(), TaskState::Running, Source::Agent, Time(0));
        status.body = Bytes::from_static(b"\xff\xff");
        assert_eq!(task_status(&status).task_id.value, "t");
    }

    #[test]
    fn every_other_event_has_its_name_and_parts() {
        let f: FrameworkId = "f".into();
        let none = Capabilities::default();
        let cases = [
            (StreamEvent::Rescind("o".into()), "RESCIND"),
            (StreamEvent::RescindInverse("o".into()), "RESCIND_INVERSE_OFFER"),
            (StreamEvent::InverseOffers(vec![an_inverse_offer()]), "INVERSE_OFFERS"),
            (StreamEvent::Error("é\n".into()), "ERROR"),
            (StreamEvent::Failure { agent: "a".into(), executor: Some("e".into()), status: Some(9) }, "FAILURE"),
            (
                StreamEvent::Message { agent: "a".into(), executor: "e".into(), data: Bytes::from_static(b"x") },
                "MESSAGE",
            ),
            (
                StreamEvent::OperationError { operation: "op".into(), agent: None, message: "no".into() },
                "UPDATE_OPERATION_STATUS",
            ),
            (
                StreamEvent::OperationFinished {
                    operation: "op".into(),
                    agent: "a".into(),
                    converted: mesos_model::resources_text::parse("disk(ads):1", "*").unwrap_or_default(),
                },
                "UPDATE_OPERATION_STATUS",
            ),
        ];
        for (event, name) in cases {
            assert_eq!(as_json(&stream_event(&f, &none, &event))["type"], name);
        }
        assert_eq!(as_json(&heartbeat()), serde_json::json!({"type": "HEARTBEAT"}));
    }
}
