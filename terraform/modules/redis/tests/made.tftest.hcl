# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name               = "mesos-prod"
  zone               = "mesos-prod.internal"
  subnet_ids         = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_id  = "sg-1"
  instance_profile   = "mesos-prod-x"
  ami_id             = "ami-0123456789abcdef0"
  secret_name        = "mesos-prod/x"
  kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  log_bucket_name    = "mesos-prod-logs"
  subnet_cidrs       = ["10.40.0.0/19", "10.40.32.0/19", "10.40.64.0/19"]
  availability_zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
}

run "sentinel_on_instances" {
  command = apply

  assert {
    condition     = output.url == "rediss+sentinel://redis-0.mesos-prod.internal:26379,redis-1.mesos-prod.internal:26379,redis-2.mesos-prod.internal:26379/mesos"
    error_message = "Clients ask Sentinel, over TLS."
  }

  assert {
    condition     = output.username == "mesos" && output.ca_file == "/etc/mesos/pki/ca.crt"
    error_message = "They log in as mesos and trust the cluster's CA."
  }

  assert {
    condition     = output.records == { "redis-0" = ["10.40.0.12"], "redis-1" = ["10.40.32.12"], "redis-2" = ["10.40.64.12"] }
    error_message = "Each server has a fixed address in its own zone."
  }

  assert {
    condition     = alltrue([for volume in aws_ebs_volume.this : volume.encrypted && volume.final_snapshot])
    error_message = "Volumes are encrypted, and leave a snapshot behind."
  }

  assert {
    condition     = alltrue([for name, attachment in aws_volume_attachment.this : attachment.volume_id == aws_ebs_volume.this[name].id])
    error_message = "Each server has its own volume."
  }

  assert {
    condition     = strcontains(module.host["redis-1"].script, "nvme-Amazon_Elastic_Block_Store_${replace(aws_ebs_volume.this["redis-1"].id, "-", "")}")
    error_message = "A server waits for its own volume."
  }
}

run "one_server" {
  command = apply

  variables {
    servers = 1
  }

  assert {
    condition     = output.url == "rediss://redis-0.mesos-prod.internal:6379"
    error_message = "There is no Sentinel of one."
  }
}

run "elasticache" {
  command = apply

  variables {
    kind     = "elasticache"
    servers  = 2
    password = "0123456789abcdef\n"
  }

  assert {
    condition     = startswith(output.url, "rediss://") && endswith(output.url, ":6379") && output.ca_file == "/etc/ssl/certs/ca-certificates.crt"
    error_message = "Clients speak TLS with a certificate that the system knows."
  }

  assert {
    condition     = output.records == {}
    error_message = "AWS names the servers."
  }

  assert {
    condition     = length(aws_instance.this) == 0
    error_message = "There are no instances."
  }

  assert {
    condition     = aws_elasticache_replication_group.this[0].transit_encryption_enabled && aws_elasticache_replication_group.this[0].at_rest_encryption_enabled && aws_elasticache_replication_group.this[0].automatic_failover_enabled
    error_message = "It is encrypted, and fails over."
  }

  assert {
    condition     = aws_elasticache_user.mesos[0].passwords == toset(["0123456789abcdef"]) && startswith(aws_elasticache_user.default[0].access_string, "off ")
    error_message = "Only the user mesos may do anything."
  }
}
