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
  secret_name          = "mesos-prod/x"
  kms_key_arn          = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  log_bucket_name      = "mesos-prod-logs"
  mesos_package        = { url = "s3://my-packages/mesos_0.1.0_amd64.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  nats_url             = "tls://nats-0.mesos-prod.internal:4222"
  redis                = { url = "rediss://redis-0.mesos-prod.internal:6379", username = "mesos", ca_file = "/etc/mesos/pki/ca.crt" }
  target_group_arn     = "arn:aws:elasticloadbalancing:x"
  autoscaling_role_arn = "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling_mesos-prod"
}

run "three_hosts" {
  command = apply

  variables {
    options       = { offer_timeout = "2min" }
    otlp_endpoint = "http://jaeger.mesos-prod.internal:4317"
  }

  assert {
    condition     = output.autoscaling_group_name == "mesos-prod-control" && output.launch_template_id == aws_launch_template.this.id
    error_message = "The group has its name and its template."
  }

  assert {
    condition     = yamldecode(output.config).redis_url == "rediss://redis-0.mesos-prod.internal:6379" && yamldecode(output.config).tls_cert == "/etc/mesos/pki/gateway.crt" && yamldecode(output.config).hostname == "gateway.mesos-prod.internal"
    error_message = "The configuration leads to NATS, Redis and the certificates."
  }

  assert {
    condition     = yamldecode(output.config).offer_timeout == "2min" && yamldecode(output.config).otlp_endpoint == "http://jaeger.mesos-prod.internal:4317"
    error_message = "More options are in it."
  }

  assert {
    condition     = strcontains(output.user_data, base64encode(output.config))
    error_message = "Hosts get that configuration."
  }

  assert {
    condition     = aws_launch_template.this.user_data == module.host.user_data_base64 && one(aws_launch_template.this.metadata_options).http_tokens == "required"
    error_message = "Hosts run it, and their metadata wants a session."
  }

  assert {
    condition     = aws_autoscaling_group.this.desired_capacity == 3 && aws_autoscaling_group.this.health_check_type == "ELB"
    error_message = "A host whose gateway does not serve is replaced."
  }
}

run "one_host" {
  command = apply

  variables {
    instances       = 1
    log_bucket_name = null
  }

  assert {
    condition     = aws_autoscaling_group.this.max_size == 2
    error_message = "One more may be there while one is replaced."
  }
}
