variable "name" {
  description = "The cluster's name; the names of all resources begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and dashes that begin with a letter, for example mesos-prod."
  }
}

variable "zone" {
  description = "The name of the private DNS zone in which hosts find each other, for example mesos-prod.internal."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.zone))
    error_message = "zone is a domain name, for example mesos-prod.internal."
  }
}

variable "subnet_ids" {
  description = "The private subnets, one a zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 1
    error_message = "subnet_ids is empty; it is the output private_subnet_ids of modules/network."
  }
}

variable "security_group_id" {
  description = "The security group of the hosts, of the output security_group_ids of modules/security."
  type        = string

  validation {
    condition     = length(var.security_group_id) > 0
    error_message = "security_group_id is empty."
  }
}

variable "instance_profile" {
  description = "The instance profile of the hosts, of the output instance_profiles of modules/security."
  type        = string

  validation {
    condition     = length(var.instance_profile) > 0
    error_message = "instance_profile is empty."
  }
}

variable "ami_id" {
  description = "The image of the hosts: Debian 13, or one made of it."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id is the id of an image, for example ami-0123456789abcdef0."
  }
}

variable "mesos_package" {
  description = "The Debian package of Mesos: an s3:// or https:// URL, and its SHA-256."
  type        = object({ url = string, sha256 = string })

  validation {
    condition     = can(regex("^(s3|https)://.+\\.deb$", var.mesos_package.url)) && can(regex("^[0-9a-f]{64}$", var.mesos_package.sha256))
    error_message = "mesos_package is { url = \"s3://BUCKET/KEY.deb\", sha256 = \"64 hexadecimal digits\" }; scripts/deb makes the package, sha256sum the sum."
  }
}

variable "pool" {
  description = "The name of this group of agents; it is the attribute pool of each."
  type        = string
  default     = "default"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.pool))
    error_message = "pool is up to 20 lower-case letters, digits and dashes that begin with a letter."
  }
}

variable "instance_types" {
  description = "Types of instances, the first preferred. Several make spot capacity likelier."
  type        = list(string)
  default     = ["m6i.large", "m5.large"]

  validation {
    condition     = length(var.instance_types) >= 1 && alltrue([for type in var.instance_types : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", type))])
    error_message = "instance_types names one type of EC2 instances at least, for example [\"m6i.large\"]."
  }
}

variable "size" {
  description = "How many agents: at least, at first, at most. Afterwards an elastic pool of Mesos or people set how many."
  type        = object({ min = number, initial = number, max = number })
  default     = { min = 1, initial = 3, max = 10 }

  validation {
    condition     = var.size.min >= 0 && var.size.min <= var.size.initial && var.size.initial <= var.size.max
    error_message = "size has 0 <= min <= initial <= max, for example { min = 1, initial = 3, max = 10 }."
  }
}

variable "on_demand_percentage" {
  description = "How many of a hundred instances are on demand; the others are spot instances, which AWS may take back."
  type        = number
  default     = 100

  validation {
    condition     = var.on_demand_percentage >= 0 && var.on_demand_percentage <= 100 && floor(var.on_demand_percentage) == var.on_demand_percentage
    error_message = "on_demand_percentage is 0 to 100."
  }
}

variable "volume_size" {
  description = "The size of each agent's volume, in GB: system, sandboxes, images."
  type        = number
  default     = 50

  validation {
    condition     = var.volume_size >= 20 && var.volume_size <= 16384 && floor(var.volume_size) == var.volume_size
    error_message = "volume_size is 20 to 16384 GB."
  }
}

variable "containerizers" {
  description = "What runs tasks, the first one that can: process, docker."
  type        = list(string)
  default     = ["process", "docker"]

  validation {
    condition     = length(var.containerizers) >= 1 && length(setsubtract(var.containerizers, ["process", "docker"])) == 0
    error_message = "containerizers are process and docker, one at least."
  }
}

variable "attributes" {
  description = "More attributes of the agents, beside instance, type, pool and zone."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for name, value in var.attributes :
      can(regex("^[A-Za-z0-9_.-]+$", name)) && can(regex("^[A-Za-z0-9_./-]+$", value)) && !contains(["instance", "type", "pool", "zone"], name)
    ])
    error_message = "attributes are letters, digits and _ . - ; instance, type, pool and zone are set by the module."
  }
}

variable "options" {
  description = "More options of mesos agent, for example { resources = \"cpus:4;mem:8GB\" }."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for option, value in var.options : can(regex("^[a-z][a-z0-9_]*$", option)) && can(regex("^[^$`\\\\]*$", value))])
    error_message = "options are named as in the configuration file (--switch-user is switch_user), and their values have no $, ` or \\."
  }

  validation {
    condition = length(setintersection(keys(var.options), ["master", "nats_url", "cluster", "join_token", "join_token_file", "ca_cert", "ca_hash",
    "work_dir", "ip", "hostname", "attributes", "domain", "containerizers"])) == 0
    error_message = "options sets what the module sets itself (master, identity, addresses, attributes); use the module's own variables."
  }
}

variable "ca_certificate" {
  description = "The output ca_certificate of modules/secrets, by which agents know the gateway."
  type        = string

  validation {
    condition     = can(regex("-----BEGIN CERTIFICATE-----", var.ca_certificate))
    error_message = "ca_certificate is a certificate in PEM."
  }
}

variable "max_instance_days" {
  description = "After how many days an instance is replaced by a new one, drained first; never if 0."
  type        = number
  default     = 0

  validation {
    condition     = var.max_instance_days == 0 || (var.max_instance_days >= 1 && var.max_instance_days <= 365)
    error_message = "max_instance_days is 0, or 1 to 365."
  }
}

variable "drain_timeout_minutes" {
  description = "How long AWS waits for the keeper to say again that an instance still drains."
  type        = number
  default     = 15

  validation {
    condition     = var.drain_timeout_minutes >= 1 && var.drain_timeout_minutes <= 120
    error_message = "drain_timeout_minutes is 1 to 120."
  }
}

variable "otlp_endpoint" {
  description = "Where traces go, for example the output otlp_endpoint of modules/jaeger; nowhere if null."
  type        = string
  default     = null

  validation {
    condition     = var.otlp_endpoint == null || can(regex("^https?://[^/]+:[0-9]+$", var.otlp_endpoint))
    error_message = "otlp_endpoint is http://HOST:PORT, for example http://jaeger.mesos-prod.internal:4317, or null."
  }
}


variable "kms_key_arn" {
  description = "The key that encrypts what is stored."
  type        = string

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn is the ARN of a KMS key, for example the output kms_key_arn of modules/security."
  }
}

variable "log_bucket_name" {
  description = "The bucket that logs are copied to; they stay on the hosts if null."
  type        = string
  default     = null

  validation {
    condition     = var.log_bucket_name == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.log_bucket_name))
    error_message = "log_bucket_name is the name of an S3 bucket, or null."
  }
}

variable "autoscaling_role_arn" {
  description = "The output autoscaling_role_arn of modules/security."
  type        = string

  validation {
    condition     = can(regex("^arn:", var.autoscaling_role_arn))
    error_message = "autoscaling_role_arn is the ARN of a role."
  }
}


variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
