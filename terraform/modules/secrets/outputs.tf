output "secret_names" {
  description = "The secrets' names, by kind of host: control, nats, redis, keeper."
  value       = { for kind, version in aws_secretsmanager_secret_version.this : kind => aws_secretsmanager_secret.this[kind].name }
}

output "ca_certificate" {
  description = "The certificate of the cluster's CA in PEM, by which clients and agents know it. It is no secret."
  value       = file("${var.pki_dir}/ca.crt")
}
