variable "name" {
  description = "The cluster's name; the names of all resources begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and dashes that begin with a letter, for example mesos-prod."
  }
}

variable "cidr" {
  description = "The addresses of the VPC, /16 to /20."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "cidr is an IPv4 network of /16 to /20, for example 10.40.0.0/16."
  }
}

variable "availability_zones" {
  description = "The zones to use, two or more; the first three of the region if empty."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.availability_zones) == 0 || (length(var.availability_zones) >= 2 && length(var.availability_zones) <= 6 && length(distinct(var.availability_zones)) == length(var.availability_zones))
    error_message = "availability_zones names 2 to 6 different zones, for example [\"eu-central-1a\", \"eu-central-1b\"], or none for the first three."
  }
}

variable "single_nat_gateway" {
  description = "Whether one NAT gateway serves all zones: cheaper, but its zone's end cuts the others off from the internet."
  type        = bool
  default     = false
}

variable "interface_endpoints" {
  description = "The AWS services that hosts reach without leaving the VPC."
  type        = set(string)
  default     = ["secretsmanager", "ssm", "ssmmessages", "ec2messages", "autoscaling", "kms"]

  validation {
    condition     = alltrue([for service in var.interface_endpoints : can(regex("^[a-z0-9.-]+$", service))])
    error_message = "interface_endpoints are short names of services, for example secretsmanager."
  }
}

variable "flow_logs" {
  description = "Whether the VPC's flow logs are written to `log_bucket_arn`."
  type        = bool
  default     = false
}

variable "log_bucket_arn" {
  description = "The S3 bucket of flow logs."
  type        = string
  default     = null

  validation {
    condition     = !var.flow_logs || var.log_bucket_arn != null
    error_message = "log_bucket_arn is missing: flow_logs needs the bucket to write to."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
