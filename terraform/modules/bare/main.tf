# Any hosts over SSH. The steps of a host are resources of their own, so that each runs again only for what
# it depends on: another package upgrades in place, other options are configured in place, and only a host
# with another address is replaced.
#
#   host     the host itself; what is left of Mesos goes with it
#   package  the package, in the version wanted
#   master   its options, and that it answers
#   agent    its options
#   member   that the agent is in the cluster; it is drained before it goes

locals {
  masters = { for name, host in var.hosts : name => host if contains(host.roles, "master") }
  agents  = { for name, host in var.hosts : name => host if contains(host.roles, "agent") }
  # Where others reach a host.
  reached = { for name, host in var.hosts : name => coalesce(host.private_address, host.address) }

  port     = lookup(var.master_options, "port", "5050")
  gateways = [for name in sort(keys(local.masters)) : "${local.reached[name]}:${local.port}"]
  package  = pathexpand(var.package)

  ssh_key = var.ssh_private_key_file == null ? null : abspath(pathexpand(var.ssh_private_key_file))
  # All that a connection needs, also when a host is on its way out and the variables do not name it any more.
  connections = {
    for name, host in var.hosts : name => {
      host     = host.address
      port     = host.ssh_port
      user     = var.ssh_user
      host_key = host.ssh_host_key
      key_file = local.ssh_key
    }
  }
  # Commands that ask the cluster are run on a master, which has what they need.
  first_master = sort(keys(local.masters))[0]
  ask          = "MESOS_MASTER=${local.reached[local.first_master]}:${local.port}"

  master_files = {
    for name in keys(local.masters) : name => yamlencode(merge(
      { work_dir = "/var/lib/mesos/master" }, var.master_options, { ip = local.reached[name] },
    ))
  }
  agent_files = {
    for name, host in local.agents : name => yamlencode(merge(
      { work_dir = "/var/lib/mesos/agent" }, var.agent_options, host.agent_options,
      { ip = local.reached[name], hostname = name, master = join(",", local.gateways) },
    ))
  }
}

resource "terraform_data" "host" {
  for_each = var.hosts

  input            = { connection = local.connections[each.key], leave = file("${path.module}/scripts/leave.sh") }
  triggers_replace = [each.value.address, each.value.ssh_port]

  connection {
    host        = self.input.connection.host
    port        = self.input.connection.port
    user        = self.input.connection.user
    host_key    = self.input.connection.host_key
    private_key = self.input.connection.key_file == null ? null : file(self.input.connection.key_file)
    timeout     = "60s"
  }

  provisioner "remote-exec" {
    inline = [file("${path.module}/scripts/check.sh")]
  }

  # A host that is gone already cannot be cleaned, and need not be.
  provisioner "remote-exec" {
    when       = destroy
    on_failure = continue
    inline     = [self.input.leave]
  }
}

resource "terraform_data" "package" {
  for_each = var.hosts

  triggers_replace = [terraform_data.host[each.key].id, filesha256(local.package)]

  connection {
    host        = local.connections[each.key].host
    port        = local.connections[each.key].port
    user        = local.connections[each.key].user
    host_key    = local.connections[each.key].host_key
    private_key = local.ssh_key == null ? null : file(local.ssh_key)
  }

  provisioner "file" {
    source      = local.package
    destination = "mesos.deb" # in the home of ssh_user, where nobody else may put anything
  }

  provisioner "remote-exec" {
    inline = [file("${path.module}/scripts/install.sh")]
  }
}

resource "terraform_data" "master" {
  for_each = local.masters

  triggers_replace = [terraform_data.host[each.key].id, sha256(local.master_files[each.key])]

  connection {
    host        = local.connections[each.key].host
    port        = local.connections[each.key].port
    user        = local.connections[each.key].user
    host_key    = local.connections[each.key].host_key
    private_key = local.ssh_key == null ? null : file(local.ssh_key)
  }

  provisioner "file" {
    content     = local.master_files[each.key]
    destination = "mesos-master.yaml"
  }

  provisioner "remote-exec" {
    inline = ["role=master", file("${path.module}/scripts/configure.sh")]
  }

  provisioner "remote-exec" {
    inline = ["export MESOS_MASTER=${local.reached[each.key]}:${local.port}", file("${path.module}/scripts/answers.sh")]
  }

  depends_on = [terraform_data.package]
}

resource "terraform_data" "agent" {
  for_each = local.agents

  triggers_replace = [terraform_data.host[each.key].id, sha256(local.agent_files[each.key])]

  connection {
    host        = local.connections[each.key].host
    port        = local.connections[each.key].port
    user        = local.connections[each.key].user
    host_key    = local.connections[each.key].host_key
    private_key = local.ssh_key == null ? null : file(local.ssh_key)
  }

  provisioner "file" {
    content     = local.agent_files[each.key]
    destination = "mesos-agent.yaml"
  }

  provisioner "remote-exec" {
    inline = ["role=agent", file("${path.module}/scripts/configure.sh")]
  }

  depends_on = [terraform_data.package, terraform_data.master]
}

resource "terraform_data" "member" {
  for_each = local.agents

  input = {
    connection = local.connections[local.first_master]
    ask        = local.ask
    drain      = "timeout=${var.drain_timeout}\n${file("${path.module}/scripts/drain.sh")}"
  }
  triggers_replace = [terraform_data.host[each.key].id]

  connection {
    host        = self.input.connection.host
    port        = self.input.connection.port
    user        = self.input.connection.user
    host_key    = self.input.connection.host_key
    private_key = self.input.connection.key_file == null ? null : file(self.input.connection.key_file)
    timeout     = "60s"
  }

  provisioner "remote-exec" {
    inline = ["export ${self.input.ask} agent=${each.key}", file("${path.module}/scripts/joined.sh")]
  }

  # A host may be replaced because it is dead: then its tasks are over already.
  provisioner "remote-exec" {
    when       = destroy
    on_failure = continue
    inline     = ["export ${self.input.ask} agent=${each.key}", self.input.drain]
  }

  depends_on = [terraform_data.agent]
}
