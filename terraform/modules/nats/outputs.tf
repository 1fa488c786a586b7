output "url" {
  description = "The servers, as --nats-url takes them."
  value       = join(",", [for server in keys(local.servers) : "tls://${server}.${var.zone}:4222"])
}

output "records" {
  description = "The servers' addresses by name, for modules/dns."
  value       = { for server, instance in aws_instance.this : server => [instance.private_ip] }
}

output "instance_ids" {
  description = "The instances by name."
  value       = { for server, instance in aws_instance.this : server => instance.id }
}
