# Who may talk to whom: one group for each kind of host, one rule for each line of the table.

locals {
  groups = {
    gateway = "The load balancer before the gateways"
    control = "Allocator, registry and gateway"
    nats    = "NATS"
    redis   = "Redis and Sentinel"
    agent   = "Agents and their tasks"
    keeper  = "Hands out join tokens, drains agents that AWS takes away"
    jaeger  = "Jaeger"
  }

  # From one group to another: each is a rule that lets out of the first and a rule that lets into the second.
  between = {
    "agents-to-gateway"   = { from = "agent", to = "gateway", ports = [5050, 5050] }
    "keeper-to-gateway"   = { from = "keeper", to = "gateway", ports = [5050, 5050] }
    "gateway-to-control"  = { from = "gateway", to = "control", ports = [5050, 5050] }
    "control-to-nats"     = { from = "control", to = "nats", ports = [4222, 4222] }
    "agents-to-nats"      = { from = "agent", to = "nats", ports = [4222, 4222] }
    "nats-routes"         = { from = "nats", to = "nats", ports = [6222, 6222] }
    "control-to-redis"    = { from = "control", to = "redis", ports = [6379, 6379] }
    "control-to-sentinel" = { from = "control", to = "redis", ports = [26379, 26379] }
    "redis-replication"   = { from = "redis", to = "redis", ports = [6379, 6379] }
    "sentinels"           = { from = "redis", to = "redis", ports = [26379, 26379] }
    "tasks"               = { from = "agent", to = "agent", ports = [var.task_ports.from, var.task_ports.to] }
    "control-to-jaeger"   = { from = "control", to = "jaeger", ports = [4317, 4317] }
    "agents-to-jaeger"    = { from = "agent", to = "jaeger", ports = [4317, 4317] }
  }

  clients = {
    for pair in setproduct(["gateway", "jaeger"], var.client_cidrs) :
    "${pair[0]}-${pair[1]}" => { to = pair[0], cidr = pair[1], port = pair[0] == "gateway" ? 5050 : 16686 }
  }
}

resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5:The groups are attached by the modules that take them as outputs of this one.
  for_each = local.groups

  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = var.vpc_id

  tags = merge(var.tags, { Name = "${var.name}-${each.key}" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "between" {
  for_each = local.between

  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.ports[0]
  to_port                      = each.value.ports[1]

  tags = var.tags
}

resource "aws_vpc_security_group_egress_rule" "between" {
  for_each = local.between

  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.ports[0]
  to_port                      = each.value.ports[1]

  tags = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = local.clients

  security_group_id = aws_security_group.this[each.value.to].id
  cidr_ipv4         = each.value.cidr
  description       = "Clients"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port

  tags = var.tags
}

# Hosts reach AWS and the mirrors of their packages, whose addresses nobody can list, by HTTPS.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = toset(["control", "nats", "redis", "keeper", "jaeger"])

  security_group_id = aws_security_group.this[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  description       = "AWS and packages"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443

  tags = var.tags
}

resource "aws_vpc_security_group_egress_rule" "tasks" {
  #checkov:skip=CKV_AWS_382:Tasks are whatever frameworks launch; agent_egress_cidrs says what they may reach.
  for_each = toset(var.agent_egress_cidrs)

  security_group_id = aws_security_group.this["agent"].id
  cidr_ipv4         = each.key
  description       = "Whatever tasks need"
  ip_protocol       = "-1"

  tags = var.tags
}
