//! The v1 scheduler API over HTTP and JSON, call by call, for tests that look at single answers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::http;
use crate::recordio::Decoder;

/// How long a call may take before a test takes it for lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends one call as it is and returns the answer, whatever it is.
pub async fn post(url: &str, stream_id: Option<&str>, call: &Value) -> Result<Response> {
    let mut request = http()
        .post(format!("{url}/api/v1/scheduler"))
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .body(call.to_string());
    if let Some(stream_id) = stream_id {
        request = request.header("Mesos-Stream-Id", stream_id);
    }
    // The timeout is for the answer's head: the body of a subscription never ends.
    tokio::time::timeout(CALL_TIMEOUT, request.send())
        .await
        .with_context(|| format!("no answer from {url} within {CALL_TIMEOUT:?}"))?
        .with_context(|| format!("POST {url}/api/v1/scheduler"))
}

/// A FrameworkInfo with what tests commonly need: partition-aware, multi-role, role `*`.
pub fn framework_info(name: &str, failover_timeout: f64) -> Value {
    json!({
        "user": "root",
        "name": name,
        "roles": ["*"],
        "failover_timeout": failover_timeout,
        "checkpoint": true,
        "capabilities": [
            {"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"},
            {"type": "TASK_KILLING_STATE"}, {"type": "RESERVATION_REFINEMENT"},
        ],
    })
}

/// An open subscription: events come in here, calls go out through [`Caller`].
#[derive(Debug)]
pub struct Scheduler {
    caller: Caller,
    subscribed: Value,
    answer: Response,
    decoder: Decoder,
    passed_over: VecDeque<Value>,
}

impl Scheduler {
    /// Subscribes at a gateway and waits for SUBSCRIBED. A refusal is an error with status and body.
    pub async fn subscribe(url: &str, framework_info: &Value) -> Result<Self> {
        Self::subscribe_with(url, framework_info, &[]).await
    }

    /// The same with more fields of the SUBSCRIBE beside the FrameworkInfo.
    pub async fn subscribe_with(url: &str, framework_info: &Value, fields: &[(&str, Value)]) -> Result<Self> {
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info}});
        for (name, value) in fields {
            call["subscribe"][*name] = value.clone();
        }
        if let Some(id) = framework_info.get("id") {
            call["framework_id"] = id.clone();
        }
        let answer = post(url, None, &call).await?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            bail!("SUBSCRIBE at {url}: {status}: {}", answer.text().await.unwrap_or_default());
        }
        let stream_id = answer
            .headers()
            .get("Mesos-Stream-Id")
            .and_then(|value| value.to_str().ok())
            .context("SUBSCRIBE was answered without Mesos-Stream-Id")?
            .to_owned();
        let mut scheduler = Self {
            caller: Caller { url: url.to_owned(), framework_id: String::new(), stream_id },
            subscribed: Value::Null,
            answer,
            decoder: Decoder::default(),
            passed_over: VecDeque::new(),
        };
        let first = scheduler.next_event(CALL_TIMEOUT).await?.context("the stream ended before its first event")?;
        if first["type"] != "SUBSCRIBED" {
            bail!("the first event is not SUBSCRIBED: {first}");
        }
        scheduler.caller.framework_id = first["subscribed"]["framework_id"]["value"]
            .as_str()
            .with_context(|| format!("SUBSCRIBED without an id: {first}"))?
            .to_owned();
        scheduler.subscribed = first["subscribed"].clone();
        Ok(scheduler)
    }

    /// What SUBSCRIBED carried.
    pub fn subscribed(&self) -> &Value {
        &self.subscribed
    }

    /// The id that the framework was given.
    pub fn framework_id(&self) -> &str {
        &self.caller.framework_id
    }

    /// For calls; a clone may be used by other tasks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The next event, those passed over by [`Self::wait_for`] first. `None` at the stream's end.
    /// Fails when nothing comes within `timeout`, or when the stream breaks.
    pub async fn next_event(&mut self, timeout: Duration) -> Result<Option<Value>> {
        if let Some(event) = self.passed_over.pop_front() {
            return Ok(Some(event));
        }
        self.read(Instant::now() + timeout).await
    }

    /// Waits for an event of one type. Events of other types stay for later, heartbeats do not.
    pub async fn wait_for(&mut self, timeout: Duration, kind: &str) -> Result<Value> {
        if let Some(at) = self.passed_over.iter().position(|event| event["type"] == kind) {
            return self.passed_over.remove(at).context("the position was just found");
        }
        let deadline = Instant::now() + timeout;
        loop {
            let event = self
                .read(deadline)
                .await
                .with_context(|| format!("waiting for {kind}"))?
                .with_context(|| format!("the stream ended before {kind}"))?;
            if event["type"] == kind {
                return Ok(event);
            }
            if event["type"] != "HEARTBEAT" {
                self.passed_over.push_back(event);
            }
        }
    }

    async fn read(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            if let Some(record) = self.decoder.next_record()? {
                return Ok(Some(serde_json::from_slice(&record).context("an event is not JSON")?));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.answer.chunk()).await {
                Ok(Ok(Some(bytes))) => self.decoder.push(&bytes),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(error).context("the event stream broke"),
                Err(_) => bail!("no event in the time given"),
            }
        }
    }
}

/// Sends the calls of a subscription, through any gateway.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The gateway that takes the calls.
    pub url: String,
    /// Who calls.
    pub framework_id: String,
    /// The subscription's stream id.
    pub stream_id: String,
}

impl Caller {
    /// The same subscription, with calls through another gateway.
    pub fn through(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// Sends a call; `body` goes under the call's own name unless it is null. Returns status and text.
    pub async fn send(&self, kind: &str, body: Value) -> Result<(StatusCode, String)> {
        let mut call = json!({"framework_id": {"value": self.framework_id}, "type": kind});
        if !body.is_null() {
            call[kind.to_lowercase()] = body;
        }
        let answer = post(&self.url, Some(&self.stream_id), &call).await?;
        let status = answer.status();
        let text = tokio::time::timeout(CALL_TIMEOUT, answer.text()).await??;
        Ok((status, text))
    }

    /// Sends a call that must be answered 202.
    pub async fn call(&self, kind: &str, body: Value) -> Result<()> {
        let (status, text) = self.send(kind, body).await?;
        if status != StatusCode::ACCEPTED {
            bail!("{kind} at {}: {status}: {text}", self.url);
        }
        Ok(())
    }

    /// Launches tasks (TaskInfos, already with their agent's id) on offers.
    pub async fn launch(&self, offer_ids: &[&str], tasks: Vec<Value>) -> Result<()> {
        let operation = json!({"type": "LAUNCH", "launch": {"task_infos": tasks}});
        self.call("ACCEPT", json!({"offer_ids": ids(offer_ids), "operations": [operation]})).await
    }

    /// Carries operations out on offers; what is left of these is offered again at once.
    pub async fn accept(&self, offer_ids: &[&str], operations: Vec<Value>) -> Result<()> {
        let filters = json!({"refuse_seconds": 0});
        self.call("ACCEPT", json!({"offer_ids": ids(offer_ids), "operations": operations, "filters": filters})).await
    }

    /// Declines offers for some seconds.
    pub async fn decline(&self, offer_ids: &[&str], refuse_seconds: f64) -> Result<()> {
        let filters = json!({"refuse_seconds": refuse_seconds});
        self.call("DECLINE", json!({"offer_ids": ids(offer_ids), "filters": filters})).await
    }

    /// Acknowledges an UPDATE's status; one without uuid needs none.
    pub async fn acknowledge(&self, status: &Value) -> Result<()> {
        if status["uuid"].is_null() {
            return Ok(());
        }
        let body = json!({
            "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
        });
        self.call("ACKNOWLEDGE", body).await
    }

    /// Kills a task.
    pub async fn kill(&self, task_id: &str) -> Result<()> {
        self.call("KILL", json!({"task_id": {"value": task_id}})).await
    }
}

/// A list of ids as the API writes it.
pub fn ids(values: &[&str]) -> Value {
    values.iter().map(|value| json!({"value": value})).collect()
}

/// The sum of an offer's scalar resources of one name.
pub fn scalar(resources: &Value, name: &str) -> f64 {
    resources
        .as_array()
        .into_iter()
        .flatten()
        .filter(|resource| resource["name"] == name)
        .filter_map(|resource| resource["scalar"]["value"].as_f64())
        .sum()
}
