# Agents: an Auto Scaling group whose instances join with a token each, and are drained before AWS takes them away.

locals {
  # Names that begin with $ are known on the instance only.
  config = merge(var.options, {
    cluster         = var.name
    master          = "https://gateway.${var.zone}:5050"
    join_token_file = "/etc/mesos/join-token"
    ca_cert         = "/etc/mesos/ca.crt"
    work_dir        = "/var/lib/mesos/agent"
    ip              = "$address"
    hostname        = "$instance_id"
    domain          = "$region/$zone"
    containerizers  = join(",", var.containerizers)
    attributes = join(";", concat(
      ["instance:$instance_id", "type:$instance_type", "zone:$zone", "pool:${var.pool}"],
      [for name, value in var.attributes : "${name}:${value}"],
    ))
    log_dir    = "/var/log/mesos"
    log_format = "json"
  }, var.otlp_endpoint == null ? {} : { otlp_endpoint = var.otlp_endpoint })
}

module "host" {
  source = "../host"

  name            = var.name
  role            = "agent"
  packages        = [var.mesos_package]
  debian_packages = contains(var.containerizers, "docker") ? ["docker.io"] : []
  log_bucket_name = var.log_bucket_name

  files = {
    "/etc/mesos/ca.crt" = { content = var.ca_certificate }
  }

  script = templatefile("${path.module}/templates/setup.sh.tftpl", {
    name   = var.name
    config = yamlencode(local.config)
  })
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-agents-${var.pool}-"
  image_id               = var.ami_id
  instance_type          = var.instance_types[0]
  user_data              = module.host.user_data_base64
  vpc_security_group_ids = [var.security_group_id]
  update_default_version = true
  ebs_optimized          = true

  iam_instance_profile {
    name = var.instance_profile
  }

  # One hop: containers of tasks do not reach the instance's credentials.
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
      volume_size           = var.volume_size
      delete_on_termination = "true"
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(var.tags, { Name = "${var.name}-agent-${var.pool}" })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(var.tags, { Name = "${var.name}-agent-${var.pool}" })
  }

  tags = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "this" {
  name                      = "${var.name}-agents-${var.pool}"
  min_size                  = var.size.min
  max_size                  = var.size.max
  desired_capacity          = var.size.initial
  vpc_zone_identifier       = var.subnet_ids
  health_check_type         = "EC2"
  health_check_grace_period = 300
  capacity_rebalance        = true
  max_instance_lifetime     = var.max_instance_days * 86400
  service_linked_role_arn   = var.autoscaling_role_arn
  wait_for_capacity_timeout = "20m"
  termination_policies      = ["OldestLaunchTemplate", "OldestInstance"]
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupTerminatingInstances"]

  mixed_instances_policy {
    instances_distribution {
      on_demand_percentage_above_base_capacity = var.on_demand_percentage
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this.id
        version            = aws_launch_template.this.latest_version
      }

      dynamic "override" {
        for_each = var.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  # An instance whose agent does not join in time is given up and replaced.
  initial_lifecycle_hook {
    name                 = "joined"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    default_result       = "ABANDON"
    heartbeat_timeout    = 900
  }

  # The keeper drains the agent, says meanwhile that it takes longer, and lets the instance go.
  initial_lifecycle_hook {
    name                 = "drained"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    default_result       = "CONTINUE"
    heartbeat_timeout    = var.drain_timeout_minutes * 60
  }

  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 90
      skip_matching          = true
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-agent-${var.pool}", mesos-cluster = var.name, mesos-role = "agent" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # Elastic pools set it; an apply must not undo that.
    ignore_changes = [desired_capacity]
  }
}
