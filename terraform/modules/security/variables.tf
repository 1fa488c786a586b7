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

variable "client_cidrs" {
  description = "Who may reach the gateway from outside of the cluster: frameworks, people, CI."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr))])
    error_message = "client_cidrs are IPv4 networks, for example [\"10.0.0.0/8\"]."
  }

  validation {
    condition     = var.allow_public_clients || alltrue([for cidr in var.client_cidrs : try(tonumber(split("/", cidr)[1]), 32) > 0])
    error_message = "client_cidrs opens the gateway to the whole internet. Name your networks, or set allow_public_clients = true as well."
  }
}

variable "allow_public_clients" {
  description = "Whether client_cidrs may be the whole internet. The gateway asks for tokens all the same."
  type        = bool
  default     = false
}

variable "task_ports" {
  description = "The ports that tasks on agents listen on, reachable from other agents."
  type        = object({ from = number, to = number })
  default     = { from = 31000, to = 32000 }

  validation {
    condition     = var.task_ports.from >= 1024 && var.task_ports.from <= var.task_ports.to && var.task_ports.to <= 65535
    error_message = "task_ports is a range within 1024 to 65535, for example { from = 31000, to = 32000 }."
  }
}

variable "agent_egress_cidrs" {
  description = "What tasks on agents may reach, on any port: by default everything."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.agent_egress_cidrs) > 0 && alltrue([for cidr in var.agent_egress_cidrs : can(cidrnetmask(cidr))])
    error_message = "agent_egress_cidrs are IPv4 networks, one at least; agents must reach the gateway and AWS."
  }
}

variable "log_bucket_name" {
  description = "The bucket that hosts write their logs to, under host/."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.log_bucket_name))
    error_message = "log_bucket_name is the name of an S3 bucket, for example the output bucket_name of modules/logs."
  }
}

variable "package_objects" {
  description = "The S3 objects that hosts may fetch packages from, as bucket/key or bucket/prefix/*."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for object in var.package_objects : can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$", object))])
    error_message = "package_objects are bucket/key, for example [\"my-packages/mesos/*\"]."
  }
}

variable "session_manager" {
  description = "Whether people may open shells on hosts by AWS Systems Manager, the only way in: there is no SSH."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
