# Each value that is refused, by the variable that refuses it.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name                 = "mesos-prod"
  zone                 = "mesos-prod.internal"
  subnet_ids           = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_id    = "sg-1"
  instance_profile     = "mesos-prod-x"
  ami_id               = "ami-0123456789abcdef0"
  kms_key_arn          = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  log_bucket_name      = "mesos-prod-logs"
  mesos_package        = { url = "s3://my-packages/mesos_0.1.0_amd64.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  ca_certificate       = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
  autoscaling_role_arn = "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling_mesos-prod"
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
    zone = "internal"
  }

  expect_failures = [var.zone]
}

run "subnet_ids_is_refused" {
  command = plan

  variables {
    subnet_ids = []
  }

  expect_failures = [var.subnet_ids]
}

run "security_group_id_is_refused" {
  command = plan

  variables {
    security_group_id = ""
  }

  expect_failures = [var.security_group_id]
}

run "instance_profile_is_refused" {
  command = plan

  variables {
    instance_profile = ""
  }

  expect_failures = [var.instance_profile]
}

run "ami_id_is_refused" {
  command = plan

  variables {
    ami_id = "debian"
  }

  expect_failures = [var.ami_id]
}

run "kms_key_arn_is_refused" {
  command = plan

  variables {
    kms_key_arn = "my-key"
  }

  expect_failures = [var.kms_key_arn]
}

run "log_bucket_name_is_refused" {
  command = plan

  variables {
    log_bucket_name = "My_Bucket"
  }

  expect_failures = [var.log_bucket_name]
}

run "mesos_package_is_refused" {
  command = plan

  variables {
    mesos_package = { url = "http://my-packages/mesos.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }

  expect_failures = [var.mesos_package]
}

run "mesos_package_is_refused_2" {
  command = plan

  variables {
    mesos_package = { url = "s3://my-packages/mesos_0.1.0_amd64.deb", sha256 = "abc" }
  }

  expect_failures = [var.mesos_package]
}

run "autoscaling_role_arn_is_refused" {
  command = plan

  variables {
    autoscaling_role_arn = "AWSServiceRoleForAutoScaling"
  }

  expect_failures = [var.autoscaling_role_arn]
}

run "otlp_endpoint_is_refused" {
  command = plan

  variables {
    otlp_endpoint = "jaeger:4317"
  }

  expect_failures = [var.otlp_endpoint]
}

run "pool_is_refused" {
  command = plan

  variables {
    pool = "Big One"
  }

  expect_failures = [var.pool]
}

run "instance_types_is_refused" {
  command = plan

  variables {
    instance_types = []
  }

  expect_failures = [var.instance_types]
}

run "size_is_refused" {
  command = plan

  variables {
    size = { min = 3, initial = 1, max = 5 }
  }

  expect_failures = [var.size]
}

run "on_demand_percentage_is_refused" {
  command = plan

  variables {
    on_demand_percentage = 101
  }

  expect_failures = [var.on_demand_percentage]
}

run "volume_size_is_refused" {
  command = plan

  variables {
    volume_size = 5
  }

  expect_failures = [var.volume_size]
}

run "containerizers_is_refused" {
  command = plan

  variables {
    containerizers = ["podman"]
  }

  expect_failures = [var.containerizers]
}

run "containerizers_is_refused_2" {
  command = plan

  variables {
    containerizers = []
  }

  expect_failures = [var.containerizers]
}

run "attributes_is_refused" {
  command = plan

  variables {
    attributes = { pool = "x" }
  }

  expect_failures = [var.attributes]
}

run "attributes_is_refused_2" {
  command = plan

  variables {
    attributes = { rack = "a;b" }
  }

  expect_failures = [var.attributes]
}

run "options_is_refused" {
  command = plan

  variables {
    options = { resources = "$(reboot)" }
  }

  expect_failures = [var.options]
}

run "options_is_refused_2" {
  command = plan

  variables {
    options = { master = "x" }
  }

  expect_failures = [var.options]
}

run "ca_certificate_is_refused" {
  command = plan

  variables {
    ca_certificate = "ca.crt"
  }

  expect_failures = [var.ca_certificate]
}

run "max_instance_days_is_refused" {
  command = plan

  variables {
    max_instance_days = 1000
  }

  expect_failures = [var.max_instance_days]
}

run "drain_timeout_minutes_is_refused" {
  command = plan

  variables {
    drain_timeout_minutes = 0
  }

  expect_failures = [var.drain_timeout_minutes]
}
