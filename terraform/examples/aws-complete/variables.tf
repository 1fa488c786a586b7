variable "name" {
  description = "The cluster's name, as given to mesos pki init."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and dashes that begin with a letter, for example mesos-prod."
  }
}

variable "region" {
  description = "The AWS region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is an AWS region, for example eu-central-1."
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

variable "pki_dir" {
  description = "The folder that mesos pki init made. Its keys go to Secrets Manager, not into Terraform's state."
  type        = string
}

variable "pki_version" {
  description = "Raise it after mesos pki rotate."
  type        = number
  default     = 1
}

variable "cidr" {
  description = "The addresses of the VPC, /16 to /20."
  type        = string
  default     = "10.40.0.0/16"
}

variable "availability_zones" {
  description = "The zones to use; the first three of the region if empty."
  type        = list(string)
  default     = []
}

variable "client_cidrs" {
  description = "Networks that may reach the gateway beside the cluster itself, for example your VPN's."
  type        = list(string)
  default     = []
}

variable "allow_public_clients" {
  description = "Whether client_cidrs may be the whole internet."
  type        = bool
  default     = false
}

variable "internal" {
  description = "Whether the gateway is reached from the VPC and networks connected to it only."
  type        = bool
  default     = true
}

variable "public_name" {
  description = "A name for the gateway in a public zone, which mesos pki init must have been given too; none if null."
  type        = string
  default     = null
}

variable "public_zone_id" {
  description = "The hosted zone of public_name."
  type        = string
  default     = null
}

variable "control_instances" {
  description = "How many hosts run the control plane."
  type        = number
  default     = 3
}

variable "redis_kind" {
  description = "ec2 or elasticache; modules/redis says what that means."
  type        = string
  default     = "ec2"
}

variable "agents" {
  description = "The groups of agents, by name: what modules/agents takes."
  type = map(object({
    instance_types       = optional(list(string), ["m6i.large", "m5.large"])
    size                 = optional(object({ min = number, initial = number, max = number }), { min = 1, initial = 3, max = 10 })
    on_demand_percentage = optional(number, 100)
    volume_size          = optional(number, 50)
    containerizers       = optional(list(string), ["process", "docker"])
    attributes           = optional(map(string), {})
    options              = optional(map(string), {})
  }))
  default = { default = {} }
}

variable "jaeger_binary" {
  description = "The program jaeger-all-in-one, { url, sha256 }; no Jaeger if null."
  type        = object({ url = string, sha256 = string })
  default     = null
}

variable "ami_id" {
  description = "The image of all hosts; the newest Debian 13 if null."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether the load balancer cannot be deleted, secrets can be restored for a week, and a bucket with logs stays. Set it to false before destroying the cluster."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
