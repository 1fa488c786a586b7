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
async fn garbage_is_answered_and_the_next_one_is_served() {
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
async fn random_bytes_never_break_a_call() {
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
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
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
async fn a_client_that_takes_its_time_with_headers_or_body_is_dropped() {
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
