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
  secret_name          = "mesos-prod/x"
  kms_key_arn          = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  log_bucket_name      = "mesos-prod-logs"
  mesos_package        = { url = "s3://my-packages/mesos_0.1.0_amd64.deb", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  agent_role_id        = "AROAEXAMPLE"
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

run "secret_name_is_refused" {
  command = plan

  variables {
    secret_name = ""
  }

  expect_failures = [var.secret_name]
}

run "instance_type_is_refused" {
  command = plan

  variables {
    instance_type = "large"
  }

  expect_failures = [var.instance_type]
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

run "agent_role_id_is_refused" {
  command = plan

  variables {
    agent_role_id = ""
  }

  expect_failures = [var.agent_role_id]
}

run "drain_grace_is_refused" {
  command = plan

  variables {
    drain_grace = "soon"
  }

  expect_failures = [var.drain_grace]
}
