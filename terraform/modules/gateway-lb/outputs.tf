output "target_group_arn" {
  description = "The target group that gateways join, once the load balancer listens."
  value       = aws_lb_target_group.this.arn

  depends_on = [aws_lb_listener.this]
}

output "dns_name" {
  description = "AWS's own name of the load balancer. The gateways' certificate does not know it; use gateway.ZONE."
  value       = aws_lb.this.dns_name
}

output "zone_id" {
  description = "The hosted zone of dns_name, for alias records."
  value       = aws_lb.this.zone_id
}
