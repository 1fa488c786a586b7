# Each value that is refused, by the variable that refuses it.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name        = "mesos-prod"
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
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

run "bucket_name_is_refused" {
  command = plan

  variables {
    bucket_name = "My_Logs"
  }

  expect_failures = [var.bucket_name]
}

run "kms_key_arn_is_refused" {
  command = plan

  variables {
    kms_key_arn = "key"
  }

  expect_failures = [var.kms_key_arn]
}

run "expire_days_is_refused" {
  command = plan

  variables {
    expire_days = 0
  }

  expect_failures = [var.expire_days]
}

run "expire_days_is_refused_2" {
  command = plan

  variables {
    expire_days = 1.5
  }

  expect_failures = [var.expire_days]
}
