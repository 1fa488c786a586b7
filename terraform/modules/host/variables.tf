variable "name" {
  description = "The cluster's name; the names of all resources begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and dashes that begin with a letter, for example mesos-prod."
  }
}

variable "role" {
  description = "What the host is, for its logs: control, agent, nats, redis, keeper, jaeger."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.role))
    error_message = "role is lower-case letters, digits and dashes."
  }
}

variable "packages" {
  description = "Debian packages to install: an s3:// or https:// URL each, and its SHA-256, which is checked before anything is installed."
  type        = list(object({ url = string, sha256 = string }))
  default     = []

  validation {
    condition     = alltrue([for package in var.packages : can(regex("^(s3|https)://[A-Za-z0-9._~:/?&=%+-]+$", package.url))])
    error_message = "packages[*].url is an s3:// or https:// URL of a .deb."
  }

  validation {
    condition     = alltrue([for package in var.packages : can(regex("^[0-9a-f]{64}$", package.sha256))])
    error_message = "packages[*].sha256 is the package's SHA-256 in 64 lower-case hexadecimal digits: sha256sum FILE."
  }
}

variable "debian_packages" {
  description = "Packages of the distribution that the role needs beside awscli, curl and jq."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for package in var.debian_packages : can(regex("^[a-z0-9][a-z0-9.+-]+$", package))])
    error_message = "debian_packages are names of Debian packages."
  }
}

variable "files" {
  description = "Files to write, by path. Their folders are made. They are in the user data, so no secrets."
  type = map(object({
    content = string
    mode    = optional(string, "0644")
    owner   = optional(string, "root:root")
  }))
  default = {}

  validation {
    condition     = alltrue([for path, file in var.files : startswith(path, "/") && can(regex("^[0-7]{4}$", file.mode)) && can(regex("^[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*$", file.owner))])
    error_message = "files are absolute paths, with a mode like 0644 and an owner like root:mesos."
  }
}

variable "secret_name" {
  description = "The secret (a JSON object of files) whose files are written; none if null."
  type        = string
  default     = null
}

variable "secret_files" {
  description = "Which files of the secret go where: the path of each, and its owner. Their mode is 0640."
  type        = map(object({ path = string, owner = optional(string, "root:mesos") }))
  default     = {}

  validation {
    condition     = alltrue([for file in values(var.secret_files) : startswith(file.path, "/")])
    error_message = "secret_files[*].path is an absolute path."
  }
}

variable "on_secret_change" {
  description = "A command to run when a file of the secret has changed; services of Mesos notice by themselves."
  type        = string
  default     = "true"
}

variable "script" {
  description = "What the role does after packages, files and secrets are there, in bash under set -euo pipefail. It may use metadata NAME, $instance_id, $address, $region."
  type        = string
}

variable "on_failure" {
  description = "A command to run when anything fails, for example one that gives the instance up."
  type        = string
  default     = ":"
}

variable "log_bucket_name" {
  description = "The bucket that /var/log/mesos is copied to; logs stay on the host if null."
  type        = string
  default     = null
}
