# The control plane on instances: each host runs allocator, registry and gateway in one process, over NATS and Redis.

locals {
  pki = "/etc/mesos/pki"

  config = merge(var.options, {
    cluster             = var.name
    nats_url            = var.nats_url
    nats_credentials    = "${local.pki}/control.creds"
    nats_ca             = "${local.pki}/ca.crt"
    redis_url           = var.redis.url
    redis_username      = var.redis.username
    redis_password_file = "${local.pki}/redis-password"
    redis_ca            = var.redis.ca_file
    ip                  = "0.0.0.0"
    port                = 5050
    hostname            = "gateway.${var.zone}"
    tls_cert            = "${local.pki}/gateway.crt"
    tls_key             = "${local.pki}/gateway.key"
    ca_cert             = "${local.pki}/ca.crt"
    ca_key              = "${local.pki}/ca.key"
    token_key           = "${local.pki}/token.key"
    nats_account_seed   = "${local.pki}/nats-account.seed"
    work_dir            = "/var/lib/mesos/master"
    log_dir             = "/var/log/mesos"
    log_format          = "json"
  }, var.otlp_endpoint == null ? {} : { otlp_endpoint = var.otlp_endpoint })
}

module "host" {
  source = "../host"

  name        = var.name
  role        = "control"
  packages    = [var.mesos_package]
  secret_name = var.secret_name
  secret_files = {
    for file in ["ca.crt", "ca.key", "gateway.crt", "gateway.key", "token.key", "nats-account.seed", "control.creds", "redis-password"] :
    file => { path = "${local.pki}/${file}" }
  }
  log_bucket_name = var.log_bucket_name

  files = {
    "/etc/mesos/master.yaml" = { content = yamlencode(local.config), owner = "root:mesos", mode = "0640" }
  }

  script = <<-EOT
    systemctl enable mesos-master.service
    systemctl restart mesos-master.service
    # The host counts as ready once its gateway serves.
    for ((waited = 0; waited < 300; waited++)); do
        ! curl -fsS -o /dev/null --max-time 5 --cacert ${local.pki}/ca.crt https://localhost:5050/ready || break
        sleep 1
    done
    curl -fsS -o /dev/null --max-time 5 --cacert ${local.pki}/ca.crt https://localhost:5050/ready
  EOT
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-control-"
  image_id               = var.ami_id
  instance_type          = var.instance_type
  user_data              = module.host.user_data_base64
  vpc_security_group_ids = [var.security_group_id]
  update_default_version = true
  ebs_optimized          = true

  iam_instance_profile {
    name = var.instance_profile
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  monitoring {
    enabled = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      encrypted             = "true"
      kms_key_id            = var.kms_key_arn
      volume_type           = "gp3"
      volume_size           = 20
      delete_on_termination = "true"
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(var.tags, { Name = "${var.name}-control" })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(var.tags, { Name = "${var.name}-control" })
  }

  tags = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "this" {
  name                      = "${var.name}-control"
  min_size                  = var.instances
  max_size                  = var.instances + 1
  desired_capacity          = var.instances
  vpc_zone_identifier       = var.subnet_ids
  target_group_arns         = [var.target_group_arn]
  health_check_type         = "ELB"
  health_check_grace_period = 600
  default_instance_warmup   = 60
  service_linked_role_arn   = var.autoscaling_role_arn
  wait_for_capacity_timeout = "15m"
  min_elb_capacity          = var.instances
  enabled_metrics           = ["GroupInServiceInstances", "GroupTotalInstances"]

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }

  # A change of the launch template replaces one host after another, each only when the one before serves.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      auto_rollback          = true
      skip_matching          = true
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-control", mesos-cluster = var.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}
