# What comes out, applied on the stand-in.

variables {
  name   = "mesos-prod"
  role   = "agent"
  script = "echo role"
}

run "everything" {
  command = apply

  variables {
    packages         = [{ url = "s3://my-packages/mesos_0.1.0_amd64.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }]
    debian_packages  = ["docker.io"]
    files            = { "/etc/mesos/a.yaml" = { content = "a: 'b'\n", mode = "0640", owner = "root:mesos" } }
    secret_name      = "mesos-prod/control"
    secret_files     = { "ca.crt" = { path = "/etc/mesos/pki/ca.crt" } }
    on_secret_change = "systemctl reload x"
    on_failure       = "echo gone"
    log_bucket_name  = "mesos-prod-logs"
  }

  assert {
    condition     = strcontains(output.script, "fetch 's3://my-packages/mesos_0.1.0_amd64.deb' 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
    error_message = "The package is fetched and compared with its sum."
  }

  assert {
    condition     = strcontains(output.script, base64encode("a: 'b'\n"))
    error_message = "Files are written as they are."
  }

  assert {
    condition     = strcontains(output.script, "--secret-id 'mesos-prod/control'") && strcontains(output.script, "put 'ca.crt' '/etc/mesos/pki/ca.crt' root:mesos")
    error_message = "Secrets are fetched on the host."
  }

  assert {
    condition     = strcontains(output.script, "systemctl reload x") && strcontains(output.script, "echo gone") && strcontains(output.script, "echo role")
    error_message = "The role has its say."
  }

  assert {
    condition     = strcontains(output.script, "s3://mesos-prod-logs/host/agent/")
    error_message = "Logs go to the bucket."
  }

  assert {
    condition     = length(output.user_data_base64) > 1000 && length(output.user_data_base64) < 8192
    error_message = "The user data is compressed."
  }
}

run "nothing_but_the_script" {
  command = apply

  assert {
    condition     = !strcontains(output.script, "secretsmanager") && !strcontains(output.script, "ship-logs")
    error_message = "What is not asked for is not done."
  }
}
