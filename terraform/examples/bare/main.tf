# A cluster on hosts that are there already: one is master and agent, the others are agents.
#
#   terraform apply -var-file hosts.tfvars

variable "hosts" {
  description = "The hosts, as the module bare takes them."
  type        = any
}

variable "ssh_user" {
  description = "The user that SSH logs in as."
  type        = string
  default     = "root"
}

variable "ssh_private_key_file" {
  description = "The file with the SSH key; null for the SSH agent."
  type        = string
  default     = null
}

variable "pki_dir" {
  description = "The keys and certificates, as `mesos pki init` makes them."
  type        = string
}

variable "package" {
  description = "The Debian package, as scripts/deb builds it."
  type        = string
}

variable "master_options" {
  description = "Options of the masters."
  type        = map(string)
  default     = {}
}

variable "agent_options" {
  description = "Options of all agents."
  type        = map(string)
  default     = {}
}

variable "drain_timeout" {
  description = "How long the tasks of a host that leaves may take to end, in seconds."
  type        = number
  default     = 60
}

module "mesos" {
  source = "../../modules/bare"

  hosts                = var.hosts
  ssh_user             = var.ssh_user
  ssh_private_key_file = var.ssh_private_key_file
  pki_dir              = var.pki_dir
  package              = var.package
  master_options       = var.master_options
  agent_options        = var.agent_options
  drain_timeout        = var.drain_timeout
}

output "next" {
  description = "What to do next."
  value       = "MESOS_MASTER=${module.mesos.master} MESOS_CA_CERT=${var.pki_dir}/ca.crt MESOS_TOKEN_FILE=${var.pki_dir}/operator.token mesos agents"
}
