# Not an object with these attributes: of such, Terraform would pass over an attribute that is misspelt.
variable "hosts" {
  description = <<-EOT
    The hosts by the name that each has in the cluster, as objects with
    `address` (where SSH reaches it),
    `private_address` (where the others reach it, if that is another one),
    `roles` (`master`, `agent` or both; `["agent"]` if it is not given),
    `ssh_port` (22),
    `ssh_host_key` (the host's public key, as a line of /etc/ssh/ssh_host_ecdsa_key.pub: Terraform asks for the ECDSA key if there is one; null takes any), and
    `agent_options` (options of this host's agent alone).
  EOT
  type        = any
  nullable    = false

  validation {
    condition     = can([for name, host in var.hosts : keys(host)]) && try(length(var.hosts), 0) > 0
    error_message = "hosts: expected an object with a name and an object for each host, for example { a = { address = \"192.0.2.1\" } }."
  }
  validation {
    condition = alltrue(flatten([
      for name, host in var.hosts : [
        for key in keys(host) : contains(["address", "private_address", "roles", "ssh_port", "ssh_host_key", "agent_options"], key)
      ]
    ]))
    error_message = "hosts: there is no ${join(", ", distinct(flatten([for name, host in var.hosts : [for key in keys(host) : key if !contains(["address", "private_address", "roles", "ssh_port", "ssh_host_key", "agent_options"], key)]])))}; a host has address, private_address, roles, ssh_port, ssh_host_key and agent_options."
  }
  validation {
    condition     = alltrue([for name in keys(var.hosts) : can(regex("^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", name))])
    error_message = "hosts: each name is 1 to 63 lower-case letters, digits, dots and dashes, with a letter or digit at both ends."
  }
  validation {
    condition = alltrue([
      for host in values(var.hosts) : try(
        length(toset(host.roles)) > 0 && length(setsubtract(toset(host.roles), ["master", "agent"])) == 0, !contains(keys(host), "roles"),
      )
    ])
    error_message = "hosts: roles are a list of one or both of \"master\" and \"agent\"."
  }
  validation {
    condition     = anytrue([for host in values(var.hosts) : try(contains(host.roles, "master"), false)])
    error_message = "hosts: at least one host needs \"master\" among its roles."
  }
  validation {
    condition = alltrue([
      for host in values(var.hosts) : can(regex("^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$", host.address)) &&
      can(regex("^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$", coalesce(try(host.private_address, null), host.address)))
    ])
    error_message = "hosts: address (needed) and private_address are a host's name or IP address, without user, port or scheme."
  }
  validation {
    condition     = length(distinct([for host in values(var.hosts) : "${try(host.address, "")}:${try(host.ssh_port, 22)}"])) == length(var.hosts)
    error_message = "hosts: two of them have the same address and ssh_port."
  }
  validation {
    condition = alltrue([
      for host in values(var.hosts) : try(host.ssh_port == floor(host.ssh_port) && host.ssh_port >= 1 && host.ssh_port <= 65535, !contains(keys(host), "ssh_port"))
    ])
    error_message = "hosts: ssh_port is a whole number from 1 to 65535."
  }
  validation {
    condition = alltrue([
      for host in values(var.hosts) : try(host.ssh_host_key, null) == null || can(regex("^(ssh-|ecdsa-)[a-z0-9-]+ [A-Za-z0-9+/=]+", host.ssh_host_key))
    ])
    error_message = "hosts: ssh_host_key is a line of the host's /etc/ssh/ssh_host_ecdsa_key.pub, for example \"ecdsa-sha2-nistp256 AAAA…\"."
  }
  validation {
    condition = alltrue([
      for host in values(var.hosts) : can(tomap(try(host.agent_options, {}))) &&
      alltrue([for name in keys(try(host.agent_options, {})) : can(regex("^[a-z][a-z0-9_]*$", name)) && !contains(["ip", "hostname", "master"], name)])
    ])
    error_message = "hosts: agent_options has options as they are written in the file (attributes for --attributes); ip, hostname and master are the host's own."
  }
}

variable "ssh_user" {
  description = "The user that SSH logs in as: root, or one that may use sudo without a password."
  type        = string
  default     = "root"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z_][a-z0-9_-]{0,31}$", var.ssh_user))
    error_message = "ssh_user: expected the name of a user, for example \"root\" or \"admin\"."
  }
}

variable "ssh_private_key_file" {
  description = "The file with the SSH key. Null: what the SSH agent offers. The key itself is not kept in the state."
  type        = string
  default     = null

  validation {
    condition     = var.ssh_private_key_file == null ? true : fileexists(pathexpand(var.ssh_private_key_file))
    error_message = "ssh_private_key_file: there is no such file."
  }
}

variable "pki_dir" {
  description = "The folder with the cluster's keys and certificates, as `mesos pki init --dir DIR --host ADDRESS…` makes it, with the address of every master. Keys are copied to the hosts, and are not in the state. New ones are taken up without a restart."
  type        = string
  nullable    = false

  validation {
    condition = alltrue([
      for name in ["ca.crt", "ca.key", "gateway.crt", "gateway.key", "token.key"] : fileexists("${pathexpand(var.pki_dir)}/${name}")
    ])
    error_message = "pki_dir: expected a folder with ca.crt, ca.key, gateway.crt, gateway.key and token.key; `mesos pki init` makes one."
  }
}

variable "package" {
  description = "The file of the Debian package, as scripts/deb builds it. Another package upgrades the hosts; tasks go on meanwhile."
  type        = string
  nullable    = false

  validation {
    condition     = fileexists(pathexpand(var.package)) && endswith(var.package, ".deb")
    error_message = "package: expected a .deb file that is there; scripts/deb builds one."
  }
}

variable "master_options" {
  description = "Options of all masters, as in /etc/mesos/master.yaml: `mesos master --help` has them. Several masters need nats_url and redis_url."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.master_options) : can(regex("^[a-z][a-z0-9_]*$", name))])
    error_message = "master_options: an option is written as in the file, for example nats_url for --nats-url."
  }
  validation {
    condition = length([for host in values(var.hosts) : host if try(contains(host.roles, "master"), false)]) < 2 || (
      contains(keys(var.master_options), "nats_url") && contains(keys(var.master_options), "redis_url")
    )
    error_message = "master_options: several masters share their state, so nats_url and redis_url are needed."
  }
  validation {
    condition     = !contains(keys(var.master_options), "ip")
    error_message = "master_options: ip is each host's own address; set hosts' private_address instead."
  }
}

variable "agent_options" {
  description = "Options of all agents, as in /etc/mesos/agent.yaml: `mesos agent --help` has them."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.agent_options) : can(regex("^[a-z][a-z0-9_]*$", name))])
    error_message = "agent_options: an option is written as in the file, for example docker_host for --docker-host."
  }
  validation {
    condition     = length(setintersection(keys(var.agent_options), ["ip", "hostname", "master"])) == 0
    error_message = "agent_options: ip, hostname and master come from hosts; they cannot be set for all agents."
  }
}

variable "drain_timeout" {
  description = "How long the tasks of a host that leaves may take to end, in seconds."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.drain_timeout == floor(var.drain_timeout) && var.drain_timeout >= 1 && var.drain_timeout <= 3600
    error_message = "drain_timeout: expected whole seconds from 1 to 3600."
  }
}
