terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }

  # Where the state is kept is yours to say, for example:
  # backend "s3" {
  #   bucket       = "my-terraform-state"
  #   key          = "mesos-prod"
  #   region       = "eu-central-1"
  #   encrypt      = true
  #   use_lockfile = true
  # }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge({ mesos-cluster = var.name, managed-by = "terraform" }, var.tags)
  }
}
