# What comes out, applied on the stand-in.

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

run "least_privilege" {
  command = apply

  assert {
    condition     = output.kms_key_arn == aws_kms_key.this.arn && aws_kms_key.this.enable_key_rotation
    error_message = "There is a key, and it rotates."
  }

  assert {
    condition     = toset(keys(output.security_group_ids)) == toset(["gateway", "control", "nats", "redis", "agent", "keeper", "jaeger"])
    error_message = "Each kind of host has a group."
  }

  assert {
    condition     = output.instance_profiles == { for kind in ["control", "nats", "redis", "agent", "keeper", "jaeger"] : kind => "mesos-prod-${kind}" }
    error_message = "Each kind of host has a profile."
  }

  assert {
    condition     = output.agent_role_id != "" && output.autoscaling_role_arn == aws_iam_service_linked_role.autoscaling.arn
    error_message = "The keeper and Auto Scaling know their roles."
  }

  assert {
    condition     = alltrue([for rule in merge(aws_vpc_security_group_ingress_rule.between, aws_vpc_security_group_ingress_rule.clients) : rule.cidr_ipv4 != "0.0.0.0/0"])
    error_message = "Nothing is open to the internet."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this["agent"].policy, "secretsmanager:GetSecretValue")
    error_message = "Agents read no secret."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.this["nats"].policy, ":secret:mesos-prod/control") && strcontains(aws_iam_role_policy.this["nats"].policy, ":secret:mesos-prod/nats-")
    error_message = "NATS reads its own secret only."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.this["agent"].policy).Statement : statement if statement.Sid == "TakeOwnJoinToken"]).Condition.StringEquals["aws:ResourceTag/for"] == "$${aws:userid}"
    error_message = "An agent reads its own join token only."
  }

  assert {
    condition     = alltrue(flatten([for policy in aws_iam_role_policy.this : [for statement in jsondecode(policy.policy).Statement : statement.Resource != "*" || statement.Action == "autoscaling:DescribeAutoScalingGroups"]]))
    error_message = "Every action but a description is for named things."
  }

  assert {
    condition     = alltrue([for policy in aws_iam_role_policy.this : strcontains(policy.policy, "arn:aws:s3:::my-packages/mesos.deb")])
    error_message = "Every host may fetch the package."
  }
}

run "public_clients" {
  command = apply

  variables {
    client_cidrs         = ["0.0.0.0/0"]
    allow_public_clients = true
    session_manager      = false
    package_objects      = []
    task_ports           = { from = 20000, to = 20100 }
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.clients["gateway-0.0.0.0/0"].from_port == 5050
    error_message = "The internet reaches the gateway when that is said twice."
  }

  assert {
    condition     = length(aws_iam_role_policy_attachment.session_manager) == 0
    error_message = "There is no way into the hosts."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.between["tasks"].to_port == 20100
    error_message = "Tasks have the ports that were named."
  }
}
