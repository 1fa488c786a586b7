//! An Auto Scaling group: three calls of the Auto Scaling API.
//!
//! The group is never made smaller by its size, as it would then choose by itself who goes: it is asked to end just
//! the instance that was drained.

use std::time::Duration;

use http::{HeaderValue, Request, header};
use reqsign_aws_v4::{DefaultCredentialProvider, RequestSigner};
use reqsign_core::{Context, Env, OsEnv, Signer, hash::hex_sha256};
use reqsign_file_read_tokio::TokioFileRead;
use reqsign_http_send_reqwest::ReqwestHttpSend;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    definition::Aws,
    machine::{Group, Host, Listing},
};

/// The API's version, which every call names.
const VERSION: &str = "2011-01-01";
/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The largest answer that is read: a group of some ten thousand instances.
const ANSWER_MAX: usize = 32 << 20;

/// The group of a pool.
#[derive(Debug)]
pub struct AwsProvider {
    aws: Aws,
    endpoint: String,
    client: reqwest::Client,
    signer: Signer<reqsign_aws_v4::Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeResponse {
    describe_auto_scaling_groups_result: DescribeResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeResult {
    #[serde(default)]
    auto_scaling_groups: Members<RawGroup>,
}

#[derive(Deserialize)]
struct Members<T> {
    #[serde(default = "Vec::new")]
    member: Vec<T>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Members { member: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawGroup {
    desired_capacity: u32,
    min_size: u32,
    max_size: u32,
    #[serde(default)]
    instances: Members<RawInstance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawInstance {
    instance_id: String,
    lifecycle_state: String,
}

/// AWS has one error in it; what stands in for it in tests has a list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorResponse {
    error: Option<RawError>,
    errors: Option<RawErrors>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawErrors {
    error: RawError,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawError {
    code: String,
    #[serde(default)]
    message: String,
}

impl RawInstance {
    /// It is there and is not on its way out.
    fn is_alive(&self) -> bool {
        !self.lifecycle_state.starts_with("Terminat") && !self.lifecycle_state.starts_with("Detach")
    }
}

impl AwsProvider {
    /// Hands for a pool. Credentials are found as AWS's own tools find them: variables, profile, web identity (IRSA),
    /// the container's, the instance's.
    ///
    /// # Errors
    /// If the endpoint is no address.
    pub fn new(aws: Aws) -> Result<AwsProvider, String> {
        AwsProvider::with_variables(aws, OsEnv)
    }

    /// The same with other variables than this process has.
    ///
    /// # Errors
    /// If the endpoint is no address.
    pub fn with_variables(aws: Aws, variables: impl Env) -> Result<AwsProvider, String> {
        let suffix = if aws.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let own = || format!("https://autoscaling.{}.{suffix}", aws.region);
        let endpoint = aws.endpoint.clone().unwrap_or_else(own);
        endpoint.parse::<http::Uri>().map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder().timeout(CALL_MAX).build().map_err(|error| root(&error))?;
        let context = Context::new()
            .with_file_read(TokioFileRead)
            .with_http_send(ReqwestHttpSend::new(client.clone()))
            .with_env(variables);
        let signer =
            Signer::new(context, DefaultCredentialProvider::new(), RequestSigner::new("autoscaling", &aws.region));
        Ok(AwsProvider { aws, endpoint, client, signer })
    }

    /// The group's instances and its size.
    ///
    /// # Errors
    /// What AWS says, or that there is no such group.
    pub async fn list(&self) -> Result<Listing, String> {
        let group = self.describe().await?;
        let hosts = group.instances.member.iter();
        let hosts = hosts.map(|one| Host { node: one.instance_id.clone(), alive: one.is_alive() }).collect();
        let size = Group { desired: group.desired_capacity, min: group.min_size, max: group.max_size };
        Ok(Listing { hosts, group: Some(size) })
    }

    async fn describe(&self) -> Result<RawGroup, String> {
        let parameters = [("AutoScalingGroupNames.member.1", self.aws.group.as_str())];
        let answer: DescribeResponse = self.call("DescribeAutoScalingGroups", &parameters).await?;
        let found = answer.describe_auto_scaling_groups_result.auto_scaling_groups.member.into_iter().next();
        found.ok_or_else(|| format!("there is no Auto Scaling group {} in {}", self.aws.group, self.aws.region))
    }

    /// Makes the group larger, unless it is.
    ///
    /// # Errors
    /// What AWS says.
    pub async fn resize(&self, to: u32) -> Result<(), String> {
        if self.describe().await?.desired_capacity >= to {
            return Ok(());
        }
        let to = to.to_string();
        let parameters = [("AutoScalingGroupName", self.aws.group.as_str()), ("DesiredCapacity", to.as_str())];
        self.send("SetDesiredCapacity", &parameters).await.map(drop)
    }

    /// Ends an instance of the group, and makes the group smaller by it, unless it is on its way out.
    ///
    /// # Errors
    /// What AWS says.
    pub async fn remove(&self, instance: &str) -> Result<(), String> {
        let group = self.describe().await?;
        // Asked a second time it would make the group smaller a second time.
        if !group.instances.member.iter().any(|one| one.instance_id == instance && one.is_alive()) {
            return Ok(());
        }
        let parameters = [("InstanceId", instance), ("ShouldDecrementDesiredCapacity", "true")];
        self.send("TerminateInstanceInAutoScalingGroup", &parameters).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(&self, action: &str, parameters: &[(&str, &str)]) -> Result<T, String> {
        let answer = self.send(action, parameters).await?;
        quick_xml::de::from_str(&answer).map_err(|error| format!("{action}: the answer cannot be read: {error}"))
    }

    async fn send(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        let failed = |why: String| format!("{action} at {}: {why}", self.endpoint);
        let all = [("Action", action), ("Version", VERSION)].into_iter().chain(parameters.iter().copied());
        let pairs: Vec<String> = all.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let body = pairs.join("&");
        let request = Request::post(format!("{}/", self.endpoint))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .header(
                "x-amz-content-sha256",
                HeaderValue::from_str(&hex_sha256(body.as_bytes())).map_err(|e| failed(e.to_string()))?,
            )
            .body(())
            .map_err(|error| failed(error.to_string()))?;
        let (mut parts, ()) = request.into_parts();
        let signed = tokio::time::timeout(CALL_MAX, self.signer.sign(&mut parts, None)).await;
        signed
            .map_err(|_| failed("no credentials within 30 s".to_owned()))?
            .map_err(|error| failed(format!("no credentials that can be used: {error}")))?;
        let request = self.client.post(parts.uri.to_string()).headers(parts.headers).body(body);
        let answer = request.send().await.map_err(|error| failed(root(&error)))?;
        let status = answer.status();
        let text = text(answer).await.map_err(failed)?;
        if status.is_success() {
            return Ok(text);
        }
        let said = quick_xml::de::from_str::<ErrorResponse>(&text).ok();
        let said = said.and_then(|found| found.error.or(found.errors.map(|errors| errors.error)));
        Err(failed(said.map_or_else(|| status.to_string(), |said| format!("{}: {}", said.code, said.message))))
    }
}

async fn text(mut answer: reqwest::Response) -> Result<String, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| root(&error))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err("the answer is too large".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|error| error.to_string())
}

/// As the API wants its parameters: everything but letters, digits and `-_.~` in hexadecimal.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// The innermost reason, which is the one that says something.
fn root(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
