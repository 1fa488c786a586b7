# Jaeger on one instance, with its traces on the instance's volume. Traces are lost with the instance; nothing else
# depends on it.

locals {
  # AWS keeps the first four addresses of a subnet, NATS and Redis have those from 10.
  address = cidrhost(var.subnet_cidrs[0], 14)
}

module "host" {
  source = "../host"

  name            = var.name
  role            = "jaeger"
  log_bucket_name = var.log_bucket_name

  files = {
    "/etc/systemd/system/jaeger.service" = {
      content = <<-EOT
        [Unit]
        Description=Jaeger
        Wants=network-online.target
        After=network-online.target

        [Service]
        DynamicUser=yes
        StateDirectory=jaeger
        Environment=SPAN_STORAGE_TYPE=badger BADGER_EPHEMERAL=false
        Environment=BADGER_DIRECTORY_KEY=/var/lib/jaeger/keys BADGER_DIRECTORY_VALUE=/var/lib/jaeger/values
        Environment=BADGER_SPAN_STORE_TTL=${var.keep_hours}h
        ExecStart=/usr/local/bin/jaeger-all-in-one --collector.otlp.grpc.host-port=0.0.0.0:4317
        Restart=always
        RestartSec=2
        ProtectSystem=strict
        ProtectHome=yes

        [Install]
        WantedBy=multi-user.target
      EOT
    }
  }

  script = <<-EOT
    fetch '${var.jaeger_binary.url}' ${var.jaeger_binary.sha256} /usr/local/bin/jaeger-all-in-one
    chmod 0755 /usr/local/bin/jaeger-all-in-one
    systemctl daemon-reload
    systemctl enable jaeger.service
    systemctl restart jaeger.service
  EOT
}

resource "aws_instance" "this" {
  ami                         = var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_ids[0]
  private_ip                  = local.address
  associate_public_ip_address = false
  vpc_security_group_ids      = [var.security_group_id]
  iam_instance_profile        = var.instance_profile
  ebs_optimized               = true
  monitoring                  = true
  user_data_base64            = module.host.user_data_base64
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
    volume_size = var.volume_size
  }

  tags = merge(var.tags, { Name = "${var.name}-jaeger" })
}
