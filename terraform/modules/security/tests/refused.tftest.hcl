# Each value that is refused, by the variable that refuses it.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name            = "mesos-prod"
  vpc_id          = "vpc-1"
  log_bucket_name = "mesos-prod-logs"
  client_cidrs    = ["10.0.0.0/8"]
  package_objects = ["my-packages/mesos.deb"]
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

run "vpc_id_is_refused" {
  command = plan

  variables {
    vpc_id = ""
  }

  expect_failures = [var.vpc_id]
}

run "client_cidrs_is_refused" {
  command = plan

  variables {
    client_cidrs = ["10.0.0.0"]
  }

  expect_failures = [var.client_cidrs]
}

run "client_cidrs_is_refused_2" {
  command = plan

  variables {
    client_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.client_cidrs]
}

run "task_ports_is_refused" {
  command = plan

  variables {
    task_ports = { from = 80, to = 90 }
  }

  expect_failures = [var.task_ports]
}

run "task_ports_is_refused_2" {
  command = plan

  variables {
    task_ports = { from = 32000, to = 31000 }
  }

  expect_failures = [var.task_ports]
}

run "agent_egress_cidrs_is_refused" {
  command = plan

  variables {
    agent_egress_cidrs = []
  }

  expect_failures = [var.agent_egress_cidrs]
}

run "log_bucket_name_is_refused" {
  command = plan

  variables {
    log_bucket_name = "Logs"
  }

  expect_failures = [var.log_bucket_name]
}

run "package_objects_is_refused" {
  command = plan

  variables {
    package_objects = ["my-packages"]
  }

  expect_failures = [var.package_objects]
}
