# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name              = "mesos-prod"
  zone              = "mesos-prod.internal"
  subnet_ids        = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_id = "sg-1"
  instance_profile  = "mesos-prod-x"
  ami_id            = "ami-0123456789abcdef0"
  secret_name       = "mesos-prod/x"
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  log_bucket_name   = "mesos-prod-logs"
  subnet_cidrs      = ["10.40.0.0/19", "10.40.32.0/19", "10.40.64.0/19"]
}

run "three_servers" {
  command = apply

  assert {
    condition     = output.url == "tls://nats-0.mesos-prod.internal:4222,tls://nats-1.mesos-prod.internal:4222,tls://nats-2.mesos-prod.internal:4222"
    error_message = "Clients know all servers, and speak TLS."
  }

  assert {
    condition     = output.records == { "nats-0" = ["10.40.0.10"], "nats-1" = ["10.40.32.10"], "nats-2" = ["10.40.64.10"] }
    error_message = "Each server has a fixed address in its own zone."
  }

  assert {
    condition     = length(output.instance_ids) == 3
    error_message = "There are three instances."
  }

  assert {
    condition     = alltrue([for instance in aws_instance.this : one(instance.metadata_options).http_tokens == "required" && one(instance.root_block_device).encrypted])
    error_message = "Metadata wants a session, volumes are encrypted."
  }

  assert {
    condition     = strcontains(base64decode(split("'", split("base64 -d <<<", module.host["nats-0"].script)[1])[1]), "tls://nats-2.mesos-prod.internal:6222") || strcontains(base64decode(split("'", split("base64 -d <<<", module.host["nats-0"].script)[2])[1]), "tls://nats-2.mesos-prod.internal:6222")
    error_message = "Servers know each other."
  }
}

run "one_server" {
  command = apply

  variables {
    servers         = 1
    log_bucket_name = null
  }

  assert {
    condition     = output.records == { "nats-0" = ["10.40.0.10"] }
    error_message = "There is one server."
  }
}

run "five_servers_in_three_zones" {
  command = apply

  variables {
    servers = 5
  }

  assert {
    condition     = output.records["nats-3"] == ["10.40.0.11"]
    error_message = "The fourth shares a zone with the first."
  }
}
