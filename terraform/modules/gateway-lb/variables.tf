variable "name" {
  description = "The cluster's name; the names of all resources begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and dashes that begin with a letter, for example mesos-prod."
  }
}

variable "vpc_id" {
  description = "The VPC of the cluster."
  type        = string

  validation {
    condition     = length(var.vpc_id) > 0
    error_message = "vpc_id is empty; it is the output vpc_id of modules/network."
  }
}

variable "subnet_ids" {
  description = "Where the load balancer is: the private subnets, or the public ones if internal is false."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids has two subnets or more, in different zones."
  }
}

variable "internal" {
  description = "Whether only the VPC and networks connected to it reach the load balancer."
  type        = bool
  default     = true
}

variable "security_group_id" {
  description = "The security group of the load balancer, of the output security_group_ids (gateway) of modules/security."
  type        = string

  validation {
    condition     = length(var.security_group_id) > 0
    error_message = "security_group_id is empty."
  }
}

variable "target_port" {
  description = "The port of the gateways on their hosts; a node port on Kubernetes."
  type        = number
  default     = 5050

  validation {
    condition     = var.target_port >= 1024 && var.target_port <= 65535 && floor(var.target_port) == var.target_port
    error_message = "target_port is 1024 to 65535."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer."
  type        = bool
  default     = true
}

variable "access_logs" {
  description = "Whether the load balancer may write access logs to log_bucket_name. AWS writes them for TLS listeners only."
  type        = bool
  default     = false
}

variable "log_bucket_name" {
  description = "The bucket of the access logs."
  type        = string
  default     = null

  validation {
    condition     = !var.access_logs || var.log_bucket_name != null
    error_message = "log_bucket_name is missing: access_logs needs the bucket to write to."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
