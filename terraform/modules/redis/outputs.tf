output "url" {
  description = "As --redis-url takes it."
  value = (local.on_ec2
    ? (var.servers > 1 ? "rediss+sentinel://${join(",", [for name in local.names : "${name}:26379"])}/mesos" : "rediss://${local.names[0]}:6379")
    : "rediss://${aws_elasticache_replication_group.this[0].primary_endpoint_address}:6379"
  )
}

output "username" {
  description = "As --redis-username takes it."
  value       = "mesos"
}

output "ca_file" {
  description = "On hosts, the file of the CA that signed the servers' certificates: the cluster's, or those that the system knows."
  value       = local.on_ec2 ? "/etc/mesos/pki/ca.crt" : "/etc/ssl/certs/ca-certificates.crt"
}

output "records" {
  description = "The servers' addresses by name, for modules/dns; none with ElastiCache."
  value       = { for server, instance in aws_instance.this : server => [instance.private_ip] }
}
