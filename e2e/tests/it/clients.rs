//! Mesos clients that others wrote, and one generated from `proto/`, each against local mode.

use anyhow::Result;
use mesos_e2e::clients::Client;

use crate::support::local;

async fn ends_well(client: Client, words: &[&str]) -> Result<()> {
    let cluster = local().await?;
    let output = client.run(&cluster.gateway_address(0)).await?;
    for word in words {
        assert!(output.contains(word), "{client:?} did not say {word:?}:\n{output}");
    }
    cluster.finish()
}

#[tokio::test]
async fn mesos_framework_of_npm_launches_and_acknowledges() -> Result<()> {
    ends_well(Client::NodeMesosFramework, &["ok: 3 tasks finished, 1 failed as it should"]).await
}

#[tokio::test]
async fn a_framework_written_after_the_documentation_works() -> Result<()> {
    ends_well(Client::PythonHttp, &["good TASK_FINISHED", "bad TASK_FAILED", "ok"]).await
}

#[tokio::test]
async fn mesoshttp_of_pypi_runs_its_task() -> Result<()> {
    ends_well(Client::PythonMesosHttp, &["hello TASK_FINISHED", "ok"]).await
}

#[tokio::test]
async fn a_python_client_generated_from_the_contract_runs_a_task_over_grpc() -> Result<()> {
    ends_well(Client::PythonGrpc, &["TASK_FINISHED", "updates acknowledged"]).await
}

#[tokio::test]
async fn msh_of_mesos_go_runs_its_command_over_protobuf() -> Result<()> {
    ends_well(Client::GoMsh, &[]).await
}
