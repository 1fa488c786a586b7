# Where the control plane keeps its state: Redis with Sentinel on instances, or ElastiCache.

locals {
  on_ec2 = var.kind == "ec2"

  servers = local.on_ec2 ? {
    for at in range(var.servers) : "redis-${at}" => {
      at        = at % length(var.subnet_ids)
      subnet_id = var.subnet_ids[at % length(var.subnet_ids)]
      # AWS keeps the first four addresses of a subnet, NATS has those from 10.
      address = cidrhost(var.subnet_cidrs[at % length(var.subnet_ids)], 12 + floor(at / length(var.subnet_ids)))
    }
  } : {}
  names = [for server in keys(local.servers) : "${server}.${var.zone}"]
}
