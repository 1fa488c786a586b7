# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name        = "mesos-prod"
  pki_dir     = "tests/pki"
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "none_is_in_the_state" {
  command = apply

  assert {
    condition     = output.secret_names == { for kind in ["control", "nats", "redis", "keeper"] : kind => "mesos-prod/${kind}" }
    error_message = "Each kind of host has a secret."
  }

  assert {
    condition     = output.ca_certificate == file("tests/pki/ca.crt")
    error_message = "The CA is no secret."
  }

  assert {
    condition     = alltrue([for version in aws_secretsmanager_secret_version.this : version.secret_string_wo == null && version.secret_string == null])
    error_message = "The state has no value."
  }

  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : secret.kms_key_id == "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"])
    error_message = "The key encrypts them."
  }
}

run "written_again" {
  command = apply

  variables {
    pki_version   = 2
    recovery_days = 0
  }

  assert {
    condition     = alltrue([for version in aws_secretsmanager_secret_version.this : version.secret_string_wo_version == 2])
    error_message = "A raised version writes them again."
  }
}
