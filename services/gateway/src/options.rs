//! What can be chosen about a gateway.

use std::{net::IpAddr, time::Duration};

use crate::{auth::Security, server::TlsFiles};

/// How a gateway behaves. The defaults are those of `mesos gateway`.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// The address it listens on.
    pub ip: IpAddr,
    /// The port it listens on; 0 takes a free one.
    pub port: u16,
    /// Its certificates; plain if `None`.
    pub tls: Option<TlsFiles>,
    /// The cluster's name, as shown; `Ports::subjects` are made from the same one.
    pub cluster: String,
    /// The host's name, as clients are told.
    pub hostname: String,
    /// The address that clients are told, if it is not `ip`.
    pub advertise_ip: Option<IpAddr>,
    /// The port that clients are told, if it is not `port`.
    pub advertise_port: Option<u16>,
    /// The largest body of a request, in bytes, packed and unpacked.
    pub body_max: usize,
    /// Event streams that it holds at most.
    pub streams_max: usize,
    /// Events that wait for one stream's client at most; a client that is further behind is cut off.
    pub queue_max: usize,
    /// The same in bytes, about.
    pub queue_bytes_max: usize,
    /// Connections at most.
    pub connections_max: usize,
    /// How long a call is held while a service has no leader.
    pub hold: Duration,
    /// How long a call waits until this gateway's copy knows of the subscription that the call shows.
    pub cover: Duration,
    /// How long nobody may know a task that is watched before it counts as lost. A store that came back without its last
    /// commits knows again within seconds what agents hold; what had not left for an agent is gone for good.
    pub lost_after: Duration,
    /// How long a stopping gateway waits for calls that are under way.
    pub grace: Duration,
    /// How long a client may take to send its headers, or to go on with its body.
    pub header_timeout: Duration,
    /// Who is who.
    pub security: Security,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        GatewayOptions {
            ip: IpAddr::from([127, 0, 0, 1]),
            port: 5050,
            tls: None,
            cluster: "default".to_owned(),
            hostname: "localhost".to_owned(),
            advertise_ip: None,
            advertise_port: None,
            body_max: 8 * 1024 * 1024,
            streams_max: 10_000,
            queue_max: 4096,
            queue_bytes_max: 16 * 1024 * 1024,
            connections_max: 20_000,
            hold: Duration::from_secs(5),
            cover: Duration::from_secs(1),
            lost_after: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            security: Security::default(),
        }
    }
}
