output "zone_id" {
  description = "The private zone."
  value       = aws_route53_zone.private.zone_id
}

output "gateway_name" {
  description = "The gateway's name: the public one if there is one."
  value       = var.public_name != null ? aws_route53_record.public[0].name : aws_route53_record.gateway.name
}
