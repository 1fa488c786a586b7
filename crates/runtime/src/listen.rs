//! A subscription that knows whether it is alive.
//!
//! The bus may forget a subscription without a word, after a restart of its server for example; then nobody would
//! hear anything and nobody would know. So a listener sends itself beats on its own subject. Whatever it hears
//! shows that it hears; a subscription on which nothing came for some beats is made anew.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::bus::{Bus, Message, Subscription};
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Interval, MissedTickBehavior};

/// How often a listener sends itself a beat.
pub const BEAT: Duration = Duration::from_secs(1);
/// After how many beats without any message a subscription counts as dead.
const SILENT_MAX: u32 = 3;
/// How long to wait before a subscription is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// Marks a beat. Others who listen on the subject pass it over.
const HEADER: &str = "Mesos-Beat";

/// What a listener is told.
#[derive(Debug)]
pub enum Heard {
    /// The subscription is in force.
    Opened,
    /// A message.
    Message(Message),
    /// Something was heard since the last beat, be it only that beat.
    Alive,
    /// The subscription ended or was silent. It is made anew; what came meanwhile is lost.
    Lost,
}

/// Reads one subject, or those of one pattern, for ever.
pub struct Listener {
    bus: Arc<dyn Bus>,
    pattern: String,
    beats: String,
    messages: Option<Subscription>,
    beat: Interval,
    heard: bool,
    silent: u32,
    failing: bool,
    renewed: Counter,
}

impl Listener {
    /// A listener on a subject; `renewed` counts the subscriptions that were silent.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, subject: String, renewed: Counter) -> Listener {
        Listener::of_pattern(bus, subject.clone(), subject, renewed)
    }

    /// A listener on all subjects of a pattern, of which `beats` is one: its own beats go there.
    #[must_use]
    pub fn of_pattern(bus: Arc<dyn Bus>, pattern: String, beats: String, renewed: Counter) -> Listener {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Listener { bus, pattern, beats, messages: None, beat, heard: false, silent: 0, failing: false, renewed }
    }

    /// The next thing heard.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some(messages) = &mut self.messages else {
                if self.open().await {
                    return Heard::Opened;
                }
                continue;
            };
            tokio::select! {
                // First, so that a flood of messages does not keep it away.
                biased;
                _ = self.beat.tick() => {
                    if let Some(heard) = self.tick() {
                        return heard;
                    }
                }
                message = messages.next() => match message {
                    Some(message) => {
                        self.heard = true;
                        self.silent = 0;
                        if !message.headers.iter().any(|(name, _)| name == HEADER) {
                            return Heard::Message(message);
                        }
                    }
                    None => {
                        self.messages = None;
                        return Heard::Lost;
                    }
                },
            }
        }
    }

    async fn open(&mut self) -> bool {
        match self.bus.subscribe(&self.pattern).await {
            Ok(messages) => {
                self.messages = Some(messages);
                (self.silent, self.failing) = (0, false);
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(subject = self.pattern, %error, "cannot subscribe; trying again");
                }
                tokio::time::sleep(RETRY).await;
                false
            }
        }
    }

    fn tick(&mut self) -> Option<Heard> {
        let (bus, subject) = (self.bus.clone(), self.beats.clone());
        // Not waited for: a bus that takes its time must not keep messages waiting.
        tokio::spawn(async move {
            let _ = bus.publish(&subject, vec![(HEADER.to_owned(), String::new())], Bytes::new()).await;
        });
        if std::mem::take(&mut self.heard) {
            return Some(Heard::Alive);
        }
        self.silent += 1;
        if self.silent > SILENT_MAX && !is_planted(Bug::DeadSubscriptionKept) {
            tracing::warn!(subject = self.pattern, "a subscription hears nothing any more and is made anew");
            self.renewed.inc();
            self.messages = None;
            return Some(Heard::Lost);
        }
        None
    }
}
