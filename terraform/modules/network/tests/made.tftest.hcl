# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name = "mesos-prod"
}

run "three_zones" {
  command = apply

  variables {
    flow_logs      = true
    log_bucket_arn = "arn:aws:s3:::mesos-prod-logs"
  }

  assert {
    condition     = output.vpc_id != "" && output.cidr == "10.40.0.0/16"
    error_message = "The VPC has the addresses that were asked for."
  }

  assert {
    condition     = output.availability_zones == tolist(["eu-central-1a", "eu-central-1b", "eu-central-1c"])
    error_message = "The first three zones of the region are used."
  }

  assert {
    condition     = output.private_subnet_cidrs == ["10.40.0.0/19", "10.40.32.0/19", "10.40.64.0/19"]
    error_message = "Each zone has a private subnet of an eighth."
  }

  assert {
    condition     = length(distinct(concat(output.private_subnet_ids, output.public_subnet_ids))) == 6
    error_message = "Each zone has a private and a public subnet."
  }

  assert {
    condition     = length(output.nat_public_ips) == 3
    error_message = "Each zone has a NAT gateway of its own."
  }

  assert {
    condition     = [for subnet in aws_subnet.public : subnet.cidr_block] == ["10.40.224.0/22", "10.40.228.0/22", "10.40.232.0/22"]
    error_message = "The public subnets are in the last eighth."
  }

  assert {
    condition     = alltrue([for subnet in merge(aws_subnet.public, aws_subnet.private) : subnet.map_public_ip_on_launch == false])
    error_message = "No host gets a public address by itself."
  }

  assert {
    condition     = aws_flow_log.this[0].log_destination == "arn:aws:s3:::mesos-prod-logs/flow/"
    error_message = "Flow logs go to the bucket."
  }

  assert {
    condition     = length(aws_vpc_endpoint.services) == 6
    error_message = "Hosts reach six services without leaving the VPC."
  }
}

run "one_nat_gateway_for_all" {
  command = apply

  variables {
    single_nat_gateway = true
    availability_zones = ["eu-central-1a", "eu-central-1c"]
    cidr               = "10.8.0.0/20"
  }

  assert {
    condition     = length(output.nat_public_ips) == 1
    error_message = "There is one NAT gateway."
  }

  assert {
    condition     = alltrue([for route in aws_route.nat : route.nat_gateway_id == aws_nat_gateway.this["eu-central-1a"].id])
    error_message = "All zones use it."
  }

  assert {
    condition     = output.private_subnet_cidrs == ["10.8.0.0/23", "10.8.2.0/23"]
    error_message = "The subnets are those of two zones."
  }

  assert {
    condition     = length(aws_flow_log.this) == 0
    error_message = "There are no flow logs unless they are asked for."
  }
}
