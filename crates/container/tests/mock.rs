//! The mock containerizer against the suite of its port.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use mesos_container::MockContainerizer;
use mesos_ports::{
    conformance::containerizer::{self as suite, Abilities, Host},
    containerizer::{ContainerSpec, Containerizer},
};

struct Mock {
    first: MockContainerizer,
    sandboxes: tempfile::TempDir,
}

#[async_trait]
impl Host for Mock {
    fn abilities(&self) -> Abilities {
        Abilities { programs: false, memory: false, users: false }
    }

    async fn containerizer(&self) -> Arc<dyn Containerizer> {
        Arc::new(self.first.restarted())
    }

    fn adapt(&self, _spec: &mut ContainerSpec) {}

    fn sandboxes(&self) -> &Path {
        self.sandboxes.path()
    }

    async fn leftovers(&self, container_id: &str) -> Vec<String> {
        let known = self.first.wait(container_id).await.is_ok();
        known.then(|| container_id.to_string()).into_iter().collect()
    }
}

#[tokio::test]
async fn mock_conforms() {
    let host = Mock { first: MockContainerizer::new(), sandboxes: tempfile::tempdir().expect("a directory") };
    suite::run(&host).await;
    assert!(host.first.is_empty(), "every container was destroyed");
}
