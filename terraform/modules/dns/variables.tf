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

variable "vpc_id" {
  description = "The VPC in which the private zone is known."
  type        = string

  validation {
    condition     = length(var.vpc_id) > 0
    error_message = "vpc_id is empty; it is the output vpc_id of modules/network."
  }
}

variable "records" {
  description = "Addresses by name, in the private zone: the outputs records of modules/nats and modules/redis."
  type        = map(list(string))
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.records) : can(regex("^[a-z0-9-]+$", name)) && name != "gateway"])
    error_message = "records are names without dots; gateway is the load balancer's."
  }
}

variable "load_balancer" {
  description = "The outputs dns_name and zone_id of modules/gateway-lb: gateway.ZONE leads there."
  type        = object({ dns_name = string, zone_id = string })
}

variable "public_name" {
  description = "A name for the gateway in a public zone too, for example mesos.example.com; none if null. The gateways' certificate must have it."
  type        = string
  default     = null

  validation {
    condition     = var.public_name == null || can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.public_name))
    error_message = "public_name is a domain name, for example mesos.example.com, or null."
  }
}

variable "public_zone_id" {
  description = "The hosted zone of public_name."
  type        = string
  default     = null

  validation {
    condition     = (var.public_name == null) == (var.public_zone_id == null)
    error_message = "public_zone_id belongs to public_name: give both or neither."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
