# Each value that is refused, by the variable that refuses it.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name        = "mesos-prod"
  pki_dir     = "tests/pki"
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

run "pki_dir_is_refused" {
  command = plan

  variables {
    pki_dir = "tests"
  }

  expect_failures = [var.pki_dir]
}

run "pki_version_is_refused" {
  command = plan

  variables {
    pki_version = 0
  }

  expect_failures = [var.pki_version]
}

run "kms_key_arn_is_refused" {
  command = plan

  variables {
    kms_key_arn = "key"
  }

  expect_failures = [var.kms_key_arn]
}

run "recovery_days_is_refused" {
  command = plan

  variables {
    recovery_days = 3
  }

  expect_failures = [var.recovery_days]
}
