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
  description = "The private subnets, in two zones or more."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids has two subnets or more, in different zones: EKS wants that."
  }
}

variable "kubernetes_version" {
  description = "The version of Kubernetes."
  type        = string
  default     = "1.34"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version is a version that EKS has, for example 1.34."
  }
}

variable "api_cidrs" {
  description = "Networks from which Kubernetes's API is reached beside the VPC: that of whoever runs Terraform, unless it is in the VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrnetmask(cidr)) && try(tonumber(split("/", cidr)[1]), 0) > 0])
    error_message = "api_cidrs are IPv4 networks, for example [\"203.0.113.0/24\"], and not the whole internet."
  }
}

variable "instance_types" {
  description = "Types of the nodes' instances."
  type        = list(string)
  default     = ["m6i.large"]

  validation {
    condition     = length(var.instance_types) >= 1 && alltrue([for type in var.instance_types : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", type))])
    error_message = "instance_types names one type of EC2 instances at least, for example [\"m6i.large\"]."
  }
}

variable "nodes" {
  description = "How many nodes: at least, at first, at most."
  type        = object({ min = number, initial = number, max = number })
  default     = { min = 3, initial = 3, max = 6 }

  validation {
    condition     = var.nodes.min >= 1 && var.nodes.min <= var.nodes.initial && var.nodes.initial <= var.nodes.max
    error_message = "nodes has 1 <= min <= initial <= max, for example { min = 3, initial = 3, max = 6 }."
  }
}

variable "image" {
  description = "The image of Mesos, in a registry that the nodes reach."
  type        = object({ repository = string, tag = string })

  validation {
    condition     = length(var.image.repository) > 0 && can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image.tag)) && var.image.tag != "latest"
    error_message = "image is { repository, tag }, with a tag that says which one; latest does not."
  }
}

variable "chart" {
  description = "The chart charts/mesos: its folder, or a packaged chart."
  type        = string

  validation {
    condition     = length(var.chart) > 0
    error_message = "chart is empty; it is the path of charts/mesos."
  }
}

variable "values" {
  description = "More values of the chart, in YAML, for example [file(\"values-ha.yaml\")]. The module's own win."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for text in var.values : can(keys(yamldecode(text)))])
    error_message = "values are YAML texts with a mapping each."
  }
}

variable "pki_dir" {
  description = "The folder that mesos pki init wrote. Its files go to Secrets of Kubernetes; Terraform's state holds none of them."
  type        = string

  validation {
    condition = alltrue([
      for file in ["ca.crt", "ca.key", "gateway.crt", "gateway.key", "token.key", "operator.token", "control.creds", "redis-password"] : fileexists("${var.pki_dir}/${file}")
    ])
    error_message = "pki_dir lacks files that mesos pki init makes."
  }
}

variable "pki_version" {
  description = "Raise it after mesos pki rotate, so that the Secrets are written again."
  type        = number
  default     = 1

  validation {
    condition     = var.pki_version >= 1 && floor(var.pki_version) == var.pki_version
    error_message = "pki_version is a whole number from 1."
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
  description = "The outputs url and username of modules/redis, and whether the cluster's own CA signed its certificates (kind = \"ec2\")."
  type        = object({ url = string, username = string, own_ca = bool })

  validation {
    condition     = can(regex("^rediss(\\+sentinel)?://", var.redis.url))
    error_message = "redis.url begins with rediss:// or rediss+sentinel://; passwords do not travel in clear."
  }
}

variable "security_group_id" {
  description = "The security group of the nodes, of the output security_group_ids (control) of modules/security: it reaches NATS and Redis."
  type        = string

  validation {
    condition     = length(var.security_group_id) > 0
    error_message = "security_group_id is empty."
  }
}

variable "gateway_security_group_id" {
  description = "The security group of the load balancer (gateway of security_group_ids)."
  type        = string

  validation {
    condition     = length(var.gateway_security_group_id) > 0
    error_message = "gateway_security_group_id is empty."
  }
}

variable "target_group_arn" {
  description = "The output target_group_arn of modules/gateway-lb, whose target_port is node_port."
  type        = string

  validation {
    condition     = length(var.target_group_arn) > 0
    error_message = "target_group_arn is empty."
  }
}

variable "node_port" {
  description = "The port of the gateways on each node."
  type        = number
  default     = 30050

  validation {
    condition     = var.node_port >= 30000 && var.node_port <= 32767
    error_message = "node_port is 30000 to 32767, as Kubernetes has them."
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


variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
