//! What gateways and frameworks say to each other: in order, until one of them is gone.

use mesos_core::{
    message::{AllocatorCall, RegistryCall, StreamEvent},
    row::FrameworkInfo,
};
use mesos_model::{FrameworkId, Role};

use crate::net::{Net, Node, Work};

/// A call that a gateway passes on.
#[derive(Clone, Debug)]
pub enum Passed {
    /// To the allocator.
    Allocator(AllocatorCall),
    /// To the registry.
    Registry(RegistryCall),
}

/// From a framework.
#[derive(Clone, Debug)]
pub enum ToGateway {
    /// SUBSCRIBE on a connection of its own.
    Subscribe {
        /// Who, and which connection of it.
        from: (Node, u64),
        /// The id it brings.
        framework: Option<FrameworkId>,
        /// What it says about itself.
        info: FrameworkInfo,
        /// Roles in which it wants no offers.
        suppressed: Vec<Role>,
    },
    /// Any other call.
    Call {
        /// Who, and which request of it.
        from: (Node, u64),
        /// What.
        call: Passed,
    },
    /// A framework's connections are gone, except those that are newer.
    PeerClosed {
        /// Whose.
        from: Node,
        /// The last connection that is gone.
        up_to: u64,
    },
}

/// From a gateway.
#[derive(Clone, Debug)]
pub enum ToFramework {
    /// SUBSCRIBED on a connection.
    Subscribed {
        /// Which.
        connection: u64,
        /// The framework's id.
        framework: FrameworkId,
        /// The `Mesos-Stream-Id`.
        stream: u128,
    },
    /// An event on a connection.
    Event(u64, StreamEvent),
    /// HEARTBEAT on a connection.
    Heartbeat(u64),
    /// The connection has ended, with the status of SUBSCRIBE if there was one.
    Ended(u64, u16),
    /// The answer to a request.
    Answered(u64, u16),
    /// A gateway is gone with all connections and requests.
    GatewayGone(Node),
}

/// A queue's place in a [`Net`]: what one end sends the other arrives in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire(u64);

impl Wire {
    /// How long the next one takes.
    pub fn delay(&mut self, net: &mut Net) -> u64 {
        self.0 = (net.now + net.rng.between(0, 4)).max(self.0);
        self.0 - net.now
    }
}

impl Net {
    /// Sends something to a gateway; a request to one that is gone fails at once.
    pub fn to_gateway(&mut self, gateway: Node, from: Node, wire: &mut Wire, what: ToGateway) {
        if self.is_up(gateway) {
            let delay = wire.delay(self);
            self.give(gateway, delay, Work::ToGateway(what));
        } else {
            self.give(from, 2, Work::ToFramework(ToFramework::GatewayGone(gateway)));
        }
    }
}
