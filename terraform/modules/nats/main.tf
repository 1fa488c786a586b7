# NATS, one server a zone, each with a fixed address and name. It only passes messages on and stores nothing, so a
# server that is replaced needs nothing of the old one.

locals {
  servers = {
    for at in range(var.servers) : "nats-${at}" => {
      subnet_id = var.subnet_ids[at % length(var.subnet_ids)]
      # AWS keeps the first four addresses of a subnet.
      address = cidrhost(var.subnet_cidrs[at % length(var.subnet_ids)], 10 + floor(at / length(var.subnet_ids)))
    }
  }
  pki = "/etc/nats"
}

module "host" {
  source   = "../host"
  for_each = local.servers

  name            = var.name
  role            = "nats"
  debian_packages = ["nats-server"]
  secret_name     = var.secret_name
  secret_files = {
    for file in ["ca.crt", "nats.crt", "nats.key", "nats-accounts.conf"] : file => { path = "${local.pki}/${file}", owner = "root:nats" }
  }
  on_secret_change = "systemctl try-reload-or-restart nats-server.service"
  log_bucket_name  = var.log_bucket_name

  files = {
    "${local.pki}/server.conf" = {
      content = templatefile("${path.module}/templates/server.conf.tftpl", {
        name    = var.name
        server  = each.key
        address = each.value.address
        routes  = [for server in keys(local.servers) : "tls://${server}.${var.zone}:6222" if server != each.key]
      })
    }
    "/etc/systemd/system/nats-server.service.d/mesos.conf" = {
      content = <<-EOT
        [Service]
        ExecStart=
        ExecStart=/usr/sbin/nats-server -c ${local.pki}/server.conf
        Restart=always
        LimitNOFILE=1048576
      EOT
    }
  }

  script = <<-EOT
    systemctl daemon-reload
    systemctl enable nats-server.service
    systemctl restart nats-server.service
  EOT
}

resource "aws_instance" "this" {
  for_each = local.servers

  ami                         = var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = each.value.subnet_id
  private_ip                  = each.value.address
  associate_public_ip_address = false
  vpc_security_group_ids      = [var.security_group_id]
  iam_instance_profile        = var.instance_profile
  ebs_optimized               = true
  monitoring                  = true
  user_data_base64            = module.host[each.key].user_data_base64
  user_data_replace_on_change = true

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    kms_key_id  = var.kms_key_arn
    volume_type = "gp3"
    volume_size = 10
  }

  tags = merge(var.tags, { Name = "${var.name}-${each.key}" })
}
