variable "name" {
  description = "The cluster's name; the names of all resources begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and dashes that begin with a letter, for example mesos-prod."
  }
}

variable "pki_dir" {
  description = "The folder that mesos pki init wrote. Its files go to Secrets Manager; Terraform's state holds none of them."
  type        = string

  validation {
    condition = alltrue([
      for file in ["ca.crt", "ca.key", "gateway.crt", "gateway.key", "nats.crt", "nats.key", "redis.crt", "redis.key", "token.key", "operator.token",
      "nats-account.seed", "nats-accounts.conf", "control.creds", "redis-users.acl", "redis-password"] : fileexists("${var.pki_dir}/${file}")
    ])
    error_message = "pki_dir lacks files that mesos pki init makes. Run: mesos pki init --dir DIR --host GATEWAY_NAME --host '*.ZONE', and name DIR here."
  }
}

variable "pki_version" {
  description = "Raise it after mesos pki rotate, so that the secrets are written again."
  type        = number
  default     = 1

  validation {
    condition     = var.pki_version >= 1 && floor(var.pki_version) == var.pki_version
    error_message = "pki_version is a whole number from 1."
  }
}

variable "kms_key_arn" {
  description = "The key that encrypts what is stored."
  type        = string

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn is the ARN of a KMS key, for example the output kms_key_arn of modules/security."
  }
}

variable "recovery_days" {
  description = "How long deleted secrets can be restored; 0 deletes them for good."
  type        = number
  default     = 7

  validation {
    condition     = var.recovery_days == 0 || (var.recovery_days >= 7 && var.recovery_days <= 30)
    error_message = "recovery_days is 0 or 7 to 30, as Secrets Manager has it."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
