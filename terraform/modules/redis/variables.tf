variable "name" {
  description = "The cluster's name; the names of all resources begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and dashes that begin with a letter, for example mesos-prod."
  }
}

variable "kind" {
  description = "ec2: Redis with Sentinel on instances, whose append-only file keeps all but the last second. elasticache: AWS runs it, without such a file; and Terraform's state holds its password."
  type        = string
  default     = "ec2"

  validation {
    condition     = contains(["ec2", "elasticache"], var.kind)
    error_message = "kind is ec2 or elasticache."
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
  description = "The addresses of the subnets, in the same order; each server has a fixed one."
  type        = list(string)

  validation {
    condition     = length(var.subnet_cidrs) == length(var.subnet_ids) && alltrue([for cidr in var.subnet_cidrs : can(cidrhost(cidr, 16))])
    error_message = "subnet_cidrs has one network for each of subnet_ids; it is the output private_subnet_cidrs of modules/network."
  }
}

variable "availability_zones" {
  description = "The zones of the subnets, in the same order; the servers' volumes are in them."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) == length(var.subnet_ids)
    error_message = "availability_zones has one zone for each of subnet_ids; it is the output availability_zones of modules/network."
  }
}

variable "servers" {
  description = "How many servers: 1, or 3 and more with Sentinel, of which one may be away. With elasticache 2 are enough."
  type        = number
  default     = 3

  validation {
    condition     = var.kind == "elasticache" ? contains([1, 2, 3, 4, 5], var.servers) : contains([1, 3, 5], var.servers)
    error_message = "servers is 1, 3 or 5, or 1 to 5 with kind = \"elasticache\"."
  }
}

variable "volume_size" {
  description = "The size of each server's volume, in GB. It holds the state twice while the append-only file is rewritten."
  type        = number
  default     = 20

  validation {
    condition     = var.volume_size >= 8 && var.volume_size <= 16384 && floor(var.volume_size) == var.volume_size
    error_message = "volume_size is 8 to 16384 GB."
  }
}

variable "node_type" {
  description = "The type of the nodes of ElastiCache."
  type        = string
  default     = "cache.t4g.medium"

  validation {
    condition     = can(regex("^cache\\.[a-z0-9]+\\.[a-z0-9]+$", var.node_type))
    error_message = "node_type is a type of ElastiCache nodes, for example cache.t4g.medium."
  }
}

variable "password" {
  description = "The password of the user mesos, for elasticache alone: the content of redis-password."
  type        = string
  sensitive   = true
  default     = null

  validation {
    condition     = var.kind == "ec2" || try(length(trimspace(var.password)) >= 16, false)
    error_message = "password is missing or shorter than 16 characters: elasticache needs the content of the file redis-password."
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

variable "security_group_id" {
  description = "The security group of the servers, of the output security_group_ids of modules/security."
  type        = string

  validation {
    condition     = length(var.security_group_id) > 0
    error_message = "security_group_id is empty."
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
