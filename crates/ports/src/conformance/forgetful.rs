//! A bus that forgets its subscriptions without a word, as a server may after a restart.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};

use crate::bus::{Bus, BusError, BusEvent, Headers, Message, Subscription};

/// A bus around another one.
pub struct Forgetful {
    inner: Arc<dyn Bus>,
    memory: Arc<AtomicU64>,
}

impl Forgetful {
    /// Around `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Bus>) -> Forgetful {
        Forgetful { inner, memory: Arc::default() }
    }

    /// Whoever has subscribed until now hears nothing any more. Their subscriptions do not end.
    pub fn forget(&self) {
        self.memory.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Bus for Forgetful {
    async fn publish(&self, subject: &str, headers: Headers, payload: Bytes) -> Result<(), BusError> {
        self.inner.publish(subject, headers, payload).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        let (memory, since) = (self.memory.clone(), self.memory.load(Ordering::SeqCst));
        let messages = self.inner.subscribe(pattern).await?;
        Ok(messages.filter(move |_| ready(memory.load(Ordering::SeqCst) == since)).boxed())
    }

    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        after: Duration,
    ) -> Result<Message, BusError> {
        self.inner.request(subject, headers, payload, after).await
    }

    fn events(&self) -> BoxStream<'static, BusEvent> {
        self.inner.events()
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.inner.flush().await
    }
}
