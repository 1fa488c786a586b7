//! A message together with the bytes it was decoded from, so that unknown fields are not lost.

use std::ops::Deref;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message, Name};

/// A decoded message that remembers its undecoded form.
///
/// Decoding it as the top-level message keeps the bytes without a copy where the buffer allows it.
/// Encoding writes those bytes as they came; only a `Raw` made from a message encodes the message.
/// As a field inside another message it keeps no bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw<T> {
    message: T,
    raw: Bytes,
}

impl<T> Raw<T> {
    /// Wraps a message that was made here: there are no undecoded bytes.
    pub fn new(message: T) -> Self {
        Raw { message, raw: Bytes::new() }
    }

    /// The bytes as they were received; empty for a message that was made here.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The decoded message.
    pub fn message(&self) -> &T {
        &self.message
    }

    /// The decoded message and the bytes it came from.
    pub fn into_parts(self) -> (T, Bytes) {
        (self.message, self.raw)
    }
}

impl<T: Message> Raw<T> {
    /// The protobuf form: the received bytes, or else the encoded message.
    pub fn to_bytes(&self) -> Bytes {
        if self.raw.is_empty() { self.message.encode_to_vec().into() } else { self.raw.clone() }
    }
}

impl<T> From<T> for Raw<T> {
    fn from(message: T) -> Self {
        Raw::new(message)
    }
}

impl<T> Deref for Raw<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.message
    }
}

impl<T: Message + Default> Message for Raw<T> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.raw.is_empty() {
            self.message.encode_raw(buf);
        } else {
            buf.put_slice(&self.raw);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        // Bytes that no longer tell the whole message must not be written.
        self.raw.clear();
        self.message.merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        if self.raw.is_empty() { self.message.encoded_len() } else { self.raw.len() }
    }

    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError>
    where
        Self: Default,
    {
        let raw = buf.copy_to_bytes(buf.remaining());
        let message = T::decode(raw.clone())?;
        Ok(Raw { message, raw })
    }

    fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError>
    where
        Self: Sized,
    {
        let bytes = buf.copy_to_bytes(buf.remaining());
        // Concatenated encodings are how protobuf defines a merge.
        let mut both = Vec::with_capacity(self.encoded_len() + bytes.len());
        self.encode_raw(&mut both);
        both.extend_from_slice(&bytes);
        self.message.merge(bytes)?;
        self.raw = both.into();
        Ok(())
    }

    fn clear(&mut self) {
        self.message.clear();
        self.raw.clear();
    }
}

impl<T: Name + Default> Name for Raw<T> {
    const NAME: &'static str = T::NAME;
    const PACKAGE: &'static str = T::PACKAGE;
}
