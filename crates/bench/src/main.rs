//! The binary `mesos-bench`: measures a cluster from outside, over the API that frameworks use.
//!
//! Every result is one JSON line on stdout with its parameters, figures, CPU by process and peak memory;
//! a summary for people is on stderr. A run that lost a task or saw an error it cannot explain exits 1.
//!
//! # Layout
//! - [`options`]: what can be measured, and the choices that the measurements share.
//! - [`report`]: figures, JSON lines, summaries. [`usage`]: CPU and memory of processes.
//! - [`setup`]: starts and stops what is measured.
//! - [`client`]: a framework's connection; [`framework`]: one framework with its offers and tasks.
//! - [`latency`], [`throughput`], [`tasks`], [`recovery`], [`docker`], [`idle`]: the measurements.
//! - [`failover`], [`rehandshake`], [`load`], [`outage`], [`storm`]: what processes that die cost.
//! - [`allocator`]: the allocator by itself, against Mesos's.
//! - [`agents`]: simulated agents, many in this process. [`readers`]: clients that poll `/state`.

mod agents;
mod allocator;
mod client;
mod docker;
mod failover;
mod framework;
mod idle;
mod latency;
mod load;
mod options;
mod outage;
mod readers;
mod recovery;
mod rehandshake;
mod report;
mod setup;
mod storm;
mod tasks;
mod throughput;
mod usage;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use options::{Bench, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let bench = Bench::parse();
    if let Command::Allocator(options) = &bench.command {
        // Without threads, so that the time of the process is that of the work.
        return exit(allocator::run(bench.common.quiet, options));
    }
    // The one TLS provider; whoever installed one before us installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    exit(run(bench))
}

fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesos-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: Bench) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(bench.common.threads)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let common = bench.common;
    runtime.block_on(async move {
        match bench.command {
            Command::Latency(options) => latency::run(&common, &options).await,
            Command::Throughput(options) => throughput::run(&common, &options).await,
            Command::Burst(options) => tasks::burst(&common, &options).await,
            Command::Sequential(options) => tasks::sequential(&common, &options).await,
            Command::ProcessLatency(options) => tasks::process_latency(&common, &options).await,
            Command::Recovery(options) => recovery::run(&common, &options).await,
            Command::Docker(options) => docker::run(&common, &options).await,
            Command::Idle(options) => idle::run(&common, &options).await,
            Command::Failover(options) => failover::run(&common, &options).await,
            Command::Rehandshake(options) => rehandshake::run(&common, &options).await,
            Command::Load(options) => load::run(&common, &options).await,
            Command::Outage(options) => outage::run(&common, &options).await,
            Command::Storm(options) => storm::run(&common, &options).await,
            Command::Allocator(options) => allocator::run(common.quiet, &options),
        }
    })
}
