output "autoscaling_group_name" {
  description = "The Auto Scaling group of the one instance."
  value       = aws_autoscaling_group.this.name
}

output "user_data" {
  description = "What the host runs at its first start."
  value       = module.host.script
}
