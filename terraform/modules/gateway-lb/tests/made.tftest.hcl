# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name              = "mesos-prod"
  vpc_id            = "vpc-1"
  subnet_ids        = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_id = "sg-1"
}

run "internal" {
  command = apply

  assert {
    condition     = output.target_group_arn == aws_lb_target_group.this.arn
    error_message = "Gateways join the target group."
  }

  assert {
    condition     = output.dns_name == aws_lb.this.dns_name && output.zone_id == aws_lb.this.zone_id
    error_message = "Names lead to the load balancer."
  }

  assert {
    condition     = aws_lb.this.internal && aws_lb.this.enable_deletion_protection
    error_message = "It is internal and protected unless said otherwise."
  }

  assert {
    condition     = aws_lb_listener.this.protocol == "TCP" && one(aws_lb_target_group.this.health_check).path == "/ready"
    error_message = "TLS passes through; gateways are asked whether they serve."
  }
}

run "public_to_a_node_port" {
  command = apply

  variables {
    internal            = false
    target_port         = 30050
    deletion_protection = false
    access_logs         = true
    log_bucket_name     = "mesos-prod-logs"
  }

  assert {
    condition     = !aws_lb.this.internal && aws_lb_target_group.this.port == 30050 && one(aws_lb.this.access_logs).bucket == "mesos-prod-logs"
    error_message = "What was said otherwise is so."
  }
}
