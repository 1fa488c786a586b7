# Each value that is refused, by the variable that refuses it.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name          = "mesos-prod"
  zone          = "mesos-prod.internal"
  vpc_id        = "vpc-1"
  records       = { "nats-0" = ["10.40.0.10"] }
  load_balancer = { dns_name = "lb.example", zone_id = "Z1" }
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

run "zone_is_refused" {
  command = plan

  variables {
    zone = "Zone"
  }

  expect_failures = [var.zone]
}

run "vpc_id_is_refused" {
  command = plan

  variables {
    vpc_id = ""
  }

  expect_failures = [var.vpc_id]
}

run "records_is_refused" {
  command = plan

  variables {
    records = { gateway = ["10.0.0.1"] }
  }

  expect_failures = [var.records]
}

run "records_is_refused_2" {
  command = plan

  variables {
    records = { "a.b" = ["10.0.0.1"] }
  }

  expect_failures = [var.records]
}

run "public_name_is_refused" {
  command = plan

  variables {
    public_name    = "mesos"
    public_zone_id = "Z2"
  }

  expect_failures = [var.public_name]
}

run "public_zone_id_is_refused" {
  command = plan

  variables {
    public_name = "mesos.example.com"
  }

  expect_failures = [var.public_zone_id]
}
