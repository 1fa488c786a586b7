# What mesos pki init made, in Secrets Manager: one secret for each kind of host, with the files that it needs. The
# values are write-only arguments, so neither plans nor the state hold them.

locals {
  files = {
    control = ["ca.crt", "ca.key", "gateway.crt", "gateway.key", "token.key", "nats-account.seed", "control.creds", "redis-password"]
    nats    = ["ca.crt", "nats.crt", "nats.key", "nats-accounts.conf"]
    redis   = ["ca.crt", "redis.crt", "redis.key", "redis-users.acl", "redis-password"]
    keeper  = ["ca.crt", "operator.token"]
  }
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:mesos pki rotate makes the new files; raising pki_version writes them.
  for_each = local.files

  name                    = "${var.name}/${each.key}"
  description             = "Files of ${each.key} hosts of the cluster ${var.name}"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.recovery_days

  tags = var.tags
}

resource "aws_secretsmanager_secret_version" "this" {
  for_each = local.files

  secret_id                = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo         = jsonencode({ for file in each.value : file => file("${var.pki_dir}/${file}") })
  secret_string_wo_version = var.pki_version
}
