# The keeper: one small instance that hands out join tokens to agents that Auto Scaling starts, and drains those that it
# takes away. It keeps nothing, so a new one goes on where the old one was.

locals {
  pki = "/etc/mesos/pki"
}

module "host" {
  source = "../host"

  name        = var.name
  role        = "keeper"
  packages    = [var.mesos_package]
  secret_name = var.secret_name
  secret_files = {
    for file in ["ca.crt", "operator.token"] : file => { path = "${local.pki}/${file}" }
  }
  log_bucket_name = var.log_bucket_name

  files = {
    "/usr/local/sbin/mesos-keeper" = { content = file("${path.module}/templates/mesos-keeper.sh"), mode = "0755" }
    "/etc/mesos/keeper.env" = {
      content = <<-EOT
        CLUSTER=${var.name}
        AGENT_ROLE_ID=${var.agent_role_id}
        KMS_KEY=${var.kms_key_arn}
        GRACE=${var.drain_grace}
        MESOS_MASTER=https://gateway.${var.zone}:5050
        MESOS_CA_CERT=${local.pki}/ca.crt
        MESOS_TOKEN_FILE=${local.pki}/operator.token
      EOT
    }
    "/etc/systemd/system/mesos-keeper.service" = {
      content = <<-EOT
        [Unit]
        Description=Admits agents that Auto Scaling starts, drains those that it takes away
        Wants=network-online.target
        After=network-online.target

        [Service]
        Type=oneshot
        User=mesos
        Group=mesos
        EnvironmentFile=/etc/mesos/keeper.env
        EnvironmentFile=/etc/mesos/region.env
        ExecStart=/usr/local/sbin/mesos-keeper
        RuntimeDirectory=mesos-keeper
        RuntimeDirectoryPreserve=yes
        TimeoutStartSec=2min
        NoNewPrivileges=yes
        ProtectSystem=strict
        ProtectHome=yes
        PrivateTmp=yes
      EOT
    }
    "/etc/systemd/system/mesos-keeper.timer" = {
      content = <<-EOT
        [Unit]
        Description=Looks at the agents' Auto Scaling groups every ten seconds

        [Timer]
        OnActiveSec=1s
        OnUnitInactiveSec=10s
        AccuracySec=1s

        [Install]
        WantedBy=timers.target
      EOT
    }
  }

  script = <<-EOT
    write /etc/mesos/region.env 0644 root:root <<<"REGION=$region"
    systemctl daemon-reload
    systemctl enable --now mesos-keeper.timer
  EOT
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-keeper-"
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
      volume_size           = 10
      delete_on_termination = "true"
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(var.tags, { Name = "${var.name}-keeper" })
  }

  tags = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "this" {
  name                    = "${var.name}-keeper"
  min_size                = 1
  max_size                = 1
  vpc_zone_identifier     = var.subnet_ids
  health_check_type       = "EC2"
  service_linked_role_arn = var.autoscaling_role_arn

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }

  instance_refresh {
    strategy = "Rolling"
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-keeper", mesos-cluster = var.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}
