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

variable "instance_type" {
  description = "The type of the instances."
  type        = string
  default     = "t3.medium"

  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type is a type of EC2 instances, for example t3.medium."
  }
}

variable "secret_name" {
  description = "The secret with the files of these hosts, of the output secret_names of modules/secrets."
  type        = string

  validation {
    condition     = length(var.secret_name) > 0
    error_message = "secret_name is empty."
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

variable "instances" {
  description = "How many hosts: one leads, the others are warm standbys, and the gateways of all serve."
  type        = number
  default     = 3

  validation {
    condition     = var.instances >= 1 && var.instances <= 9 && floor(var.instances) == var.instances
    error_message = "instances is 1 to 9; 2 survive the loss of one, 3 that of one during an upgrade."
  }
}

variable "nats_url" {
  description = "The output url of modules/nats."
  type        = string

  validation {
    condition     = can(regex("^tls://", var.nats_url))
    error_message = "nats_url begins with tls://; credentials do not travel in clear."
  }
}

variable "redis" {
  description = "The outputs url, username and ca_file of modules/redis."
  type        = object({ url = string, username = string, ca_file = string })

  validation {
    condition     = can(regex("^rediss(\\+sentinel)?://", var.redis.url))
    error_message = "redis.url begins with rediss:// or rediss+sentinel://; passwords do not travel in clear."
  }
}

variable "target_group_arn" {
  description = "The output target_group_arn of modules/gateway-lb."
  type        = string

  validation {
    condition     = length(var.target_group_arn) > 0
    error_message = "target_group_arn is empty."
  }
}

variable "options" {
  description = "More options of mesos master, for example { offer_timeout = \"2min\" }."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for option in keys(var.options) : can(regex("^[a-z][a-z0-9_]*$", option))])
    error_message = "options are named as in the configuration file: --offer-timeout is offer_timeout."
  }

  validation {
    condition = length(setintersection(keys(var.options), ["cluster", "nats_url", "nats_credentials", "nats_ca", "redis_url", "redis_username",
    "redis_password_file", "redis_ca", "ip", "port", "hostname", "tls_cert", "tls_key", "ca_cert", "ca_key", "token_key", "nats_account_seed", "work_dir", "insecure"])) == 0
    error_message = "options sets what the module sets itself (addresses, certificates, credentials); use the module's own variables."
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
