# What comes out, applied on the stand-in.

provider "aws" {
  region = "eu-central-1"
}

variables {
  name                      = "mesos-prod"
  zone                      = "mesos-prod.internal"
  subnet_ids                = ["subnet-a", "subnet-b", "subnet-c"]
  image                     = { repository = "registry.example.com/mesos", tag = "0.1.0" }
  chart                     = "../../../charts/mesos"
  pki_dir                   = "../secrets/tests/pki"
  nats_url                  = "tls://nats-0.mesos-prod.internal:4222"
  redis                     = { url = "rediss://redis-0.mesos-prod.internal:6379", username = "mesos", own_ca = true }
  security_group_id         = "sg-1"
  gateway_security_group_id = "sg-2"
  target_group_arn          = "arn:aws:elasticloadbalancing:x"
  kms_key_arn               = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "a_release" {
  command = apply

  variables {
    otlp_endpoint = "http://jaeger.mesos-prod.internal:4317"
    api_cidrs     = ["203.0.113.0/24"]
    values        = ["registry: {replicas: 3}"]
  }

  assert {
    condition     = output.cluster_name == "mesos-prod" && startswith(output.endpoint, "https://") && output.cluster_ca_certificate != ""
    error_message = "Helm and people reach Kubernetes."
  }

  assert {
    condition     = output.release == "mesos" && helm_release.this.values[1] == output.values && helm_release.this.values[0] == "registry: {replicas: 3}"
    error_message = "The chart is installed with the values, the module's last."
  }

  assert {
    condition     = yamldecode(output.values).redis.external.url == "rediss://redis-0.mesos-prod.internal:6379" && yamldecode(output.values).nats.bundled == false && yamldecode(output.values).gateway.service.nodePort == 30050
    error_message = "The values lead to NATS and Redis, and to the load balancer's port."
  }

  assert {
    condition     = alltrue([for secret in kubernetes_secret_v1.this : secret.data_wo == null && secret.data == null])
    error_message = "The state has no secret."
  }

  assert {
    condition     = aws_autoscaling_attachment.gateways.lb_target_group_arn == "arn:aws:elasticloadbalancing:x"
    error_message = "Nodes are behind the load balancer."
  }

  assert {
    condition     = one(aws_eks_cluster.this.vpc_config).public_access_cidrs == toset(["203.0.113.0/24"]) && one(one(aws_eks_cluster.this.encryption_config).provider).key_arn == "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    error_message = "The API is open to who was named, and secrets are encrypted."
  }
}

run "elasticache_and_a_private_api" {
  command = apply

  variables {
    redis = { url = "rediss://x.example:6379", username = "mesos", own_ca = false }
  }

  assert {
    condition     = yamldecode(output.values).redis.external.ca.secret == ""
    error_message = "Certificates that the system knows need no CA."
  }

  assert {
    condition     = one(aws_eks_cluster.this.vpc_config).endpoint_public_access == false
    error_message = "Nobody outside reaches the API."
  }
}
