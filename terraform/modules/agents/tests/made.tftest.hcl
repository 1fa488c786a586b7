# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name                 = "mesos-prod"
  zone                 = "mesos-prod.internal"
  subnet_ids           = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_id    = "sg-1"
  instance_profile     = "mesos-prod-x"
  ami_id               = "ami-0123456789abcdef0"
  kms_key_arn          = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  log_bucket_name      = "mesos-prod-logs"
  mesos_package        = { url = "s3://my-packages/mesos_0.1.0_amd64.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  ca_certificate       = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
  autoscaling_role_arn = "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling_mesos-prod"
}

run "a_pool" {
  command = apply

  variables {
    pool                 = "batch"
    attributes           = { rack = "r1" }
    options              = { resources = "cpus:4;mem:8GB" }
    on_demand_percentage = 20
    max_instance_days    = 30
  }

  assert {
    condition     = output.autoscaling_group_name == "mesos-prod-agents-batch" && output.launch_template_id == aws_launch_template.this.id
    error_message = "The group has its name and its template."
  }

  assert {
    condition     = strcontains(output.user_data, "https://gateway.mesos-prod.internal:5050") && strcontains(output.user_data, "pool:batch;rack:r1") && strcontains(output.user_data, "cpus:4;mem:8GB")
    error_message = "Agents know the gateway, and say who they are."
  }

  assert {
    condition     = strcontains(output.user_data, "/mesos-prod/join/$instance_id")
    error_message = "Each takes its own join token."
  }

  assert {
    condition     = !strcontains(output.user_data, "secretsmanager")
    error_message = "They read no secret."
  }

  assert {
    condition     = { for hook in aws_autoscaling_group.this.initial_lifecycle_hook : hook.name => hook.default_result } == { joined = "ABANDON", drained = "CONTINUE" }
    error_message = "Instances serve once they joined, and go once they are drained."
  }

  assert {
    condition     = aws_autoscaling_group.this.capacity_rebalance && aws_autoscaling_group.this.max_instance_lifetime == 2592000
    error_message = "Spot instances in danger are replaced ahead, old ones too."
  }

  assert {
    condition     = one(aws_launch_template.this.metadata_options).http_tokens == "required" && one(aws_launch_template.this.metadata_options).http_put_response_hop_limit == 1
    error_message = "Tasks in containers do not reach the instance's credentials."
  }

  assert {
    condition     = one(one(aws_launch_template.this.block_device_mappings).ebs).encrypted == "true"
    error_message = "The volume is encrypted."
  }
}

run "processes_only" {
  command = apply

  variables {
    containerizers  = ["process"]
    log_bucket_name = null
    otlp_endpoint   = "http://jaeger.mesos-prod.internal:4317"
  }

  assert {
    condition     = !strcontains(output.user_data, "docker.io") && strcontains(output.user_data, "otlp_endpoint")
    error_message = "No Docker is installed where none is used."
  }
}
