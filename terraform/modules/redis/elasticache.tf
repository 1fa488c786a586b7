resource "aws_elasticache_subnet_group" "this" {
  count = local.on_ec2 ? 0 : 1

  name       = "${var.name}-redis"
  subnet_ids = var.subnet_ids

  tags = var.tags
}

resource "aws_elasticache_parameter_group" "this" {
  count = local.on_ec2 ? 0 : 1

  name        = "${var.name}-redis"
  family      = "redis7"
  description = "Rows that are thrown away would be lost tasks"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  tags = var.tags
}

resource "aws_elasticache_user" "mesos" {
  count = local.on_ec2 ? 0 : 1

  user_id       = "${var.name}-mesos"
  user_name     = "mesos"
  engine        = "redis"
  passwords     = [trimspace(var.password)]
  access_string = "on ~{mesos:${var.name}}:* resetchannels -@all +auth +hello +ping +select +client|setinfo +client|setname +info +time +exists +del +hget +hmget +hset +hdel +hscan +xadd +xrange +xread +xtrim +xinfo|stream +evalsha +script|load +command"

  tags = var.tags
}

# ElastiCache wants a user called default in each group; this one may do nothing.
resource "aws_elasticache_user" "default" {
  count = local.on_ec2 ? 0 : 1

  user_id       = "${var.name}-default"
  user_name     = "default"
  engine        = "redis"
  access_string = "off -@all"
  passwords     = [sha256("off ${trimspace(var.password)}")]

  tags = var.tags
}

resource "aws_elasticache_user_group" "this" {
  count = local.on_ec2 ? 0 : 1

  user_group_id = "${var.name}-redis"
  engine        = "redis"
  user_ids      = [aws_elasticache_user.default[0].user_id, aws_elasticache_user.mesos[0].user_id]

  tags = var.tags
}

resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV2_AWS_50:It fails over with two servers and more, which is the default; one alone cannot.
  #checkov:skip=CKV_AWS_31:Users with passwords (user_group_ids) are in the place of one password for all.
  count = local.on_ec2 ? 0 : 1

  replication_group_id       = "${var.name}-redis"
  description                = "State of the Mesos cluster ${var.name}"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = var.node_type
  num_cache_clusters         = var.servers
  automatic_failover_enabled = var.servers > 1
  multi_az_enabled           = var.servers > 1
  parameter_group_name       = aws_elasticache_parameter_group.this[0].name
  subnet_group_name          = aws_elasticache_subnet_group.this[0].name
  security_group_ids         = [var.security_group_id]
  user_group_ids             = [aws_elasticache_user_group.this[0].user_group_id]
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  auto_minor_version_upgrade = true
  snapshot_retention_limit   = 7
  apply_immediately          = true

  tags = var.tags
}
