terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
    helm = {
      source  = "hashicorp/helm"
      version = ">= 3.0, < 4.0"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.38, < 3.0"
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

# Who runs Terraform shows Kubernetes a token that the AWS CLI makes.
locals {
  token = {
    api_version = "client.authentication.k8s.io/v1beta1"
    command     = "aws"
    args        = ["eks", "get-token", "--region", var.region, "--cluster-name", var.name]
  }
}

provider "kubernetes" {
  host                   = module.control_plane.endpoint
  cluster_ca_certificate = base64decode(module.control_plane.cluster_ca_certificate)

  exec {
    api_version = local.token.api_version
    command     = local.token.command
    args        = local.token.args
  }
}

provider "helm" {
  kubernetes = {
    host                   = module.control_plane.endpoint
    cluster_ca_certificate = base64decode(module.control_plane.cluster_ca_certificate)
    exec                   = local.token
  }
}
