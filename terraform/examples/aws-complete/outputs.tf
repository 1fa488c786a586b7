output "master" {
  description = "The cluster's address, for MESOS_MASTER."
  value       = "https://${module.dns.gateway_name}:5050"
}

output "environment" {
  description = "What clients set: eval \"$(terraform output -raw environment)\"."
  value       = <<-EOT
    export MESOS_MASTER=https://${module.dns.gateway_name}:5050
    export MESOS_CA_CERT=${abspath(var.pki_dir)}/ca.crt
    export MESOS_TOKEN_FILE=${abspath(var.pki_dir)}/operator.token
  EOT
}

output "agent_groups" {
  description = "The Auto Scaling groups of agents by name, for elastic pools of kind aws."
  value       = { for name, agents in module.agents : name => agents.autoscaling_group_name }
}

output "log_bucket" {
  description = "The bucket of logs."
  value       = module.logs.bucket_name
}

output "vpc_id" {
  description = "The VPC."
  value       = module.network.vpc_id
}

output "nat_public_ips" {
  description = "The addresses from which the cluster reaches the internet."
  value       = module.network.nat_public_ips
}

output "jaeger" {
  description = "Jaeger's page, or null."
  value       = try(module.jaeger[0].page, null)
}
