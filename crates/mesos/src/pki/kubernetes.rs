//! The files of `mesos pki init` as Secrets, for a chart that makes its own credentials: a Job runs this before the
//! first installation, and again before each upgrade, when it finds everything there.

use std::{collections::BTreeMap, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mesos_identity::pki::{self, Cluster, Files};
use reqwest::{Certificate, Client, StatusCode};
use serde::Deserialize;
use serde_json::json;

/// Where a pod finds who it is.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PATIENCE: Duration = Duration::from_secs(30);
/// Attempts to write a Secret that somebody else writes at the same time.
const ATTEMPTS: usize = 5;

/// Which file is in which Secret: whoever needs one gets no more than that. Names follow the prefix and a dash.
pub(super) const SECRETS: [(&str, &[&str]); 8] = [
    ("ca", &["ca.crt"]),
    ("ca-key", &["ca.key"]),
    ("gateway", &["gateway.crt", "gateway.key"]),
    ("nats", &["nats.crt", "nats.key", "nats-accounts.conf"]),
    ("redis", &["redis.crt", "redis.key", "redis-users.acl"]),
    ("tokens", &["token.key", "nats-account.seed"]),
    ("control", &["control.creds", "redis-password"]),
    ("operator", &["operator.token", "nats-operator.seed"]),
];

/// Makes the Secrets that are missing, and adds what is missing to those that are there.
pub(super) fn init(cluster: &Cluster, namespace: Option<&str>, prefix: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let api = Api::of_the_pod(namespace)?;
        api.init(cluster, prefix).await
    })
}

#[derive(Deserialize)]
struct Secret {
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// The API server, as this pod may use it.
struct Api {
    client: Client,
    secrets: String,
    token: String,
}

impl Api {
    fn of_the_pod(namespace: Option<&str>) -> Result<Api, String> {
        let read = |name: &str| {
            let path = Path::new(ACCOUNT).join(name);
            std::fs::read_to_string(&path).map_err(|error| {
                format!(
                    "--kubernetes: {} cannot be read: {error}; it runs in a pod with a service account",
                    path.display()
                )
            })
        };
        let place =
            |name: &str| std::env::var(name).map_err(|_| format!("--kubernetes: {name} is not set; it runs in a pod"));
        let (host, port) = (place("KUBERNETES_SERVICE_HOST")?, place("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let namespace = match namespace {
            Some(named) => named.to_owned(),
            None => read("namespace")?.trim().to_owned(),
        };
        Api::new(&format!("https://{host}:{port}"), &namespace, read("ca.crt")?.as_bytes(), read("token")?.trim())
    }

    fn new(url: &str, namespace: &str, ca: &[u8], token: &str) -> Result<Api, String> {
        let failed = |error: reqwest::Error| format!("--kubernetes: {error}");
        let client = Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(ca).map_err(failed)?)
            .timeout(PATIENCE)
            .build()
            .map_err(failed)?;
        let secrets = format!("{url}/api/v1/namespaces/{namespace}/secrets");
        Ok(Api { client, secrets, token: token.to_owned() })
    }

    async fn init(&self, cluster: &Cluster, prefix: &str) -> Result<(), String> {
        let mut files = Files::new();
        for (name, kinds) in SECRETS {
            let secret = self.get(&format!("{prefix}-{name}")).await?.unwrap_or_default();
            for kind in kinds.iter().filter(|kind| secret.contains_key(**kind)) {
                let bytes = STANDARD.decode(&secret[*kind]).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                files.insert(
                    (*kind).to_owned(),
                    text.ok_or_else(|| format!("Secret {prefix}-{name}: {kind} is no text"))?,
                );
            }
        }
        let made = pki::complete(&mut files, cluster).map_err(|error| error.to_string())?;
        for (name, kinds) in SECRETS {
            let parts: Vec<&str> = kinds.iter().copied().filter(|kind| made.contains(kind)).collect();
            let name = format!("{prefix}-{name}");
            if parts.is_empty() {
                println!("Secret {name} is kept");
                continue;
            }
            let data: BTreeMap<&str, String> =
                parts.iter().map(|part| (*part, STANDARD.encode(&files[*part]))).collect();
            self.put(&name, &data).await?;
            println!("Secret {name}: made {}", parts.join(", "));
        }
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        let request = self.client.get(format!("{}/{name}", self.secrets)).bearer_auth(&self.token);
        let response = request.send().await.map_err(|error| format!("Secret {name}: {}", whole(&error)))?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let secret: Secret = response.json().await.map_err(|error| format!("Secret {name}: {error}"))?;
                Ok(Some(secret.data))
            }
            status => Err(refused(name, "read", status, response).await),
        }
    }

    /// Makes a Secret, or adds to one.
    async fn put(&self, name: &str, data: &BTreeMap<&str, String>) -> Result<(), String> {
        let labels = json!({ "app.kubernetes.io/name": "mesos", "app.kubernetes.io/managed-by": "mesos-pki" });
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "name": name, "labels": labels }, "data": data,
        });
        for _ in 0..ATTEMPTS {
            let request = self.client.post(&self.secrets).bearer_auth(&self.token).json(&body);
            let response = request.send().await.map_err(|error| format!("Secret {name}: {}", whole(&error)))?;
            match response.status() {
                status if status.is_success() => return Ok(()),
                StatusCode::CONFLICT => {}
                status => return Err(refused(name, "made", status, response).await),
            }
            let request = self.client.patch(format!("{}/{name}", self.secrets)).bearer_auth(&self.token);
            let patch = request.header("content-type", "application/merge-patch+json");
            let response = patch.body(json!({ "data": data }).to_string()).send().await;
            let response = response.map_err(|error| format!("Secret {name}: {}", whole(&error)))?;
            match response.status() {
                status if status.is_success() => return Ok(()),
                // It was there, and is gone again, or changes at the same time.
                StatusCode::NOT_FOUND | StatusCode::CONFLICT => {}
                status => return Err(refused(name, "changed", status, response).await),
            }
        }
        Err(format!("Secret {name}: somebody else writes it all the time"))
    }
}

async fn refused(name: &str, done: &str, status: StatusCode, response: reqwest::Response) -> String {
    let text = response.text().await.unwrap_or_default();
    let message = serde_json::from_str::<serde_json::Value>(&text).ok();
    let message = message.and_then(|status| status["message"].as_str().map(str::to_owned)).unwrap_or_default();
    format!(
        "Secret {name} cannot be {done}: {status} {message}; the service account needs get, create and patch on secrets"
    )
}

/// An error with its causes, which say what it is.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_one_secret() {
        for kind in pki::FILES.iter().filter(|kind| kind.name != "README") {
            let holders = SECRETS.iter().filter(|(_, kinds)| kinds.contains(&kind.name)).count();
            assert_eq!(holders, 1, "{}", kind.name);
        }
    }
}
