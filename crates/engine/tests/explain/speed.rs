//! What an explanation costs on a large cluster.

use mesos_engine::explanation::Query;

use crate::clusters::{Cluster, query};

/// Agents and frameworks: as many as a large cluster has where the compiler has done its best, else few.
const SIZE: (usize, usize) = if cfg!(debug_assertions) { (300, 50) } else { (10_000, 200) };

/// What this thread has had of a processor, in milliseconds, where the system tells it.
fn cpu_ms() -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "other processes do not make an explanation any slower")]
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<u64>().ok()? / 1_000_000)
}

#[expect(clippy::disallowed_methods, reason = "the time that it takes is what is asked for")]
fn measure(what: &str, cluster: &Cluster, asked: &Query) {
    let (began, cpu_before) = (std::time::Instant::now(), cpu_ms());
    let explanation = cluster.engine.explain(crate::clusters::NOW, asked).unwrap();
    let took = began.elapsed();
    let cpu = cpu_ms().zip(cpu_before).map_or_else(String::new, |(now, before)| format!(" ({} ms cpu)", now - before));
    let (took_ms, remedies) = (took.as_millis(), explanation.remedies.len());
    println!("{what}: {took_ms} ms{cpu}, {remedies} remedies; {}", explanation.summary);
    // A budget of rounds bounds it; here far below what anybody would wait for.
    assert!(took.as_secs() < 60, "{what} took {took:?}");
}

fn large() -> Cluster {
    let (agents, frameworks) = SIZE;
    let mut cluster = Cluster::new();
    for n in 0..agents {
        let total = ["cpus:16;mem:65536", "cpus:32;mem:131072;disk:100000", "cpus:8;mem:32768;ports:[31000-32000]"];
        let slot = cluster.engine.agent(&mesos_model::AgentId::new(format!("S{n}")));
        let facts = mesos_engine::AgentFacts {
            total: crate::clusters::resources(total[n % 3]),
            hostname: format!("n{n}"),
            attributes: mesos_model::attribute::parse(&format!("rack:r{}", n % 40)).unwrap(),
            counted: true,
            offerable: true,
            ..Default::default()
        };
        cluster.engine.put_agent(slot, facts);
    }
    for n in 0..frameworks {
        cluster = cluster.framework(&format!("F{n}"), &format!("role{}/team{}", n % 10, n % 50));
    }
    for n in 0..agents {
        let client = cluster.client(&format!("F{}", n % frameworks), &format!("role{}/team{}", n % 10, n % 50));
        let slot = cluster.engine.find_agent(&mesos_model::AgentId::new(format!("S{n}"))).unwrap();
        cluster.engine.allocate(slot, client, &crate::clusters::bundle("cpus:6;mem:20000"));
    }
    cluster.round()
}

#[test]
fn an_explanation_of_a_large_cluster_is_there_soon() {
    let cluster = large();
    println!("{} agents, {} frameworks", SIZE.0, SIZE.1);
    measure("fits", &cluster, &query("F7", "cpus:1", 5));
    measure("too small", &cluster, &query("F7", "cpus:64;mem:1024", 1));
    measure("in use", &cluster, &query("F7", "cpus:30", 1));
    measure("too many", &cluster, &query("F7", "cpus:8", 1000));
    let cluster = cluster.role("role7", |facts| facts.limit = crate::clusters::amounts("cpus:6100"));
    measure("limit", &cluster, &query("F7", "cpus:4", 400));
}
