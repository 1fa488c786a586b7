output "autoscaling_group_name" {
  description = "The Auto Scaling group of the hosts, once their gateways serve."
  value       = aws_autoscaling_group.this.name
}

output "launch_template_id" {
  description = "The launch template of the hosts."
  value       = aws_launch_template.this.id
}

output "config" {
  description = "The configuration of each host, /etc/mesos/master.yaml."
  value       = yamlencode(local.config)
}

output "user_data" {
  description = "What a host runs at its first start."
  value       = module.host.script
}
