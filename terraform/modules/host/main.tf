# The user data of a host: what every role does the same (metadata, packages, files, secrets, logs), and then the
# role's own script.

locals {
  script = templatefile("${path.module}/templates/host.sh.tftpl", {
    name             = var.name
    role             = var.role
    packages         = var.packages
    debian_packages  = join(" ", var.debian_packages)
    files            = var.files
    secret_name      = var.secret_name
    secret_files     = var.secret_files
    script           = var.script
    on_failure       = var.on_failure
    on_secret_change = var.on_secret_change
    log_bucket_name  = var.log_bucket_name
  })
}
