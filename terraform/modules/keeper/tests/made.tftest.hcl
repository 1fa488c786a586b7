# What comes out, applied on the stand-in.

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

run "one_host" {
  command = apply

  assert {
    condition     = output.autoscaling_group_name == "mesos-prod-keeper" && aws_autoscaling_group.this.max_size == 1
    error_message = "There is one."
  }

  assert {
    condition     = strcontains(output.user_data, base64encode(file("templates/mesos-keeper.sh")))
    error_message = "It runs the keeper."
  }
}
