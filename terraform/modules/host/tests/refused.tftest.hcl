# Each value that is refused, by the variable that refuses it.

variables {
  name   = "mesos-prod"
  role   = "agent"
  script = "echo role"
}

run "name_is_refused" {
  command = plan

  variables {
    name = "Mesos"
  }

  expect_failures = [var.name]
}

run "name_is_refused_2" {
  command = plan

  variables {
    name = "a-name-that-is-much-too-long"
  }

  expect_failures = [var.name]
}

run "role_is_refused" {
  command = plan

  variables {
    role = "Agent 1"
  }

  expect_failures = [var.role]
}

run "packages_is_refused" {
  command = plan

  variables {
    packages = [{ url = "ftp://x/y.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }]
  }

  expect_failures = [var.packages]
}

run "packages_is_refused_2" {
  command = plan

  variables {
    packages = [{ url = "s3://my-packages/y.deb", sha256 = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF" }]
  }

  expect_failures = [var.packages]
}

run "debian_packages_is_refused" {
  command = plan

  variables {
    debian_packages = ["redis; reboot"]
  }

  expect_failures = [var.debian_packages]
}

run "files_is_refused" {
  command = plan

  variables {
    files = { "etc/x" = { content = "" } }
  }

  expect_failures = [var.files]
}

run "files_is_refused_2" {
  command = plan

  variables {
    files = { "/etc/x" = { content = "", mode = "rw" } }
  }

  expect_failures = [var.files]
}

run "secret_files_is_refused" {
  command = plan

  variables {
    secret_files = { "ca.crt" = { path = "ca.crt" } }
  }

  expect_failures = [var.secret_files]
}
