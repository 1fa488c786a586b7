//! Messages and errors of the bus to and from the frames of a link.

use std::time::Duration;

use mesos_ports::bus::{BusError, Headers, Message};
use mesos_proto::services::v1 as wire;
use wire::failure::Code;
use wire::frame::Body;

pub(super) fn frame(body: Body) -> wire::Frame {
    wire::Frame { body: Some(body) }
}

pub(super) fn headers_to_wire(headers: Headers) -> Vec<wire::Header> {
    headers.into_iter().map(|(key, value)| wire::Header { key, value }).collect()
}

pub(super) fn headers_from_wire(headers: Vec<wire::Header>) -> Headers {
    headers.into_iter().map(|header| (header.key, header.value)).collect()
}

pub(super) fn message_to_wire(message: Message) -> wire::BusMessage {
    wire::BusMessage {
        subject: message.subject,
        reply: message.reply,
        headers: headers_to_wire(message.headers),
        payload: message.payload,
    }
}

pub(super) fn message_from_wire(message: wire::BusMessage) -> Message {
    Message {
        subject: message.subject,
        reply: message.reply,
        headers: headers_from_wire(message.headers),
        payload: message.payload,
    }
}

pub(super) fn failure(error: &BusError) -> wire::Failure {
    let (code, detail) = match error {
        BusError::NoResponders(subject) => (Code::NoResponders, subject.clone()),
        BusError::Timeout { subject, .. } => (Code::Timeout, subject.clone()),
        BusError::Unavailable(why) => (Code::Unavailable, why.clone()),
        BusError::Refused(why) => (Code::Refused, why.clone()),
    };
    wire::Failure { code: code.into(), detail }
}

/// The error that a failure stands for, in the words of the call that failed.
pub(super) fn error(failure: wire::Failure, subject: &str, after: Duration) -> BusError {
    match failure.code() {
        Code::NoResponders => BusError::NoResponders(subject.to_owned()),
        Code::Timeout => BusError::Timeout { subject: subject.to_owned(), after },
        Code::Refused => BusError::Refused(failure.detail),
        // A code of a newer gateway: asking again cannot hurt.
        Code::Unavailable | Code::Unspecified => BusError::Unavailable(failure.detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_wire() {
        let after = Duration::from_secs(2);
        let all = [
            BusError::NoResponders("s".to_owned()),
            BusError::Timeout { subject: "s".to_owned(), after },
            BusError::Unavailable("why".to_owned()),
            BusError::Refused("why".to_owned()),
        ];
        for one in all {
            assert_eq!(error(failure(&one), "s", after).to_string(), one.to_string());
        }
        let unknown = wire::Failure { code: 99, detail: "new".to_owned() };
        assert!(error(unknown, "s", after).is_retryable());
    }
}
