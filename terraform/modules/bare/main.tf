# Any hosts over SSH. The steps of a host are resources of their own, so that each runs again only for what
# it depends on: another package upgrades in place, other options are configured in place, and only a host
# with another address is replaced.
#
#   host     the host itself; what is left of Mesos goes with it
#   package  the package, in the version wanted
#   keys     its keys and certificates
#   master   its options, and that it answers
#   ticket   an agent's one-time token for joining
#   agent    its options
#   member   that the agent is in the cluster; it is drained before it goes

locals {
  hosts = {
    for name, host in var.hosts : name => {
      address         = tostring(host.address)
      private_address = tostring(try(host.private_address, null))
      roles           = toset(try(host.roles, ["agent"]))
      ssh_port        = tonumber(try(host.ssh_port, 22))
      ssh_host_key    = tostring(try(host.ssh_host_key, null))
      agent_options   = { for option, value in try(host.agent_options, {}) : option => tostring(value) }
    }
  }
  masters = { for name, host in local.hosts : name => host if contains(host.roles, "master") }
  agents  = { for name, host in local.hosts : name => host if contains(host.roles, "agent") }
  # Where others reach a host.
  reached = { for name, host in local.hosts : name => coalesce(host.private_address, host.address) }

  port     = lookup(var.master_options, "port", "5050")
  gateways = { for name in keys(local.masters) : name => "https://${local.reached[name]}:${local.port}" }
  package  = pathexpand(var.package)
  pki      = abspath(pathexpand(var.pki_dir))

  ssh_key = var.ssh_private_key_file == null ? null : abspath(pathexpand(var.ssh_private_key_file))
  # All that a connection needs, also when a host is on its way out and the variables do not name it any more.
  connections = {
    for name, host in local.hosts : name => {
      host     = host.address
      port     = host.ssh_port
      user     = var.ssh_user
      host_key = host.ssh_host_key
      key_file = local.ssh_key
    }
  }
  # Commands that ask the cluster are run on a master, which can make a token for them.
  first_master = sort(keys(local.masters))[0]
  ask          = "master=${local.gateways[local.first_master]}\n${file("${path.module}/scripts/ask.sh")}"

  # What of the keys a host gets. `ca.crt` is for all.
  keys_of = {
    for name, host in local.hosts : name => contains(host.roles, "master") ? ["ca.crt", "ca.key", "gateway.crt", "gateway.key", "token.key"] : ["ca.crt"]
  }

  master_files = {
    for name in keys(local.masters) : name => yamlencode(merge(
      {
        work_dir  = "/var/lib/mesos/master"
        tls_cert  = "/etc/mesos/pki/gateway.crt"
        tls_key   = "/etc/mesos/pki/gateway.key"
        ca_cert   = "/etc/mesos/pki/ca.crt"
        ca_key    = "/etc/mesos/pki/ca.key"
        token_key = "/etc/mesos/pki/token.key"
      },
      var.master_options, { ip = local.reached[name] },
    ))
  }
  agent_files = {
    for name, host in local.agents : name => yamlencode(merge(
      {
        work_dir        = "/var/lib/mesos/agent"
        ca_cert         = "/etc/mesos/pki/ca.crt"
        join_token_file = "/etc/mesos/pki/join-token"
      },
      var.agent_options, host.agent_options,
      { ip = local.reached[name], hostname = name, master = join(",", [for one in sort(keys(local.gateways)) : local.gateways[one]]) },
    ))
  }
}

resource "terraform_data" "host" {
  for_each = local.hosts

  input            = { connection = local.connections[each.key], leave = file("${path.module}/scripts/leave.sh") }
  triggers_replace = [each.value.address, each.value.ssh_port]

  connection {
    host        = self.input.connection.host
    port        = self.input.connection.port
    user        = self.input.connection.user
    host_key    = self.input.connection.host_key
    private_key = self.input.connection.key_file == null ? null : file(self.input.connection.key_file)
    timeout     = "30s"
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
  for_each = local.hosts

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

resource "terraform_data" "keys" {
  for_each = local.hosts

  triggers_replace = [
    terraform_data.host[each.key].id, { for name in local.keys_of[each.key] : name => filesha256("${local.pki}/${name}") },
  ]

  connection {
    host        = local.connections[each.key].host
    port        = local.connections[each.key].port
    user        = local.connections[each.key].user
    host_key    = local.connections[each.key].host_key
    private_key = local.ssh_key == null ? null : file(local.ssh_key)
  }

  # A script, since there can be any number of files, but each file provisioner is written down once.
  provisioner "file" {
    content = join("\n", [
      for name in local.keys_of[each.key] : "put ${name} ${filebase64("${local.pki}/${name}")}"
    ])
    destination = "mesos-keys"
  }

  provisioner "remote-exec" {
    inline = [file("${path.module}/scripts/keys.sh")]
  }

  depends_on = [terraform_data.package]
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
    inline = ["master=${local.gateways[each.key]}", file("${path.module}/scripts/ask.sh"), file("${path.module}/scripts/answers.sh")]
  }

  depends_on = [terraform_data.keys]
}

# Only a command on this machine can carry something from one host to another. The token is in neither the
# state nor an argument of any process.
resource "terraform_data" "ticket" {
  for_each = local.agents

  triggers_replace = [terraform_data.host[each.key].id]

  provisioner "local-exec" {
    command     = "${abspath(path.module)}/scripts/ticket.sh"
    interpreter = ["/bin/sh"]
    environment = {
      ASK       = local.ask
      FROM_HOST = local.connections[local.first_master].host
      FROM_PORT = local.connections[local.first_master].port
      FROM_KEY  = local.connections[local.first_master].host_key == null ? "" : local.connections[local.first_master].host_key
      TO_HOST   = local.connections[each.key].host
      TO_PORT   = local.connections[each.key].port
      TO_KEY    = local.connections[each.key].host_key == null ? "" : local.connections[each.key].host_key
      SSH_USER  = var.ssh_user
      SSH_KEY   = local.ssh_key == null ? "" : local.ssh_key
    }
  }

  depends_on = [terraform_data.master]
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

  depends_on = [terraform_data.keys, terraform_data.ticket]
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
    inline = [self.input.ask, "agent=${each.key}", file("${path.module}/scripts/joined.sh")]
  }

  # A host may be replaced because it is dead: then its tasks are over already.
  provisioner "remote-exec" {
    when       = destroy
    on_failure = continue
    inline     = [self.input.ask, "agent=${each.key}", self.input.drain]
  }

  depends_on = [terraform_data.agent]
}
