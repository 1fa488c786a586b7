# What comes out, applied on the stand-in.

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

run "one_host" {
  command = apply

  variables {
    keep_hours = 24
  }

  assert {
    condition     = output.otlp_endpoint == "http://jaeger.mesos-prod.internal:4317" && output.page == "http://jaeger.mesos-prod.internal:16686"
    error_message = "Services and people know where it is."
  }

  assert {
    condition     = output.records == { jaeger = ["10.40.0.14"] }
    error_message = "It has a fixed address."
  }
}
