//! Join tokens for the agents of nodes, where the cluster lets in nobody without one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::cluster::Cluster;

/// How long the same node is given the same token: a node whose host cannot be made is tried again and again, and the
/// cluster keeps a limited number of tokens.
const SAME: Duration = Duration::from_secs(10 * 60);
/// How long a token is good after that.
const LEFT: Duration = Duration::from_secs(10 * 60);

/// What an agent needs to join.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Good for one agent.
    pub token: String,
    /// Pins the cluster's CA: `sha256:` and the hash of its certificate.
    pub ca_hash: String,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("token", &"***").field("ca_hash", &self.ca_hash).finish()
    }
}

/// Has them made, one per node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Invitations {
    cluster: Cluster,
    made: Arc<Mutex<HashMap<String, (Instant, Invitation)>>>,
}

impl Invitations {
    /// By this cluster.
    #[must_use]
    pub fn new(cluster: Cluster) -> Invitations {
        Invitations { cluster, made: Arc::default() }
    }

    /// The invitation of a node whose host may take so long until its agent starts.
    ///
    /// # Errors
    /// If the cluster gives none, and why.
    pub async fn of(&self, node: &str, start: Duration) -> Result<Invitation, String> {
        if let Some(found) = self.kept(node) {
            return Ok(found);
        }
        let made = self.cluster.join_token(start + SAME + LEFT).await;
        let made = made.map_err(|why| format!("there is no join token for it: {why}"))?;
        let made = Invitation { token: made.token, ca_hash: made.ca_hash };
        self.lock().insert(node.to_owned(), (Instant::now(), made.clone()));
        Ok(made)
    }

    fn kept(&self, node: &str) -> Option<Invitation> {
        let mut made = self.lock();
        made.retain(|_, (when, _)| when.elapsed() < SAME);
        made.get(node).map(|(_, invitation)| invitation.clone())
    }

    /// Another agent of that name needs another.
    pub fn forget(&self, node: &str) {
        self.lock().remove(node);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Invitation)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
