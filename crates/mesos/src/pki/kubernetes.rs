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
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Secrets by name, as an API server keeps them; a name in `forbidden` may not be touched.
    #[derive(Default)]
    struct Kept {
        secrets: BTreeMap<String, BTreeMap<String, Value>>,
        forbidden: Option<String>,
        writes: usize,
    }

    async fn api() -> (Api, Arc<Mutex<Kept>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Mutex::new(Kept::default()));
        let server = kept.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &server).await;
            }
        });
        let ca = mesos_identity::authority::new_key().and_then(|key| mesos_identity::authority::self_signed("k", &key));
        let _ = rustls::crypto::ring::default_provider().install_default();
        (Api::new(&url, "ns", ca.unwrap().as_bytes(), "account").unwrap(), kept)
    }

    async fn serve(stream: TcpStream, kept: &Mutex<Kept>) {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).await.unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            let line = head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
            line.map(|value| value.trim().to_owned())
        };
        assert_eq!(header("authorization:").as_deref(), Some("bearer account"));
        let length: usize = header("content-length:").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await.unwrap();
        let (status, answer) = kept.lock().unwrap().answer(&head[0], &body);
        let answer = answer.to_string();
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        );
        reader.into_inner().write_all(text.as_bytes()).await.unwrap();
    }

    impl Kept {
        fn answer(&mut self, request: &str, body: &[u8]) -> (u16, Value) {
            let mut words = request.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let below = path.strip_prefix("/api/v1/namespaces/ns/secrets").unwrap();
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let name = below.strip_prefix('/').or_else(|| body["metadata"]["name"].as_str()).unwrap().to_owned();
            if self.forbidden.as_deref() == Some(&name) {
                return (403, json!({ "message": "secrets is forbidden" }));
            }
            let data = body["data"].as_object().cloned().unwrap_or_default();
            self.writes += usize::from(method != "GET");
            match (method, self.secrets.get_mut(&name)) {
                ("GET", Some(secret)) => (200, json!({ "data": secret })),
                ("POST", None) => {
                    self.secrets.insert(name, data.into_iter().collect());
                    (201, json!({}))
                }
                ("POST", Some(_)) => (409, json!({})),
                ("PATCH", Some(secret)) => {
                    secret.extend(data);
                    (200, json!({}))
                }
                _ => (404, json!({ "message": "not found" })),
            }
        }
    }

    fn cluster() -> Cluster {
        Cluster { name: "c".to_owned(), hosts: vec!["mesos-gateway.ns.svc".to_owned()] }
    }

    #[tokio::test]
    async fn secrets_are_made_once_and_what_is_missing_is_added() {
        let (api, kept) = api().await;
        api.init(&cluster(), "m").await.unwrap();
        let first = kept.lock().unwrap().secrets.clone();
        assert_eq!(first.len(), SECRETS.len());
        assert_eq!(first["m-gateway"].keys().collect::<Vec<_>>(), ["gateway.crt", "gateway.key"]);
        let writes = kept.lock().unwrap().writes;
        api.init(&cluster(), "m").await.unwrap();
        assert_eq!(kept.lock().unwrap().writes, writes, "everything is kept");
        kept.lock().unwrap().secrets.get_mut("m-nats").unwrap().remove("nats.crt");
        kept.lock().unwrap().secrets.remove("m-control");
        api.init(&cluster(), "m").await.unwrap();
        let again = kept.lock().unwrap().secrets.clone();
        assert!(again["m-nats"].contains_key("nats.crt") && again["m-control"].contains_key("control.creds"));
        assert_eq!(again["m-nats"]["nats.key"], first["m-nats"]["nats.key"]);
        assert_eq!(again["m-ca-key"], first["m-ca-key"]);
    }

    #[tokio::test]
    async fn what_the_account_may_not_do_is_said() {
        let (api, kept) = api().await;
        kept.lock().unwrap().forbidden = Some("m-nats".to_owned());
        let error = api.init(&cluster(), "m").await.unwrap_err();
        assert!(
            error.contains("Secret m-nats") && error.contains("forbidden") && error.contains("get, create and patch"),
            "{error}"
        );
    }

    #[test]
    fn every_file_is_in_one_secret() {
        for kind in pki::FILES.iter().filter(|kind| kind.name != "README") {
            let holders = SECRETS.iter().filter(|(_, kinds)| kinds.contains(&kind.name)).count();
            assert_eq!(holders, 1, "{}", kind.name);
        }
    }
}
