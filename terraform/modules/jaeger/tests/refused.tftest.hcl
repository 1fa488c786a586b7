# Each value that is refused, by the variable that refuses it.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name              = "mesos-prod"
  zone              = "mesos-prod.internal"
  subnet_ids        = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_id = "sg-1"
  instance_profile  = "mesos-prod-x"
  ami_id            = "ami-0123456789abcdef0"
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  log_bucket_name   = "mesos-prod-logs"
  subnet_cidrs      = ["10.40.0.0/19", "10.40.32.0/19", "10.40.64.0/19"]
  jaeger_binary     = { url = "s3://my-packages/jaeger-all-in-one", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
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

run "instance_type_is_refused" {
  command = plan

  variables {
    instance_type = "large"
  }

  expect_failures = [var.instance_type]
}

run "subnet_cidrs_is_refused" {
  command = plan

  variables {
    subnet_cidrs = ["10.40.0.0/19"]
  }

  expect_failures = [var.subnet_cidrs]
}

run "jaeger_binary_is_refused" {
  command = plan

  variables {
    jaeger_binary = { url = "jaeger", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }

  expect_failures = [var.jaeger_binary]
}

run "keep_hours_is_refused" {
  command = plan

  variables {
    keep_hours = 0
  }

  expect_failures = [var.keep_hours]
}

run "volume_size_is_refused" {
  command = plan

  variables {
    volume_size = 5
  }

  expect_failures = [var.volume_size]
}
