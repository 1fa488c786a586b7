output "autoscaling_group_name" {
  description = "The Auto Scaling group, for an elastic pool of kind aws."
  value       = aws_autoscaling_group.this.name
}

output "launch_template_id" {
  description = "The launch template of the agents."
  value       = aws_launch_template.this.id
}

output "user_data" {
  description = "What an agent's host runs at its first start."
  value       = module.host.script
}
