output "otlp_endpoint" {
  description = "As --otlp-endpoint takes it."
  value       = "http://jaeger.${var.zone}:4317"
}

output "page" {
  description = "Jaeger's page, for who may reach it."
  value       = "http://jaeger.${var.zone}:16686"
}

output "records" {
  description = "The instance's address by name, for modules/dns."
  value       = { jaeger = [aws_instance.this.private_ip] }
}
