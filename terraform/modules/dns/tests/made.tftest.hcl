# What comes out, applied on the stand-in.

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

run "private" {
  command = apply

  assert {
    condition     = output.zone_id == aws_route53_zone.private.zone_id
    error_message = "The zone is there."
  }

  assert {
    condition     = output.gateway_name == "gateway.mesos-prod.internal"
    error_message = "The gateway has its name."
  }

  assert {
    condition     = aws_route53_record.hosts["nats-0"].name == "nats-0.mesos-prod.internal" && aws_route53_record.hosts["nats-0"].records == toset(["10.40.0.10"])
    error_message = "Hosts have theirs."
  }
}

run "public" {
  command = apply

  variables {
    public_name    = "mesos.example.com"
    public_zone_id = "Z2"
  }

  assert {
    condition     = output.gateway_name == "mesos.example.com" && aws_route53_record.public[0].zone_id == "Z2"
    error_message = "The gateway has a public name too."
  }
}
