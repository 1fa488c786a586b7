output "master" {
  description = "What MESOS_MASTER is to be set to: the first master's address, for every command of `mesos`; MESOS_CA_CERT and MESOS_TOKEN_FILE are ca.crt and operator.token of pki_dir."
  value       = local.gateways[local.first_master]
  depends_on  = [terraform_data.master]
}

output "masters" {
  description = "All masters as https://host:port, for agents' --master and for frameworks."
  value       = [for name in sort(keys(local.gateways)) : local.gateways[name]]
  depends_on  = [terraform_data.master]
}

output "agents" {
  description = "The names of the agents that are in the cluster."
  value       = sort(keys(terraform_data.member))
}
