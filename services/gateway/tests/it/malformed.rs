//! Whatever comes in, the gateway answers and goes on.

use std::{sync::Arc, time::Duration};

use mesos_core::message::Answer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{World, friendly, options, world, world_with};

async fn raw(world: &World, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    // The gateway may close before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn f63_garbage_is_answered_and_the_next_one_is_served() {
    let world = world().await;
    let nested = format!(r#"{{"type":{}"#, "[".repeat(200_000));
    let bodies: Vec<Vec<u8>> = vec![
        b"\0\xff\xfe".to_vec(),
        b"null".to_vec(),
        br#"{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"operations":[null,1,"x"]}}"#.to_vec(),
        br#"{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"operations":[{"type":"LAUNCH","launch":{"task_infos":[{}]}}]}}"#.to_vec(),
        nested.into_bytes(),
        vec![0x0a; 1000],
        vec![0xff; 1000],
        vec![0x22, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        br#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"","name":"","failover_timeout":"NaN"}}}"#.to_vec(),
    ];
    for content in ["application/json", "application/x-protobuf"] {
        for body in &bodies {
            let reply = world
                .ask("POST", "/api/v1/scheduler", &[("Content-Type", content), ("Mesos-Stream-Id", "x")], body.clone())
                .await;
            assert!(matches!(reply.status(), 200 | 202 | 400 | 501), "{content} {body:?}: {}", reply.status());
        }
    }
    for bytes in [
        &b"GARBAGE\r\n\r\n"[..],
        b"POST /api/v1/scheduler HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ] {
        let answer = raw(&world, bytes).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(world.get("/health").await.status(), 200);
}

#[tokio::test]
async fn f63_random_bytes_never_break_a_call() {
    use rand::{Rng as _, SeedableRng as _};
    let world = world().await;
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let sound = br#"{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"offer_ids":[{"value":"o"}],"operations":[{"type":"LAUNCH"}]}}"#;
    for _ in 0..200 {
        let mut body = sound.to_vec();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..body.len());
            body[at] = random.random();
        }
        let content = if random.random() { "application/json" } else { "application/x-protobuf" };
        let reply =
            world.ask("POST", "/api/v1/scheduler", &[("Content-Type", content), ("Mesos-Stream-Id", "x")], body).await;
        assert!(matches!(reply.status(), 200 | 202 | 400 | 406 | 501), "{}", reply.status());
    }
}

#[tokio::test]
async fn f64_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let mut options = options();
    options.body_max = 10_000;
    let world = world_with(options, Arc::new(friendly), Arc::new(|_| Answer::accepted())).await;
    let reply = world.call(&"x".repeat(10_001), None).await;
    assert_eq!(reply.status(), 413);
    let mut chunked = b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"3e8\r\n");
        chunked.extend_from_slice(&[b' '; 1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = raw(&world, &chunked).await;
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn f65_a_client_that_takes_its_time_with_headers_or_body_is_dropped() {
    let mut options = options();
    options.header_timeout = Duration::from_millis(300);
    let world = world_with(options, Arc::new(friendly), Arc::new(|_| Answer::accepted())).await;
    for start in [
        &b""[..],
        b"P",
        b"PRI * HT",
        b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\n",
        b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{}", String::from_utf8_lossy(start));
    }
}

#[tokio::test]
async fn f63_a_call_without_what_it_needs_is_refused_in_both_encodings() {
    use mesos_proto::{prost::Message as _, v1::scheduler};
    let world = world().await;
    let lacking = [
        r#"{"type":"KILL","framework_id":{"value":"f"},"kill":{}}"#,
        r#"{"type":"KILL","framework_id":{"value":"f"}}"#,
        r#"{"type":"ACKNOWLEDGE","framework_id":{"value":"f"},"acknowledge":{"agent_id":{"value":"a"}}}"#,
        r#"{"framework_id":{"value":"f"}}"#,
    ];
    for text in lacking {
        let reply = world.call(text, Some("00000000-0000-4000-8000-000000000007")).await;
        assert_eq!(reply.status(), 400, "{text}: {}", reply.text());
    }
    let kill = scheduler::Call {
        r#type: Some(scheduler::call::Type::Kill.into()),
        framework_id: Some(mesos_proto::v1::FrameworkId { value: "f".to_owned() }),
        kill: Some(scheduler::call::Kill::default()),
        ..scheduler::Call::default()
    };
    // `kill` with an empty body, so that its required task id is not there.
    let mut bytes = scheduler::Call { kill: None, ..kill }.encode_to_vec();
    bytes.extend_from_slice(&[6 << 3 | 2, 0]);
    let headers =
        [("Content-Type", "application/x-protobuf"), ("Mesos-Stream-Id", "00000000-0000-4000-8000-000000000007")];
    let reply = world.ask("POST", "/api/v1/scheduler", &headers, bytes).await;
    assert_eq!(reply.status(), 400, "{}", reply.text());
    assert!(world.asked.registry.lock().unwrap().is_empty(), "nothing of it may reach the registry");
}

/// A client that opens streams and takes each back at once makes work that it never pays for.
#[tokio::test]
async fn f65_a_client_that_resets_stream_after_stream_is_cut_off() {
    let world = world().await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        // GET http /, as three entries of the static table; then CANCEL.
        bytes.extend(frame(1, 0x5, stream, &[0x82, 0x86, 0x84]));
        bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is still there");
    assert_eq!(world.get("/health").await.status(), 200);
}
