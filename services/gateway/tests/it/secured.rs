//! The whole gateway over TLS: gRPC, an agent's link, and connections from inside.

use mesos_bus::{LinkBus, LinkOptions};
use mesos_gateway::{GatewayOptions, server::TlsFiles};
use mesos_ports::bus::{Bus as _, BusError};
use mesos_ports::conformance::certificates::Authority;
use mesos_proto::dial::{Access, Address};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::{bind, options, ports};

async fn check(address: &str, access: &Access) -> Result<(), String> {
    let endpoint = access.endpoint(&Address::parse(address, 5050)?).await?;
    let mut client = HealthClient::new(access.connect(endpoint).await?);
    let answer = client.check(HealthCheckRequest::default()).await;
    answer.map(drop).map_err(|status| status.to_string())
}

#[tokio::test]
async fn clients_and_agents_reach_a_gateway_over_tls_and_are_told_what_is_wrong() {
    let dir = std::env::temp_dir().join(format!("mesos-gateway-it-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&dir).unwrap();
    let authority = Authority::new();
    let ca = authority.write(&dir);
    let (certificate, key) = authority.issue(&["127.0.0.1"]).write(&dir, "gateway");
    let tls = Some(TlsFiles { certificate, key, client_ca: Some(ca.clone()) });
    let ports = ports();
    let bound = bind(GatewayOptions { tls, ..options() }, &ports).await;
    let (address, inside, stop) = (bound.local_addr(), bound.inside(), CancellationToken::new());
    let served = tokio::spawn(bound.run(stop.clone()));

    let https = format!("https://{address}");
    let access = Access { ca: Some(ca.clone()), ..Access::default() };
    check(&https, &access).await.unwrap();
    check(&address.to_string(), &Access { inside: Some(inside), ..Access::default() }).await.unwrap();
    let error = check(&https, &Access::default()).await.unwrap_err();
    assert!(error.contains("--ca-cert"), "{error}");
    let error = check(&address.to_string(), &Access::default()).await.unwrap_err();
    assert!(error.contains("write https://"), "{error}");
    let error = check(&https.replace("127.0.0.1", "localhost"), &access).await.unwrap_err();
    assert!(error.contains("not accepted") && error.contains("127.0.0.1"), "{error}");

    let link = LinkOptions { agent_id: "l-S1".into(), instance: "i".into(), access, ..LinkOptions::default() };
    let agent = LinkBus::connect(vec![https.clone()], link.clone()).await.unwrap();
    agent.flush().await.unwrap();
    let blind = LinkOptions { access: Access::default(), ..link };
    let error = LinkBus::connect(vec![https], blind.clone()).await.err().expect("refused");
    assert!(matches!(&error, BusError::Unavailable(text) if text.contains("--ca-cert")), "a file may come: {error:?}");
    let error = LinkBus::connect(vec![address.to_string()], blind).await.err().expect("refused");
    assert!(matches!(&error, BusError::Refused(text) if text.contains("write https://")), "{error:?}");
    stop.cancel();
    served.await.unwrap().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}
