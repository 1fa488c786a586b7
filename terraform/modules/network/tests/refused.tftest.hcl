# Each value that is refused, by the variable that refuses it.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name = "mesos-prod"
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

run "cidr_is_refused" {
  command = plan

  variables {
    cidr = "10.40.0.0"
  }

  expect_failures = [var.cidr]
}

run "cidr_is_refused_2" {
  command = plan

  variables {
    cidr = "10.40.0.0/24"
  }

  expect_failures = [var.cidr]
}

run "availability_zones_is_refused" {
  command = plan

  variables {
    availability_zones = ["eu-central-1a"]
  }

  expect_failures = [var.availability_zones]
}

run "availability_zones_is_refused_2" {
  command = plan

  variables {
    availability_zones = ["eu-central-1a", "eu-central-1a"]
  }

  expect_failures = [var.availability_zones]
}

run "interface_endpoints_is_refused" {
  command = plan

  variables {
    interface_endpoints = ["com amazonaws"]
  }

  expect_failures = [var.interface_endpoints]
}

run "log_bucket_arn_is_refused" {
  command = plan

  variables {
    flow_logs = true
  }

  expect_failures = [var.log_bucket_arn]
}
