# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name        = "mesos-prod"
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "closed_and_encrypted" {
  command = apply

  assert {
    condition     = output.bucket_name == "mesos-prod-logs-123456789012"
    error_message = "The bucket is called after the cluster and the account."
  }

  assert {
    condition     = output.bucket_arn == aws_s3_bucket.this.arn
    error_message = "The ARN is the bucket's."
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy && aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets
    error_message = "Nobody can make it public."
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).kms_master_key_id == "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    error_message = "The key encrypts it."
  }

  assert {
    condition     = one(one(aws_s3_bucket_lifecycle_configuration.this.rule).expiration).days == 90
    error_message = "Logs are deleted after 90 days."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement : statement if statement.Sid == "OnlyEncryptedConnections"]).Effect == "Deny"
    error_message = "Plain connections are refused."
  }
}

run "own_name" {
  command = apply

  variables {
    bucket_name   = "my-logs"
    expire_days   = 7
    force_destroy = true
  }

  assert {
    condition     = output.bucket_name == "my-logs" && aws_s3_bucket.this.force_destroy
    error_message = "The bucket is called as asked."
  }
}
