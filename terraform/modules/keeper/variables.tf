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
  default     = "t3.micro"

  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type is a type of EC2 instances, for example t3.micro."
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

variable "agent_role_id" {
  description = "The output agent_role_id of modules/security."
  type        = string

  validation {
    condition     = length(var.agent_role_id) > 0
    error_message = "agent_role_id is empty."
  }
}

variable "drain_grace" {
  description = "How long tasks on an agent that AWS takes away get to end at most, for example 5min."
  type        = string
  default     = "5min"

  validation {
    condition     = can(regex("^[0-9]+(secs|mins|min|s|m|hrs|h)$", var.drain_grace))
    error_message = "drain_grace is a duration, for example 5min or 30secs."
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
