output "master" {
  description = "What MESOS_MASTER is to be set to: the first master's address, for every command of `mesos`."
  value       = local.gateways[0]
  depends_on  = [terraform_data.master]
}

output "masters" {
  description = "All masters as host:port, for agents' --master and for frameworks."
  value       = local.gateways
  depends_on  = [terraform_data.master]
}

output "agents" {
  description = "The names of the agents that are in the cluster."
  value       = sort(keys(terraform_data.member))
}
