# Each value that is refused, by the variable that refuses it.

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

run "otlp_endpoint_is_refused" {
  command = plan

  variables {
    otlp_endpoint = "jaeger:4317"
  }

  expect_failures = [var.otlp_endpoint]
}

run "zone_is_refused" {
  command = plan

  variables {
    zone = "internal"
  }

  expect_failures = [var.zone]
}

run "subnet_ids_is_refused" {
  command = plan

  variables {
    subnet_ids = ["subnet-a"]
  }

  expect_failures = [var.subnet_ids]
}

run "kubernetes_version_is_refused" {
  command = plan

  variables {
    kubernetes_version = "v1.34"
  }

  expect_failures = [var.kubernetes_version]
}

run "api_cidrs_is_refused" {
  command = plan

  variables {
    api_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.api_cidrs]
}

run "instance_types_is_refused" {
  command = plan

  variables {
    instance_types = []
  }

  expect_failures = [var.instance_types]
}

run "nodes_is_refused" {
  command = plan

  variables {
    nodes = { min = 3, initial = 1, max = 2 }
  }

  expect_failures = [var.nodes]
}

run "image_is_refused" {
  command = plan

  variables {
    image = { repository = "mesos", tag = "latest" }
  }

  expect_failures = [var.image]
}

run "chart_is_refused" {
  command = plan

  variables {
    chart = ""
  }

  expect_failures = [var.chart]
}

run "values_is_refused" {
  command = plan

  variables {
    values = ["- a"]
  }

  expect_failures = [var.values]
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

run "nats_url_is_refused" {
  command = plan

  variables {
    nats_url = "nats://a:4222"
  }

  expect_failures = [var.nats_url]
}

run "redis_is_refused" {
  command = plan

  variables {
    redis = { url = "redis://a:6379", username = "mesos", own_ca = true }
  }

  expect_failures = [var.redis]
}

run "security_group_id_is_refused" {
  command = plan

  variables {
    security_group_id = ""
  }

  expect_failures = [var.security_group_id]
}

run "gateway_security_group_id_is_refused" {
  command = plan

  variables {
    gateway_security_group_id = ""
  }

  expect_failures = [var.gateway_security_group_id]
}

run "target_group_arn_is_refused" {
  command = plan

  variables {
    target_group_arn = ""
  }

  expect_failures = [var.target_group_arn]
}

run "node_port_is_refused" {
  command = plan

  variables {
    node_port = 5050
  }

  expect_failures = [var.node_port]
}

run "kms_key_arn_is_refused" {
  command = plan

  variables {
    kms_key_arn = "key"
  }

  expect_failures = [var.kms_key_arn]
}
