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

variable "subnet_cidrs" {
  description = "The addresses of the subnets, in the same order; Jaeger has a fixed one."
  type        = list(string)

  validation {
    condition     = length(var.subnet_cidrs) == length(var.subnet_ids) && alltrue([for cidr in var.subnet_cidrs : can(cidrhost(cidr, 16))])
    error_message = "subnet_cidrs has one network for each of subnet_ids; it is the output private_subnet_cidrs of modules/network."
  }
}

variable "jaeger_binary" {
  description = "The program jaeger-all-in-one (1.x): an s3:// or https:// URL, and its SHA-256."
  type        = object({ url = string, sha256 = string })

  validation {
    condition     = can(regex("^(s3|https)://[A-Za-z0-9._~:/?&=%+-]+$", var.jaeger_binary.url)) && can(regex("^[0-9a-f]{64}$", var.jaeger_binary.sha256))
    error_message = "jaeger_binary is { url = \"s3://BUCKET/KEY\", sha256 = \"64 hexadecimal digits\" }."
  }
}

variable "keep_hours" {
  description = "How long traces are kept."
  type        = number
  default     = 72

  validation {
    condition     = var.keep_hours >= 1 && floor(var.keep_hours) == var.keep_hours
    error_message = "keep_hours is a whole number of hours from 1."
  }
}

variable "volume_size" {
  description = "The size of the volume, in GB."
  type        = number
  default     = 30

  validation {
    condition     = var.volume_size >= 10 && var.volume_size <= 16384 && floor(var.volume_size) == var.volume_size
    error_message = "volume_size is 10 to 16384 GB."
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


variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
