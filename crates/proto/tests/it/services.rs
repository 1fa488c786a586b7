//! The generated clients and servers over a real connection.

use std::net::SocketAddr;
use std::pin::Pin;

use mesos_proto::prost::Message;
use mesos_proto::services::v1::CallResponse;
use mesos_proto::services::v1::scheduler_client::SchedulerClient;
use mesos_proto::services::v1::scheduler_server::{Scheduler, SchedulerServer};
use mesos_proto::tonic::transport::{Channel, Endpoint, Server};
use mesos_proto::tonic::{self, Request, Response, Status, Streaming};
use mesos_proto::v1::scheduler::{self, Event};
use mesos_proto::{GRPC_MESSAGE_MAX_BYTES, Raw, STREAM_ID_HEADER};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};

type RawCall = Raw<scheduler::Call>;
type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

/// Answers every call with what it got: its undecoded length as the message of an ERROR event.
struct Echo {
    calls: mpsc::UnboundedSender<RawCall>,
}

#[tonic::async_trait]
impl Scheduler for Echo {
    type ConnectStream = Events;

    async fn connect(&self, request: Request<Streaming<RawCall>>) -> Result<Response<Events>, Status> {
        let mut calls = request.into_inner();
        let seen = self.calls.clone();
        let (events, stream) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Ok(Some(call)) = calls.message().await {
                let message = call.raw().len().to_string();
                let _ = seen.send(call);
                let event = Event { error: Some(scheduler::event::Error { message }), ..Default::default() };
                let _ = events.send(Ok(event)).await;
            }
        });
        let mut response = Response::new(Box::pin(ReceiverStream::new(stream)) as Events);
        response.metadata_mut().insert(STREAM_ID_HEADER, "s-1".parse().unwrap());
        Ok(response)
    }

    async fn call(&self, request: Request<RawCall>) -> Result<Response<CallResponse>, Status> {
        let stream_id = request
            .metadata()
            .get(STREAM_ID_HEADER)
            .ok_or_else(|| Status::invalid_argument("no stream id"))?
            .to_str()
            .map_err(|_| Status::invalid_argument("bad stream id"))?
            .to_owned();
        let _ = self.calls.send(request.into_inner());
        Ok(Response::new(CallResponse { message: stream_id, response: None }))
    }
}

async fn start() -> (SchedulerClient<Channel>, Channel, mpsc::UnboundedReceiver<RawCall>) {
    let (calls, seen) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let service = SchedulerServer::new(Echo { calls }).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    (SchedulerClient::new(channel.clone()), channel, seen)
}

#[tokio::test]
async fn a_unary_call_carries_its_stream_id_and_arrives_with_its_bytes() {
    let (mut client, _, mut seen) = start().await;
    let call = scheduler::Call { call_id: Some("c".into()), ..Default::default() };
    let status = client.call(call.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let mut request = Request::new(call.clone());
    request.metadata_mut().insert(STREAM_ID_HEADER, "s-1".parse().unwrap());
    assert_eq!(client.call(request).await.unwrap().into_inner().message, "s-1");
    let arrived = seen.recv().await.unwrap();
    assert_eq!(arrived.raw(), &call.encode_to_vec());
    assert_eq!(arrived.message(), &call);
}

#[tokio::test]
async fn a_stream_takes_calls_and_gives_events() {
    let (mut client, _, mut seen) = start().await;
    let (calls, outgoing) = mpsc::channel(4);
    let response = client.connect(ReceiverStream::new(outgoing)).await.unwrap();
    assert_eq!(response.metadata().get(STREAM_ID_HEADER).unwrap(), "s-1");
    let mut events = response.into_inner();
    for id in ["first", "second"] {
        let call = scheduler::Call { call_id: Some(id.into()), ..Default::default() };
        let length = call.encoded_len().to_string();
        calls.send(call).await.unwrap();
        let event = events.message().await.unwrap().unwrap();
        assert_eq!(event.error.unwrap().message, length);
        assert_eq!(seen.recv().await.unwrap().call_id(), id);
    }
}

/// A client of a newer version, with a field that the server does not know.
#[tokio::test]
async fn fields_of_a_newer_client_arrive() {
    let (_, channel, mut seen) = start().await;
    let mut bytes = scheduler::Call { call_id: Some("c".into()), ..Default::default() }.encode_to_vec();
    bytes.extend_from_slice(b"\xf2\xff\x07\x03new");
    let newer = Raw::<scheduler::Call>::decode(&bytes[..]).unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new(newer);
    request.metadata_mut().insert(STREAM_ID_HEADER, "s-1".parse().unwrap());
    let codec = tonic_prost::ProstCodec::<RawCall, CallResponse>::default();
    let path = "/mesos.services.v1.Scheduler/Call".parse().unwrap();
    client.unary(request, path, codec).await.unwrap();
    assert_eq!(seen.recv().await.unwrap().to_bytes(), bytes);
}

#[tokio::test]
async fn a_call_of_four_mebibytes_passes() {
    let (mut client, _, mut seen) = start().await;
    let call = scheduler::Call { call_id: Some("x".repeat(4 << 20)), ..Default::default() };
    let mut request = Request::new(call);
    request.metadata_mut().insert(STREAM_ID_HEADER, "s-1".parse().unwrap());
    client.call(request).await.unwrap();
    assert_eq!(seen.recv().await.unwrap().call_id().len(), 4 << 20);
}
