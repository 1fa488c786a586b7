# The example is planned, and refuses what its modules cannot tell the name of.

variables {
  name          = "mesos-prod"
  region        = "eu-central-1"
  pki_dir       = "../../modules/secrets/tests/pki"
  mesos_package = { url = "s3://my-packages/mesos_0.1.0_amd64.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
}

run "everything" {
  command = apply

  variables {
    public_name    = "mesos.example.com"
    public_zone_id = "Z1"
    redis_kind     = "elasticache"
    agents = {
      web   = { size = { min = 2, initial = 2, max = 4 } }
      batch = { on_demand_percentage = 0, containerizers = ["process"] }
    }
    jaeger_binary       = { url = "https://packages.example.com/jaeger", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
    deletion_protection = false
  }

  assert {
    condition     = output.master == "https://mesos.example.com:5050"
    error_message = "Clients are told the public name."
  }

  assert {
    condition     = strcontains(output.environment, "export MESOS_MASTER=https://mesos.example.com:5050\n") && strcontains(output.environment, "/pki/ca.crt\n")
    error_message = "The environment has what clients need."
  }

  assert {
    condition     = output.agent_groups == { web = "mesos-prod-agents-web", batch = "mesos-prod-agents-batch" }
    error_message = "Each group of agents is an Auto Scaling group."
  }

  assert {
    condition     = output.log_bucket == "mesos-prod-logs-123456789012" && output.vpc_id != "" && length(output.nat_public_ips) == 3
    error_message = "The bucket, the network and its addresses are told."
  }

  assert {
    condition     = output.jaeger == "http://jaeger.mesos-prod.internal:16686"
    error_message = "Jaeger's page is told."
  }
}

run "name_is_refused" {
  command = plan

  variables {
    name = "Mesos"
  }

  expect_failures = [var.name]
}

run "region_is_refused" {
  command = plan

  variables {
    region = "Frankfurt"
  }

  expect_failures = [var.region]
}

run "mesos_package_is_refused" {
  command = plan

  variables {
    mesos_package = { url = "mesos.deb", sha256 = "" }
  }

  expect_failures = [var.mesos_package]
}
