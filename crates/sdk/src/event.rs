//! What a framework is told.

use bytes::Bytes;
use mesos_proto::v1::{self, scheduler};

/// An event of the subscription. HEARTBEAT is watched by the client and not handed on.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The framework is subscribed, for the first time or again; offers from before are void.
    Subscribed {
        /// Its id: to be kept, so that a restarted framework finds its tasks again.
        framework: v1::FrameworkId,
        /// It was subscribed before by this client.
        again: bool,
    },
    /// The connection is lost. The client connects again by itself; calls wait meanwhile.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// Resources that may be used.
    Offers(Vec<v1::Offer>),
    /// An offer is no longer valid.
    Rescind(v1::OfferId),
    /// Resources that are asked back.
    InverseOffers(Vec<v1::InverseOffer>),
    /// They are no longer asked back.
    RescindInverseOffer(v1::OfferId),
    /// A task has a new status. To be acknowledged if it has a `uuid`; the client does it unless
    /// [`Options::acknowledge`](crate::Options::acknowledge) is off.
    Update(Box<v1::TaskStatus>),
    /// An operation has a new status.
    OperationUpdate(Box<v1::OperationStatus>),
    /// An executor sent something.
    Message {
        /// Where.
        agent: v1::AgentId,
        /// Which executor.
        executor: v1::ExecutorId,
        /// What.
        data: Bytes,
    },
    /// An agent is lost, or an executor has ended.
    Failure {
        /// Which agent.
        agent: Option<v1::AgentId>,
        /// Which executor, if only that.
        executor: Option<v1::ExecutorId>,
        /// Its wait status.
        status: Option<i32>,
    },
    /// The framework was refused, removed, or replaced by another instance of itself. The last event: the
    /// client does not subscribe again.
    Error(String),
}

impl Event {
    /// The event of the contract, unless the client keeps it to itself (SUBSCRIBED, HEARTBEAT) or does not
    /// know it.
    pub(crate) fn from_proto(event: scheduler::Event) -> Option<Event> {
        use scheduler::event::Type;
        Some(match event.r#type() {
            Type::Offers => Event::Offers(event.offers?.offers),
            Type::Rescind => Event::Rescind(event.rescind?.offer_id),
            Type::InverseOffers => Event::InverseOffers(event.inverse_offers?.inverse_offers),
            Type::RescindInverseOffer => Event::RescindInverseOffer(event.rescind_inverse_offer?.inverse_offer_id),
            Type::Update => Event::Update(Box::new(event.update?.status)),
            Type::UpdateOperationStatus => Event::OperationUpdate(Box::new(event.update_operation_status?.status)),
            Type::Message => {
                let message = event.message?;
                Event::Message { agent: message.agent_id, executor: message.executor_id, data: message.data }
            }
            Type::Failure => {
                let failure = event.failure?;
                Event::Failure { agent: failure.agent_id, executor: failure.executor_id, status: failure.status }
            }
            Type::Error => Event::Error(event.error.map(|error| error.message).unwrap_or_default()),
            Type::Unknown | Type::Subscribed | Type::Heartbeat => return None,
        })
    }
}
