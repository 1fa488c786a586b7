module "host" {
  source   = "../host"
  for_each = local.servers

  name            = var.name
  role            = "redis"
  debian_packages = ["redis-server", "redis-sentinel"]
  secret_name     = var.secret_name
  secret_files = {
    for file in ["ca.crt", "redis.crt", "redis.key", "redis-users.acl"] : file => { path = "/etc/mesos-redis/${file}", owner = "root:redis" }
  }
  on_secret_change = "/usr/local/sbin/mesos-redis reload"
  log_bucket_name  = var.log_bucket_name

  files = {
    "/usr/local/sbin/mesos-redis" = {
      content = file("${path.module}/templates/mesos-redis.sh")
      mode    = "0755"
    }
    "/etc/mesos-redis/env" = {
      content = "ME=${each.key}.${var.zone}\nSERVERS=\"${join(" ", local.names)}\"\n"
    }
    "/etc/systemd/system/mesos-redis.service"    = { content = file("${path.module}/templates/mesos-redis.service") }
    "/etc/systemd/system/mesos-sentinel.service" = { content = file("${path.module}/templates/mesos-sentinel.service") }
  }

  script = templatefile("${path.module}/templates/setup.sh.tftpl", {
    volume   = replace(aws_ebs_volume.this[each.key].id, "-", "")
    sentinel = var.servers > 1
  })
}

resource "aws_ebs_volume" "this" {
  for_each = local.servers

  availability_zone = var.availability_zones[each.value.at]
  size              = var.volume_size
  type              = "gp3"
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  # A volume that is taken away leaves its last state behind.
  final_snapshot = true

  tags = merge(var.tags, { Name = "${var.name}-${each.key}" })
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

# The volume outlives the instance: a server that is replaced goes on from what it had.
resource "aws_volume_attachment" "this" {
  for_each = local.servers

  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.this[each.key].id
  instance_id                    = aws_instance.this[each.key].id
  stop_instance_before_detaching = true
}
