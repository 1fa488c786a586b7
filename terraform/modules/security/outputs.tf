output "kms_key_arn" {
  description = "The key that encrypts the cluster's volumes, secrets and logs."
  value       = aws_kms_key.this.arn
}

output "security_group_ids" {
  description = "The security groups, by kind of host: gateway, control, nats, redis, agent, keeper, jaeger."
  value       = { for kind, group in aws_security_group.this : kind => group.id }
}

output "instance_profiles" {
  description = "The instance profiles, by kind of host: control, nats, redis, agent, keeper, jaeger."
  value       = { for kind, profile in aws_iam_instance_profile.this : kind => profile.name }
}

output "autoscaling_role_arn" {
  description = "The role in which Auto Scaling starts the cluster's instances; the key trusts it."
  value       = aws_iam_service_linked_role.autoscaling.arn
}

output "agent_role_id" {
  description = "The unique id of the agents' role, by which the keeper says for which instance a join token is."
  value       = aws_iam_role.this["agent"].unique_id
}
