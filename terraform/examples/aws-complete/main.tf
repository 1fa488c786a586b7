# A whole cluster on instances: network, NATS, Redis, control plane, load balancer, agents, logs, names.
#
#   mesos pki init --dir pki --cluster mesos-prod --host '*.mesos-prod.internal'
#   terraform apply

locals {
  zone   = "${var.name}.internal"
  ami_id = coalesce(var.ami_id, data.aws_ami.debian.id)

  # Hosts may fetch what they are told to install, and nothing else.
  package_objects = [
    for package in compact([var.mesos_package.url, try(var.jaeger_binary.url, "")]) :
    trimprefix(package, "s3://") if startswith(package, "s3://")
  ]
}

data "aws_ami" "debian" {
  most_recent = true
  # Debian's own account.
  owners = ["136693071363"]

  filter {
    name   = "name"
    values = ["debian-13-amd64-*"]
  }
}

module "logs" {
  source = "../../modules/logs"

  name          = var.name
  kms_key_arn   = module.security.kms_key_arn
  force_destroy = !var.deletion_protection
}

module "network" {
  source = "../../modules/network"

  name               = var.name
  cidr               = var.cidr
  availability_zones = var.availability_zones
  flow_logs          = true
  log_bucket_arn     = module.logs.bucket_arn
}

module "security" {
  source = "../../modules/security"

  name                 = var.name
  vpc_id               = module.network.vpc_id
  client_cidrs         = var.client_cidrs
  allow_public_clients = var.allow_public_clients
  log_bucket_name      = module.logs.bucket_name
  package_objects      = local.package_objects
}

module "secrets" {
  source = "../../modules/secrets"

  name          = var.name
  pki_dir       = var.pki_dir
  pki_version   = var.pki_version
  kms_key_arn   = module.security.kms_key_arn
  recovery_days = var.deletion_protection ? 7 : 0
}

module "nats" {
  source = "../../modules/nats"

  name              = var.name
  zone              = local.zone
  subnet_ids        = module.network.private_subnet_ids
  subnet_cidrs      = module.network.private_subnet_cidrs
  security_group_id = module.security.security_group_ids["nats"]
  instance_profile  = module.security.instance_profiles["nats"]
  ami_id            = local.ami_id
  secret_name       = module.secrets.secret_names["nats"]
  kms_key_arn       = module.security.kms_key_arn
  log_bucket_name   = module.logs.bucket_name
}

module "redis" {
  source = "../../modules/redis"

  name               = var.name
  kind               = var.redis_kind
  zone               = local.zone
  subnet_ids         = module.network.private_subnet_ids
  subnet_cidrs       = module.network.private_subnet_cidrs
  availability_zones = module.network.availability_zones
  security_group_id  = module.security.security_group_ids["redis"]
  instance_profile   = module.security.instance_profiles["redis"]
  ami_id             = local.ami_id
  secret_name        = module.secrets.secret_names["redis"]
  password           = var.redis_kind == "elasticache" ? file("${var.pki_dir}/redis-password") : null
  kms_key_arn        = module.security.kms_key_arn
  log_bucket_name    = module.logs.bucket_name
}

module "jaeger" {
  source = "../../modules/jaeger"
  count  = var.jaeger_binary == null ? 0 : 1

  name              = var.name
  zone              = local.zone
  jaeger_binary     = var.jaeger_binary
  subnet_ids        = module.network.private_subnet_ids
  subnet_cidrs      = module.network.private_subnet_cidrs
  security_group_id = module.security.security_group_ids["jaeger"]
  instance_profile  = module.security.instance_profiles["jaeger"]
  ami_id            = local.ami_id
  kms_key_arn       = module.security.kms_key_arn
  log_bucket_name   = module.logs.bucket_name
}

module "gateway_lb" {
  source = "../../modules/gateway-lb"

  name                = var.name
  vpc_id              = module.network.vpc_id
  internal            = var.internal
  subnet_ids          = var.internal ? module.network.private_subnet_ids : module.network.public_subnet_ids
  security_group_id   = module.security.security_group_ids["gateway"]
  deletion_protection = var.deletion_protection
}

module "dns" {
  source = "../../modules/dns"

  name           = var.name
  zone           = local.zone
  vpc_id         = module.network.vpc_id
  records        = merge(module.nats.records, module.redis.records, try(module.jaeger[0].records, {}))
  load_balancer  = { dns_name = module.gateway_lb.dns_name, zone_id = module.gateway_lb.zone_id }
  public_name    = var.public_name
  public_zone_id = var.public_zone_id
}

module "control_plane" {
  source = "../../modules/control-plane-ec2"

  name                 = var.name
  zone                 = local.zone
  instances            = var.control_instances
  mesos_package        = var.mesos_package
  nats_url             = module.nats.url
  redis                = { url = module.redis.url, username = module.redis.username, ca_file = module.redis.ca_file }
  target_group_arn     = module.gateway_lb.target_group_arn
  subnet_ids           = module.network.private_subnet_ids
  security_group_id    = module.security.security_group_ids["control"]
  instance_profile     = module.security.instance_profiles["control"]
  autoscaling_role_arn = module.security.autoscaling_role_arn
  ami_id               = local.ami_id
  secret_name          = module.secrets.secret_names["control"]
  otlp_endpoint        = try(module.jaeger[0].otlp_endpoint, null)
  kms_key_arn          = module.security.kms_key_arn
  log_bucket_name      = module.logs.bucket_name
}

module "keeper" {
  source = "../../modules/keeper"

  name                 = var.name
  zone                 = local.zone
  mesos_package        = var.mesos_package
  agent_role_id        = module.security.agent_role_id
  subnet_ids           = module.network.private_subnet_ids
  security_group_id    = module.security.security_group_ids["keeper"]
  instance_profile     = module.security.instance_profiles["keeper"]
  autoscaling_role_arn = module.security.autoscaling_role_arn
  ami_id               = local.ami_id
  secret_name          = module.secrets.secret_names["keeper"]
  kms_key_arn          = module.security.kms_key_arn
  log_bucket_name      = module.logs.bucket_name
}

module "agents" {
  source   = "../../modules/agents"
  for_each = var.agents

  name                 = var.name
  zone                 = local.zone
  pool                 = each.key
  instance_types       = each.value.instance_types
  size                 = each.value.size
  on_demand_percentage = each.value.on_demand_percentage
  volume_size          = each.value.volume_size
  containerizers       = each.value.containerizers
  attributes           = each.value.attributes
  options              = each.value.options
  mesos_package        = var.mesos_package
  ca_certificate       = module.secrets.ca_certificate
  subnet_ids           = module.network.private_subnet_ids
  security_group_id    = module.security.security_group_ids["agent"]
  instance_profile     = module.security.instance_profiles["agent"]
  autoscaling_role_arn = module.security.autoscaling_role_arn
  ami_id               = local.ami_id
  otlp_endpoint        = try(module.jaeger[0].otlp_endpoint, null)
  kms_key_arn          = module.security.kms_key_arn
  log_bucket_name      = module.logs.bucket_name

  # Their first instances are in service once they have joined, for which all of these must be there.
  depends_on = [module.control_plane, module.keeper, module.dns]
}
